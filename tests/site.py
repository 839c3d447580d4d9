"""Packages on a web server, and somebody who runs them: what he trusts, and what he answers on a terminal.

Whether a package was admitted shows in what is complained of: an option that is wrong is noticed behind that, and before anything
is loaded.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from ecli_py.trust.minisign import SecretKey, generate
from tests.cli import PATIENCE_S, Ecli

WRONG = ("--count", "none")
ADMITTED = "--count"


class Site:
    """A web server with a package, and a user of it with settings of his own."""

    def __init__(self, directory: Path, url: str, package: bytes) -> None:
        self.url = f"{url}/tool.json"
        self.base = url
        self.directory = directory / "site"
        self.package = package
        self.settings = directory / "config" / "ecli-py"
        self.settings.mkdir(parents=True)
        self.ecli = Ecli(
            directory, environment={"XDG_CONFIG_HOME": str(directory / "config"), "XDG_CACHE_HOME": str(directory / "cache")}
        )
        self.publish(package)

    def publish(self, package: bytes, signature: bytes | None = None, name: str = "tool.json") -> None:
        (self.directory / name).write_bytes(package)
        if signature is not None:
            (self.directory / f"{name}.minisig").write_bytes(signature)

    def trust(self, name: str) -> SecretKey:
        """Make a key and trust it."""
        key = generate()
        assert self.ecli("trust", "add", name, str(key.public())).status == 0
        return key

    def policy(self, text: str) -> None:
        (self.settings / "policy.toml").write_text(text)

    def admits(self, *options: str, reference: str = "") -> None:
        self.ecli("run", *options, *WRONG, reference or self.url).fails(ADMITTED)

    def refuses(self, *texts: str, options: tuple[str, ...] = (), reference: str = "") -> str:
        text = self.ecli("run", *options, *WRONG, reference or self.url).fails(*texts)
        assert ADMITTED not in text
        return text


def answer(site: Site, *texts: str, words: tuple[str, ...] = WRONG) -> tuple[int, str]:
    """Run the package on a terminal, and answer what is asked there, one question after another."""
    terminal, end = pty.openpty()
    with open(site.ecli.directory / "stdout", "wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "ecli_py", "run", *words, site.url],
            stdin=end,
            stdout=stdout,
            stderr=end,
            env={**os.environ, **site.ecli.environment},
            cwd=site.ecli.directory,
        )
    os.close(end)
    said = b""
    try:
        for count, text in enumerate(texts, 1):
            while said.count(b"[y/N]") < count:
                said += os.read(terminal, 4096)
            os.write(terminal, text.encode() + b"\n")
        while True:
            said += os.read(terminal, 4096)
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(terminal)
    return process.wait(PATIENCE_S), said.decode()
