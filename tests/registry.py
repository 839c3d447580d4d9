"""A real registry on this machine: Debian's docker-registry."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cli import wait_until
from tests.machine import missing

USER, PASSWORD = "author", "correct horse: battery"

_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_AUTH = "auth: {{htpasswd: {{realm: test, path: {passwords}}}}}\n"


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that runs.

    Attributes:
        host: Its host and port.
        data: Where it keeps its files.
    """

    host: str
    data: Path

    def blob(self, digest: str) -> Path:
        """Return the file of a blob."""
        digits = digest.removeprefix("sha256:")
        return self.data / "docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"


@contextlib.contextmanager
def run_registry(directory: Path, with_login: bool) -> Iterator[RunningRegistry]:
    """Run a registry until the block ends."""
    program, htpasswd = shutil.which("docker-registry"), shutil.which("htpasswd")
    if program is None:
        missing("docker-registry (apt-get install docker-registry)")
    if with_login and htpasswd is None:
        missing("htpasswd (apt-get install apache2-utils)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    data, passwords, config = directory / "data", directory / "htpasswd", directory / "config.yml"
    text = _CONFIG.format(data=data, port=port)
    if with_login:
        made = subprocess.run([str(htpasswd), "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True)
        passwords.write_text(made.stdout, encoding="utf-8")
        text += _AUTH.format(passwords=passwords)
    config.write_text(text, encoding="utf-8")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or _answers(port), "starting the registry")
        assert process.poll() is None, (directory / "log").read_text(encoding="utf-8")
        yield RunningRegistry(f"127.0.0.1:{port}", data)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/v2/", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 401
    except OSError:
        return False
