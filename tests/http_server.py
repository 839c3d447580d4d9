"""A web server on this machine that misbehaves as it is told: what a path does is a function of the request."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from tests.machine import missing


@dataclass
class Asked:
    """A request.

    Attributes:
        path: What for.
        headers: Its headers, names in small letters.
        handler: The handler, for what is done by hand.
    """

    path: str
    headers: Mapping[str, str]
    handler: BaseHTTPRequestHandler

    def answer(self, body: bytes | Iterable[bytes] = b"", status: int = 200, /, **headers: object) -> None:
        """Answer, with the length of the body unless another is said or, by ``None``, none. ``_`` in a name stands for ``-``."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            said.setdefault("Content-Length", len(body))
        self.handler.send_response(status)
        self.handler.send_header("Connection", "close")
        for name, value in said.items():
            if value is not None:
                self.handler.send_header(name, str(value))
        self.handler.end_headers()
        for part in [body] if isinstance(body, bytes) else body:
            self.handler.wfile.write(part)
            self.handler.wfile.flush()
        self.handler.close_connection = True


Answer = Callable[[Asked], object]


@dataclass
class Server:
    """The server; use it in a ``with`` statement.

    Args:
        certificate: File with a certificate and its key, if it speaks TLS.
        directory: Its files are served, too, as they are when they are asked for.

    Attributes:
        asked: The requests so far.
    """

    certificate: Path | None = None
    directory: Path | None = None
    asked: list[Asked] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, self)
                owner.asked.append(asked)
                answer = owner._answers.get(self.path.partition("?")[0], owner._in_directory)
                with contextlib.suppress(OSError):  # the client has gone
                    answer(asked)
                self.close_connection = True

            do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread.is_alive():
            self.stop()

    def stop(self) -> None:
        """Be gone: nobody answers any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"http{'' if self.certificate is None else 's'}://{self.host}{path}"

    def serves(self, path: str, answer: Answer | bytes) -> str:
        """Say what a path does, or the bytes that it has, with an ETag of theirs; return its URL."""
        self._answers[path] = answer if callable(answer) else _file(answer)
        return self.url(path)

    def _in_directory(self, asked: Asked) -> None:
        file = self.directory and self.directory / asked.path.lstrip("/")
        if file and file.is_file():
            _file(file.read_bytes())(asked)
        else:
            asked.answer(b"", 404)

    def requests_of(self, path: str) -> list[Asked]:
        """Return the requests for a path."""
        return [each for each in self.asked if each.path == path]


def _file(content: bytes) -> Answer:
    """Return what a server does with a file that is in order: whole, in part, or not at all if it has not changed."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    def answer(asked: Asked) -> None:
        if asked.headers.get("if-none-match") == etag:
            asked.answer(b"", 304, ETag=etag)
        elif asked.headers.get("if-range") == etag:
            begin = int(asked.headers["range"].removeprefix("bytes=").partition("-")[0])
            said = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            asked.answer(content[begin:], 206, ETag=etag, Content_Range=said)
        else:
            asked.answer(content, ETag=etag)

    return answer


def make_certificate(directory: Path) -> Path:
    """Make a certificate for 127.0.0.1, signed by itself, and its key; return the file with both."""
    path = directory / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=test"]
    try:
        subprocess.run(
            [*words, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(directory / "public.pem")],
            capture_output=True,
            check=True,
        )
    except FileNotFoundError:
        missing("openssl (apt-get install openssl)")
    with path.open("ab") as file:
        file.write((directory / "public.pem").read_bytes())
    return path
