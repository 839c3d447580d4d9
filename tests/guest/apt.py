"""Debian's packages of any suite and architecture, from the mirror that this machine's apt already uses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.guest.errors import GuestError, MissingError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, order=True)
class Resolved:
    """A package in the version that the archive has now."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}={self.version}"


class Apt:
    """apt for one suite and one architecture, with a state of its own: what this machine has is neither read nor changed.

    Args:
        state: Where lists, cache and configuration go.
        suite: Debian's suite, ``bookworm``.
        architecture: Debian's name of an architecture, ``arm64``.
    """

    def __init__(self, state: Path, suite: str, architecture: str) -> None:
        self._suite = suite
        for part in ("lists/partial", "cache/archives/partial", "etc"):
            (state / part).mkdir(parents=True)
        # Nothing is installed, so that resolving a package names all that it needs.
        (state / "status").touch()
        (state / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
        conf = [
            # How the mirror is reached (proxies, certificates, retries) stays as the host has it.
            _run(["apt-config", "dump", "Acquire::http", "Acquire::https", "Acquire::Retries"]),
            f'APT::Architecture "{architecture}";',
            f'APT::Architectures {{ "{architecture}"; }};',
            'APT::Install-Recommends "false";',
            'APT::Sandbox::User "root";',  # the directory is ours, so apt's own user could not write to it
            f'Dir::Etc "{state}/etc";',
            'Dir::Etc::Main "/dev/null";',
            'Dir::Etc::Parts "/dev/null";',
            'Dir::Etc::SourceParts "/dev/null";',
            'Dir::Etc::PreferencesParts "/dev/null";',
            'Dir::Etc::Netrc "/etc/apt/auth.conf";',
            'Dir::Etc::NetrcParts "/etc/apt/auth.conf.d";',
            f'Dir::State "{state}";',
            f'Dir::State::Lists "{state}/lists";',
            f'Dir::State::Status "{state}/status";',
            f'Dir::Cache "{state}/cache";',
            'Dir::Cache::PkgCache "";',
            'Dir::Cache::SrcPkgCache "";',
            f'Dir::Log "{state}";',
            'Acquire::Languages "none";',
            # Machines whose clock or mirror stands still must work too; the signature is checked all the same.
            'Acquire::Check-Valid-Until "false";',
            'Debug::NoLocking "true";',
        ]
        (state / "apt.conf").write_text("\n".join(conf) + "\n")
        self._env = {**os.environ, "APT_CONFIG": str(state / "apt.conf"), "LC_ALL": "C.UTF-8"}
        # Without Error-Mode=any, update succeeds when it could fetch nothing.
        self._get("-o", "APT::Update::Error-Mode=any", "update")

    def resolve(self, *names: str) -> list[Resolved]:
        """Return packages and all that they need.

        Raises:
            GuestError: The suite does not have them.
        """
        out = self._get("--simulate", "install", *names)
        return [Resolved(name, version) for name, version in re.findall(r"^Inst (\S+) \((\S+) ", out, re.MULTILINE)]

    def download(self, packages: list[Resolved], directory: Path) -> None:
        """Download packages, whose signatures and digests apt checks, into an existing directory."""
        self._get("download", *map(str, packages), cwd=directory)

    def _get(self, *arguments: str, cwd: Path | None = None) -> str:
        try:
            return _run(["apt-get", "-qq", *arguments], cwd=cwd, env=self._env)
        except GuestError as error:
            hint = "kernels that were fetched before are used without the network"
            raise GuestError(f"{self._suite}: {error}", hint) from error


@contextmanager
def apt(suite: str, architecture: str) -> Iterator[Apt]:
    """Give apt for one suite and architecture, with fresh lists."""
    with tempfile.TemporaryDirectory(prefix="ecli-apt.") as state:
        yield Apt(Path(state), suite, architecture)


def mirror() -> str:
    """Return the mirror of Debian's archive that this machine's apt uses.

    Raises:
        MissingError: This machine has no apt, or none that knows Debian's archive.
    """
    if not shutil.which("apt-get") or not KEYRING.is_file():
        raise MissingError("kernels come from Debian's archive, and this machine has no apt that trusts it")
    listed: list[str] = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).split()
    # `indextargets` only knows lists that were fetched: a fresh machine has none.
    planned: list[str] = re.findall(r"^'(\S+?)dists/\S+/InRelease' ", _run(["apt-get", "update", "--print-uris"]), re.MULTILINE)
    for uri in (*listed, *planned):
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise MissingError("apt has no mirror of Debian's archive", "add one to /etc/apt/sources.list")


def _run(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise GuestError("\n  ".join([f"{command[0]} failed", *said[-10:]]))
    return done.stdout
