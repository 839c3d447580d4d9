"""Files that decide what is trusted: reading those that nobody else can change, and writing."""

from __future__ import annotations

import os
from contextlib import suppress

from ecli_schemas.errors import EcliError

_MAX_FILE_SIZE_BYTES = 4 << 20


class TrustError(EcliError):
    """Nobody vouches for something, or it may not do what it can do."""


def read_setting(path: str) -> bytes:
    """Return the contents of a file that decides what is trusted.

    Raises:
        FileNotFoundError: There is none.
        TrustError: It cannot be read, or somebody else could change it.
    """
    try:
        with open(path, "rb") as file:
            for where, status in (
                (path, os.fstat(file.fileno())),
                (os.path.dirname(path), os.stat(os.path.dirname(path) or ".")),
            ):
                problem = _others_may_change(status)
                if problem:
                    raise TrustError(
                        f"{where} decides what is trusted, and {problem}",
                        f"chown {os.geteuid()} {where} && chmod go-w {where}, if its contents are right",
                    )
            data = file.read(_MAX_FILE_SIZE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TrustError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error
    if len(data) > _MAX_FILE_SIZE_BYTES:
        raise TrustError(f"{path} is larger than {_MAX_FILE_SIZE_BYTES >> 20} MiB", "this is no such file")
    return data


def _others_may_change(status: os.stat_result) -> str:
    """Return what lets somebody else than root and this user change a file, in words; empty: nothing."""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}"
    if status.st_mode & 0o1002 == 0o002:
        return "anybody may write to it"
    if status.st_mode & 0o020 and status.st_gid not in (0, os.getegid()):
        return f"group {status.st_gid} may write to it"
    return ""


def write_whole(path: str, data: bytes, mode: int = 0o644, directory_mode: int = 0o755) -> None:
    """Write a file whole or not at all, whoever else writes it, and its directories if they are missing.

    Args:
        path: The file; what was there is replaced.
        data: Its contents.
        mode: Its mode, whatever the umask.
        directory_mode: Mode of directories that are missing.

    Raises:
        EcliError: It cannot be written.
    """
    import tempfile

    directory = os.path.dirname(path)
    try:
        if directory:
            os.makedirs(directory, mode=directory_mode, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=directory or ".", prefix=f".{os.path.basename(path)}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):  # it has its own name now
                os.unlink(temporary)
    except OSError as error:
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place, or become its owner") from error
