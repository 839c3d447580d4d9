"""Where the sockets of runs are: in a directory that nobody else may enter, each named after the pid of its run."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import struct
from contextlib import ExitStack

from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

ROOT_DIRECTORY = "/run/ecli-py"
_USERS = "/run/user"
_SUFFIX = ".sock"
_BACKLOG = 64
_TIMEVAL = struct.Struct("@ll")  # struct timeval
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid (unix(7))


class Directory:
    """A directory of sockets, by descriptor: what happens to its path meanwhile does not matter. Close it.

    Attributes:
        path: Where it was found.
        owner: Uid of the user it belongs to, who alone may enter it.
    """

    @classmethod
    def own(cls) -> Directory | None:
        """Open that of this user; ``None``: there is none.

        Raises:
            EcliError: It is no directory, or others may enter it.
        """
        return cls._open(_own_path(), os.geteuid())

    @classmethod
    def make_own(cls) -> Directory:
        """Open that of this user, after making it if there is none.

        Raises:
            EcliError: It cannot be made; or as :meth:`own`.
        """
        path = _own_path()
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise EcliError(f"cannot make the directory {path}: {error.strerror}", f"make {path}, mode 700") from error
        found = cls.own()
        if found is None:
            raise EcliError(f"the directory {path} has gone", "run it again")
        return found

    @classmethod
    def all(cls) -> Iterator[Directory]:
        """Open that of this user, and for root those of others who are logged in; each is the caller's.

        Raises:
            EcliError: As :meth:`own`. One of somebody else that is not as it should be is left out.
        """
        own = cls.own()
        if own is not None:
            yield own
        if os.geteuid() == 0:
            try:
                uids = sorted(int(name) for name in os.listdir(_USERS) if re.fullmatch(r"[1-9][0-9]{0,9}", name))
            except OSError:
                return
            for uid in uids:
                try:
                    found = cls._open(f"{_USERS}/{uid}/ecli-py", uid)
                except EcliError:
                    continue
                if found is not None:
                    yield found

    @classmethod
    def _open(cls, path: str, owner: int) -> Directory | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = "is no directory" if error.errno in (errno.ENOTDIR, errno.ELOOP) else f"cannot be opened: {error.strerror}"
            raise EcliError(f"{path} {problem}", "it must be a directory of your own, mode 700, and no link to one") from error
        found = cls(fd, path, owner)
        status = os.fstat(fd)
        if status.st_uid != owner or stat.S_IMODE(status.st_mode) & 0o077:
            found.close()
            if status.st_uid != owner:
                raise EcliError(f"{path} belongs to user {status.st_uid}", "somebody else has made it: look at it, and remove it")
            raise EcliError(f"others may enter {path}", f"look at what is in it, then: chmod 700 {path}")
        return found

    def __init__(self, fd: int, path: str, owner: int) -> None:
        self._fd, self.path, self.owner = fd, path, owner

    def pids(self) -> list[int]:
        """Return the pids of the runs that have, or had, a socket here."""
        names = os.listdir(self._fd)
        return sorted(int(name.removesuffix(_SUFFIX)) for name in names if re.fullmatch(r"[1-9][0-9]{0,9}\.sock", name))

    def sweep(self) -> None:
        """Remove what runs have left that were killed before their sockets were published."""
        for name in os.listdir(self._fd):
            found = re.fullmatch(r"\.([1-9][0-9]{0,9})\.new", name)
            if found and not os.path.exists(f"/proc/{found[1]}"):
                self._remove(name)

    def listen(self, pid: int) -> socket.socket:
        """Return a socket for a run, which nobody finds before it is published.

        Raises:
            EcliError: It cannot be made.
        """
        name = _unpublished(pid)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._remove(name)
            listener.bind(self._reach(name))
            os.chmod(name, 0o600, dir_fd=self._fd)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise EcliError(f"cannot make a socket in {self.path}: {error.strerror}", "--control needs one there") from error
        return listener

    def publish(self, pid: int) -> None:
        """Let the socket of a run be found, in the place of one that another process of this pid has left.

        Raises:
            EcliError: It has gone.
        """
        try:
            os.rename(_unpublished(pid), f"{pid}{_SUFFIX}", src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError as error:
            raise EcliError(f"cannot name a socket in {self.path}: {error.strerror}", "run it again") from error

    def remove(self, pid: int) -> None:
        """Remove the socket of a run, if it is there."""
        for name in (_unpublished(pid), f"{pid}{_SUFFIX}"):
            self._remove(name)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._fd)
        except OSError:  # it is not there; or it stays, and whoever connects to it is refused
            return

    def connect(self, pid: int, timeout_s: float) -> socket.socket:
        """Return a connection to a run, the caller's.

        Raises:
            ConnectionRefusedError: Nobody listens: the run has ended without removing its socket.
            OSError: It has no socket, or takes no connections for the time being.
            EcliError: Who listens is not the owner of the directory.
        """
        with ExitStack() as stack:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            # Without waiting it fails when many are waiting already, and so it does with Python's time-outs.
            seconds = max(timeout_s, 0.001)
            wait = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
            connection.connect(self._reach(f"{pid}{_SUFFIX}"))
            self._check_owner(connection, pid)
            stack.pop_all()  # it stays open
        return connection

    def _check_owner(self, connection: socket.socket, pid: int) -> None:
        _pid, uid = peer_of(connection)
        if uid != self.owner:
            raise EcliError(f"user {uid} listens at {self.path}/{pid}{_SUFFIX}, which is of user {self.owner}", "look at it")

    def _reach(self, name: str) -> str:
        """Return a path of a file in it that leads through the descriptor, and that is short enough for a socket (108 bytes)."""
        return f"/proc/self/fd/{self._fd}/{name}"

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return pid and effective uid of who is at the other end of a connection, at the time when it was made.

    Raises:
        OSError: The kernel does not tell.
    """
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _gid = _UCRED.unpack(data)
    return pid, uid


def _own_path() -> str:
    if os.geteuid() == 0:
        return ROOT_DIRECTORY
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isabs(base):  # the XDG Base Directory Specification has relative ones ignored
        problem = "is not set" if not base else "is no absolute path"
        raise EcliError(f"control needs a directory of your own: XDG_RUNTIME_DIR {problem}", "set it to one, mode 700")
    return os.path.join(base, "ecli-py")


def _unpublished(pid: int) -> str:
    return f".{pid}.new"
