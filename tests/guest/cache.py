"""Where kernels and file systems of guests are kept: a directory for each set of packages, in the versions they have."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guest.apt import Apt, Resolved, apt
from tests.guest.errors import GuestError

FRESH_S = 24 * 3600.0  # how long what the archive said is believed


def directory() -> Path:
    """Return the cache's directory: ``guests`` in ``ECLI_CACHE``, or in ecli-py's directory of the user's cache."""
    named = os.environ.get("ECLI_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return (Path(named) if named else Path(user) / "ecli-py") / "guests"


def fetched(
    name: str,
    suite: str,
    architecture: str,
    choose: Callable[[Apt], list[Resolved]],
    unpack: Callable[[Path, Path], None],
    recipe: str,
) -> Path:
    """Return the directory that was made of the newest versions of some packages; make it if there is none.

    The archive is asked once a day. What was made before serves where it cannot be reached.

    Args:
        name: What is made, for the names of files.
        suite: Debian's suite.
        architecture: Debian's name of an architecture.
        choose: Says which packages are wanted.
        unpack: Is given a directory with the packages and an empty one to fill.
        recipe: What the result depends on besides the packages; a new recipe makes it anew.

    Raises:
        GuestError: The packages cannot be had, or are not what they should be.
    """
    cache = directory()
    cache.mkdir(parents=True, exist_ok=True)
    variant = f"{zlib.crc32(recipe.encode()):08x}"
    note = cache / f"{name}-{variant}.json"
    with _locked(cache / f"{name}.lock"):
        known = _known(note)
        if known and time.time() - note.stat().st_mtime < FRESH_S:
            return known
        try:
            with apt(suite, architecture) as archive:
                packages = sorted(choose(archive))
                made = cache / f"{name}-{variant}_{_version(packages)}"
                if not made.is_dir():
                    _make(made, archive, packages, unpack)
        except GuestError:
            if known:
                return known
            raise
        _write(note, json.dumps({"directory": made.name, "packages": [str(package) for package in packages]}, indent=1))
        for old in cache.glob(f"{name}-*_*"):
            if old not in {known, made}:  # what was known until now may be in use
                shutil.rmtree(old, ignore_errors=True)
        return made


def _version(packages: list[Resolved]) -> str:
    """Return the version of one package; of more of them, a digest of all versions."""
    if not packages:
        raise GuestError("the archive has no such packages any more", "Debian may have renamed them: tests/guest/kernels.py")
    versions = {package.version for package in packages}
    return versions.pop().replace(":", "-") if len(versions) == 1 else f"{zlib.crc32(repr(packages).encode()):08x}"


def _known(note: Path) -> Path | None:
    try:
        made = note.parent / json.loads(note.read_text())["directory"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return made if made.is_dir() else None


def _make(made: Path, archive: Apt, packages: list[Resolved], unpack: Callable[[Path, Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{made.name}.", dir=made.parent) as scratch:
        debs, fresh = Path(scratch) / "debs", Path(scratch) / "fresh"
        debs.mkdir()
        fresh.mkdir()
        archive.download(packages, debs)
        unpack(debs, fresh)
        fresh.rename(made)  # so that it is there as a whole or not at all


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.rename(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, so that a second run waits and then finds the work done."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
