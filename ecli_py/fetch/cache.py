"""Packages that were fetched, kept by their digests, for one user.

``blobs/HEX``
    Bytes with that SHA-256, and no others: they are hashed again each time they are read.
``entries/KEY.json``
    What a reference stood for when it was last asked: digest, validators, times. KEY is the SHA-256 of the reference.
``partial/KEY``
    The beginning of a download, which the next run goes on with.
``locks/NN``
    Locked by whoever downloads a reference whose KEY begins so. These files stay: to remove one would let two in.

A file is written under another name, flushed to the disk and then renamed, so a crash leaves the old one or the new one.
What another user can change is not used: each file must be this user's and writable to nobody else, and so must each directory
on the way be, root's apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from platformdirs import user_cache_path

from ecli_py.fetch.errors import CacheError

_DIRECTORIES = ("blobs", "entries", "partial", "locks")
_PARTIAL_LASTS_S = 86400.0
_LONG_WAIT_S = 5.0
_WRITABLE_TO_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Entry:
    """What a reference stood for when it was last asked.

    Attributes:
        reference: The reference, as a user would write it.
        digest: Of the bytes: ``sha256:…``.
        size: Bytes.
        etag: What the web server called this version; empty: it said nothing.
        last_modified: When it was changed, in the server's words; likewise.
        manifest: Of a registry's artifact: digest of the manifest; else empty.
        fetched_at: When the bytes came, in seconds since the epoch.
        checked_at: When somebody last said that they are the current ones.
        used_at: When they were last asked for.
    """

    reference: str
    digest: str
    size: int
    etag: str = ""
    last_modified: str = ""
    manifest: str = ""
    fetched_at: float = 0.0
    checked_at: float = 0.0
    used_at: float = 0.0


@dataclass(frozen=True)
class Removed:
    """What a clean-up removed: files that hold packages or parts of them, and their bytes."""

    files: int
    size: int


class Cache:
    """A cache in a directory.

    Args:
        directory: Where; made if it is not there.
        temporary: Remove it when the cache is closed.

    Raises:
        CacheError: It cannot be written, or others can change what is in it.
    """

    def __init__(self, directory: Path, temporary: bool = False) -> None:
        self.directory = directory
        self._temporary = temporary
        if not directory.is_absolute():  # XDG_CACHE_HOME is not, or nobody knows where this user's home is
            raise CacheError(f"the cache {directory} is no absolute path", "XDG_CACHE_HOME=DIR says where it is")
        try:
            for path in (directory, *(directory / name for name in _DIRECTORIES)):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_strangers(directory)
        except OSError as error:
            raise CacheError(
                f"cannot use the cache {directory}: {error.strerror}", "XDG_CACHE_HOME=DIR puts it elsewhere"
            ) from error

    @classmethod
    def open(cls, warn: Callable[[str], object]) -> Cache:
        """Open the user's cache; one for this process alone, after a warning, if that cannot be used."""
        try:
            return cls(cache_directory())
        except CacheError as error:
            warn(f"{error}; nothing is kept")
            return cls(Path(tempfile.mkdtemp(prefix="ecli-py-")), temporary=True)

    def close(self) -> None:
        """Remove what is only for this process."""
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def entry(self, key: str) -> Entry | None:
        """Return what a reference stood for, ``None`` if it was never fetched, or what was written is damaged."""
        return self._read_entry(self._entry_path(key))

    def use(self, key: str) -> tuple[Entry, bytes] | None:
        """Return what a reference stood for and its bytes, and note that they were used; ``None``: they are not here, whole."""
        entry = self.entry(key)
        content = self.blob(entry.digest) if entry is not None else None
        if entry is None or content is None:
            return None
        with contextlib.suppress(OSError):  # a full disk is no reason not to run
            os.utime(self._entry_path(key))
        return entry, content

    def blob(self, digest: str) -> bytes | None:
        """Return the bytes that have a digest, ``None`` if they are not here, or were changed."""
        try:
            content = _read_own(self._blob_path(digest))
        except OSError:
            return None
        return content if f"sha256:{hashlib.sha256(content).hexdigest()}" == digest else None

    def put(self, key: str, entry: Entry) -> None:
        """Keep what a reference stands for now; its bytes are here already.

        Raises:
            CacheError: It cannot be written.
        """
        text = json.dumps({**asdict(entry), "used_at": 0.0})
        self._replace(self._entry_path(key), text.encode())

    def confirm(self, key: str, entry: Entry) -> None:
        """Note that a reference still stands for what it stood for, if it can be written."""
        with contextlib.suppress(CacheError):
            self.put(key, replace(entry, checked_at=time.time()))

    def keep(self, content: bytes) -> str:
        """Keep some bytes, and return their digest; errors as :meth:`put`."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if self.blob(digest) is None:
            self._replace(self._blob_path(digest), content)
        return digest

    def partial(self, key: str) -> Path:
        """Return where the beginning of a download is, or comes."""
        return self.directory / "partial" / _name(key)

    @contextlib.contextmanager
    def lock(self, key: str, waiting: Callable[[], object]) -> Iterator[None]:
        """Wait until nobody else downloads a reference, and keep others from it meanwhile.

        The lock goes with the process that holds it, however that ends. Errors as :meth:`put`.

        Args:
            key: The reference.
            waiting: Called once if it takes long.
        """
        try:
            handle = os.open(
                self.directory / "locks" / _name(key)[:2], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise self._failure(error) from error
        try:
            deadline = time.monotonic() + _LONG_WAIT_S
            while not _try_to_lock(handle):
                if time.monotonic() > deadline:
                    waiting()
                    fcntl.flock(handle, fcntl.LOCK_EX)
                    break
                time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    def entries(self) -> list[Entry]:
        """Return all entries, the last used one first."""
        found = (self._read_entry(path) for path in self.directory.glob("entries/*.json"))
        return sorted((each for each in found if each is not None), key=lambda each: -each.used_at)

    def prune(self, unused_s: float, size_bytes: int | None = None) -> Removed:
        """Remove entries that nobody used for some time, the least recently used ones until the rest is small enough, and what no
        entry stands for.

        Args:
            unused_s: Seconds since the last use.
            size_bytes: What may stay; ``None``: any size.
        """  # noqa: D205  one sentence
        now = time.time()
        left = 0
        kept = set()
        paths = {path: entry for path in self.directory.glob("entries/*.json") if (entry := self._read_entry(path)) is not None}
        for path, entry in sorted(paths.items(), key=lambda each: -each[1].used_at):
            size = 0 if entry.digest in kept else entry.size
            if now - entry.used_at > unused_s or (size_bytes is not None and left + size > size_bytes):
                path.unlink(missing_ok=True)
            else:
                kept.add(entry.digest)
                left += size
        unneeded = [path for path in self.directory.glob("blobs/*") if f"sha256:{path.name}" not in kept]
        abandoned = [path for path in self.directory.glob("partial/*") if now - _changed_at(path) > _PARTIAL_LASTS_S]
        # Bytes that were written a moment ago may wait for their entry.
        return _remove([path for path in unneeded if now - _changed_at(path) > 60] + abandoned)

    def clear(self) -> Removed:
        """Remove everything."""
        files = [path for name in ("blobs", "partial") for path in self.directory.glob(f"{name}/*")]
        removed = _remove(files)
        _remove(list(self.directory.glob("entries/*")))
        return removed

    def _read_entry(self, path: Path) -> Entry | None:
        try:
            document = json.loads(_read_own(path))
            entry = Entry(**{**document, "used_at": path.stat().st_mtime})
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        kinds = {"str": str, "int": int, "float": (int, float)}
        well_formed = all(isinstance(getattr(entry, each.name), kinds[str(each.type)]) for each in fields(Entry))  # type: ignore[arg-type]
        return entry if well_formed and entry.digest.startswith("sha256:") else None

    def _entry_path(self, key: str) -> Path:
        return self.directory / "entries" / f"{_name(key)}.json"

    def _blob_path(self, digest: str) -> Path:
        return self.directory / "blobs" / digest.removeprefix("sha256:").replace("/", "_")

    def _replace(self, path: Path, content: bytes) -> None:
        """Write a file so that there is the old one or the new one, whatever happens meanwhile."""
        temporary = path.parent / f".{path.name}.{os.getpid()}.{threading.get_ident()}"
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_directory(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> CacheError:
        return CacheError(
            f"cannot write to the cache {self.directory}: {error.strerror}", "`ecli-py cache prune` or `cache clear` make room"
        )


def cache_directory() -> Path:
    """Return where this user's cache is: for root never in another user's home, where ``sudo`` may leave ``HOME`` to point to."""
    directory: Path = user_cache_path("ecli-py") / "fetch"
    if os.geteuid() == 0:
        existing = next((each for each in directory.parents if each.exists()), directory)
        with contextlib.suppress(OSError, KeyError):
            if existing.stat().st_uid != 0:
                import pwd

                return Path(pwd.getpwuid(0).pw_dir) / ".cache" / "ecli-py" / "fetch"
    return directory


def _try_to_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _name(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _refuse_strangers(directory: Path) -> None:
    """Raise a CacheError if somebody else than this user or root can change the cache, or put another in its place."""
    user = os.geteuid()
    for name in ("", *_DIRECTORIES):
        path = directory / name
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
            raise CacheError(f"the cache {path} is not a directory of this user's", "remove it, or set XDG_CACHE_HOME=DIR")
        if found.st_mode & _WRITABLE_TO_OTHERS:
            raise CacheError(f"the cache {path} is writable to others", f"chmod go-w {path}, after `ecli-py cache clear`")
    for path in directory.resolve().parents:
        found = path.stat()
        # In a directory like /tmp each may only rename what is his own. Many users have a group of their own.
        shared = stat.S_IWOTH | (stat.S_IWGRP if user == 0 else 0)
        if found.st_uid not in (user, 0) or (found.st_mode & shared and not found.st_mode & stat.S_ISVTX):
            raise CacheError(f"the cache {directory} is in a directory that others can change: {path}", "set XDG_CACHE_HOME=DIR")


def _read_own(path: Path) -> bytes:
    """Return what is in a file that nobody but this user can have written."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _WRITABLE_TO_OTHERS:
            raise PermissionError(f"{path} is not this user's alone")
        return file.read()


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _changed_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def _remove(paths: list[Path]) -> Removed:
    files = size = 0
    for path in paths:
        try:
            size += path.lstat().st_size
            path.unlink()
        except OSError:
            continue
        files += 1
    return Removed(files, size)
