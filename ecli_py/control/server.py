"""The socket of a run, and what serves it: from the loop that reads events, without ever waiting for a client.

A client sends one line of JSON, a request, gets one line back, and is done. All of that is bounded in size and time; who sends
nothing, or takes nothing, loses the connection and disturbs nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from contextlib import ExitStack

from ecli_py.control.answers import Answers
from ecli_py.control.places import Directory, peer_of
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_py.tool import Tool

MAX_REQUEST_BYTES = 1 << 16
MAX_ANSWER_BYTES = 1 << 20
_MAX_CLIENTS = 16
_CLIENT_S = 5.0  # for a request to come whole, and for an answer to be taken
_DEAF_S = 1.0
_TOO_LONG = {"error": f"the answer has more than {MAX_ANSWER_BYTES} bytes", "hint": "ask for less"}
_EXAMPLE = 'for example {"do": "status"}'
_READ_BYTES = 1 << 14


class ControlServer:
    """A socket for one run. Nobody finds it before :meth:`start`; closing it removes it.

    Raises:
        EcliError: It cannot be made.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._answers: Answers | None = None
        self._clients: dict[int, _Client] = {}
        self._ending: list[_Client] = []
        self._deaf_until = 0.0
        with ExitStack() as stack:
            self._directory = Directory.make_own()
            stack.callback(self._directory.close)
            self._listener = self._directory.listen(self._pid)
            stack.pop_all()  # it stays open
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)

    def start(self, tool: Tool, name: str) -> None:
        """Serve a run, whenever it waits for events.

        Args:
            tool: The run.
            name: Name of its package.

        Raises:
            EcliError: Somebody has removed the socket.
        """
        self._answers = Answers(tool, name)
        tool.watch(self._epoll.fileno(), self._serve)
        self._directory.publish(self._pid)

    def look(self) -> bytes:
        """Do what is to be done from time to time; there is nothing to show."""
        if self._answers is not None:
            self._answers.look()
        now = time.monotonic()
        if now >= self._deaf_until > 0:
            self._deaf_until = 0.0
            self._epoll.modify(self._listener, select.EPOLLIN)
        if self._clients:
            for client in list(self._clients.values()):
                if now > client.deadline:
                    self._drop(client)
        return b""

    def end(self) -> bytes:
        """Do nothing: those who wait for the end are told when all is detached, by :meth:`close`."""
        return b""

    def _serve(self) -> None:
        for fd, events in self._epoll.poll(0):
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._clients:
                self._attend(self._clients[fd], events)

    def _accept(self) -> None:
        for _ in range(_MAX_CLIENTS):
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # there are too many open files: whoever waits would not let us sleep
                self._deaf_until = time.monotonic() + _DEAF_S
                self._epoll.modify(self._listener, 0)
                return
            connection.setblocking(False)
            client = _Client(connection)
            self._clients[connection.fileno()] = client
            self._epoll.register(connection, select.EPOLLIN)
            if len(self._clients) > _MAX_CLIENTS:  # who means it has sent his request by now
                self._drop(min(self._clients.values(), key=lambda each: each.deadline))

    def _attend(self, client: _Client, events: int) -> None:
        if client.answer is None:
            self._receive(client)
        elif events & select.EPOLLOUT:
            self._send(client)
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.request += data
        if b"\n" in data:
            self._reply(client, self._answer(client, bytes(client.request).partition(b"\n")[0]))
        elif not data:
            self._drop(client)
        elif len(client.request) > MAX_REQUEST_BYTES:
            self._reply(client, {"error": f"a request has one line of at most {MAX_REQUEST_BYTES} bytes", "hint": _EXAMPLE})

    def _answer(self, client: _Client, line: bytes) -> dict[str, Any] | None:
        """Return what is to be said; ``None``: nothing before the end of the run."""
        assert self._answers is not None  # nobody finds the socket before
        try:
            pid, uid = peer_of(client.connection)
            if uid not in (0, os.geteuid()):
                return {"error": f"user {uid} may not control this run", "hint": "only its user and root may"}
            request = _parse(line)
            answer = self._answers.answer(request, f"process {pid} of user {uid}")
        except EcliError as error:
            return {"error": str(error), "hint": error.hint}
        return None if request["do"] == "stop" else {"ok": answer}

    def _reply(self, client: _Client, answer: dict[str, Any] | None) -> None:
        if answer is None:
            # It is told at the end, and not watched until then: nothing that it does matters any more.
            self._epoll.unregister(client.connection)
            del self._clients[client.connection.fileno()]
            self._ending.append(client)
            return
        data = _line(answer)
        client.answer = memoryview(data if len(data) <= MAX_ANSWER_BYTES else _line(_TOO_LONG))
        client.deadline = time.monotonic() + _CLIENT_S
        self._epoll.modify(client.connection, select.EPOLLOUT)
        self._send(client)

    def _send(self, client: _Client) -> None:
        assert client.answer is not None
        try:
            client.answer = client.answer[client.connection.send(client.answer) :]
        except BlockingIOError:
            return
        except OSError:  # it has gone
            self._drop(client)
            return
        if not client.answer:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection.fileno()]
        client.connection.close()  # epoll forgets it

    def close(self) -> None:
        """Remove the socket, and tell those who have waited for the end what the run has done; a second call does nothing."""
        self._directory.remove(self._pid)
        self._directory.close()
        self._epoll.close()
        self._listener.close()
        for client in self._ending:
            if self._answers is not None:
                with contextlib.suppress(OSError):  # it has gone
                    client.connection.send(_line({"ok": self._answers.summary()}))
            client.connection.close()
        for client in self._clients.values():
            client.connection.close()
        self._ending.clear()
        self._clients.clear()


class _Client:
    """A connection, and how far it has come.

    Attributes:
        request: What has come of it.
        answer: What is still to be sent of it; ``None``: the request is not there yet.
        deadline: On the monotonic clock.
    """

    __slots__ = ("answer", "connection", "deadline", "request")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.request = bytearray()
        self.answer: memoryview | None = None
        self.deadline = time.monotonic() + _CLIENT_S


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise EcliError("a request is one line of JSON", _EXAMPLE) from error
    if not isinstance(request, dict):
        raise EcliError("a request is a JSON object", _EXAMPLE)
    return request


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode("ascii") + b"\n"
