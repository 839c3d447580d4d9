"""Names and passwords of registries, where Docker keeps them: its ``config.json`` and its credential helpers.

The file is ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``. A helper is a program ``docker-credential-NAME`` that is
asked on its standard input and answers in JSON (docker/docker-credential-helpers, README).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecli_py.fetch.errors import FetchError

_HELPER_PATIENCE_S = 30.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_NOT_FOUND = "credentials not found"  # how all helpers begin to say so
_TOKEN_USER = "<token>"
DOCKER_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True)
class Credentials:
    """A name and its password."""

    username: str
    password: str

    def header(self) -> str:
        """Return what ``Authorization`` says with them (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"  # a password must not get into a log


def config_path() -> Path:
    """Return where Docker's configuration is, or would be."""
    directory = os.environ.get("DOCKER_CONFIG")
    return Path(directory or os.path.expanduser("~/.docker")) / "config.json"


def find_credentials(host: str) -> Credentials | None:
    """Return the name and password for a registry, ``None`` if there are none.

    Raises:
        FetchError: The configuration cannot be read, or a helper fails.
    """
    config = _read_config()
    helper = _helper_of(config, host)
    if helper:
        return _ask_helper(helper, host)
    entries = _object(config, "auths")
    for key in _keys(host):
        entry = entries.get(key)
        if isinstance(entry, dict) and (found := _from_entry(entry, host)) is not None:
            return found
    return None


def store_credentials(host: str, credentials: Credentials) -> str:
    """Keep a name and a password where Docker does, and return where that is.

    Raises:
        FetchError: They cannot be kept.
    """
    config = _read_config()
    helper = _helper_of(config, host)
    if helper:
        secret = {"ServerURL": _keys(host)[0], "Username": credentials.username, "Secret": credentials.password}
        _run_helper(helper, "store", json.dumps(secret))
        return f"docker-credential-{helper}"
    encoded = credentials.header().removeprefix("Basic ")
    _write_config({**config, "auths": {**_object(config, "auths"), _keys(host)[0]: {"auth": encoded}}})
    return str(config_path())


def remove_credentials(host: str) -> bool:
    """Forget the name and the password for a registry; tell whether there were any. Errors as :func:`store_credentials`."""
    config = _read_config()
    helper = _helper_of(config, host)
    if helper:
        found = _ask_helper(helper, host) is not None
        if found:
            _run_helper(helper, "erase", _keys(host)[0])
        return found
    entries = _object(config, "auths")
    kept = {key: value for key, value in entries.items() if key not in _keys(host)}
    if len(kept) == len(entries):
        return False
    _write_config({**config, "auths": kept})
    return True


def _keys(host: str) -> list[str]:
    """Return how a registry may be called in the configuration, the usual way first."""
    return [_HUB_KEY] if host == DOCKER_HUB else [host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/"]


def _helper_of(config: dict[str, Any], host: str) -> str:
    helpers = _object(config, "credHelpers")
    name = next((helpers[key] for key in _keys(host) if key in helpers), config.get("credsStore", ""))
    if not name:
        return ""
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise FetchError(f"{config_path()}: {name!r} is no name of a credential helper", "mend or remove it")
    return name


def _object(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise FetchError(f"{config_path()}: {key} is no JSON object", "mend or remove it; `docker login` writes such a file")
    return value


def _from_entry(entry: dict[str, Any], host: str) -> Credentials | None:
    if entry.get("identitytoken"):
        raise FetchError(f"{config_path()} has an identity token for {host}, which is not supported", f"ecli-py login {host}")
    username, password, encoded = entry.get("username"), entry.get("password"), entry.get("auth")
    if isinstance(encoded, str) and encoded:
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise FetchError(f"{config_path()}: the login for {host} cannot be read", f"ecli-py login {host}") from error
    if isinstance(username, str) and isinstance(password, str) and username:
        return Credentials(username, password.rstrip("\0"))
    return None


def _ask_helper(helper: str, host: str) -> Credentials | None:
    for key in _keys(host)[:2]:
        answer = _run_helper(helper, "get", key)
        if answer is None:
            continue
        try:
            found = json.loads(answer)
            username, secret = found["Username"], found["Secret"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise FetchError(f"docker-credential-{helper} gave no answer that can be read", f"ecli-py login {host}") from error
        if username == _TOKEN_USER:
            raise FetchError(
                f"docker-credential-{helper} has an identity token for {host}, which is not supported", "use a password"
            )
        if isinstance(username, str) and isinstance(secret, str) and username:
            return Credentials(username, secret)
    return None


def _run_helper(helper: str, verb: str, words: str) -> str | None:
    """Run a credential helper and return what it says, ``None`` if it knows nothing of the registry."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=words, capture_output=True, text=True, timeout=_HELPER_PATIENCE_S, check=False
        )
    except FileNotFoundError as error:
        raise FetchError(f"{program} is not installed, but {config_path()} names it", "install it, or remove it there") from error
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise FetchError(f"{program} cannot be asked: {error}", f"run `{program} {verb}` by hand to see why") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout.strip() or done.stderr.strip())[:200]
    if verb == "get" and said.startswith(_NOT_FOUND):
        return None
    raise FetchError(
        f"{program} failed: {said or f'exit status {done.returncode}'}", f"run `{program} {verb}` by hand to see why"
    )


def _read_config() -> dict[str, Any]:
    path = config_path()
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise FetchError(
            f"cannot read {path}: {error.strerror}", "it has the logins of registries; check its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FetchError(
            f"{path} is no JSON document: {error}", "mend or remove it; `docker login` writes such a file"
        ) from error
    if not isinstance(config, dict):
        raise FetchError(f"{path} is no JSON object", "mend or remove it; `docker login` writes such a file")
    return config


def _write_config(config: dict[str, Any]) -> None:
    """Write the configuration whole or not at all, readable to its owner alone."""
    path = config_path()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(config, file, indent="\t")
            file.write("\n")
            file.flush()
            os.fsync(handle)
        temporary.replace(path.resolve())  # the file may be a link into a directory of dotfiles
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FetchError(f"cannot write {path}: {error.strerror}", "DOCKER_CONFIG=DIR puts it elsewhere") from error
