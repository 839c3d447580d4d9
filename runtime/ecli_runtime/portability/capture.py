"""A snapshot of the kernel that this process runs on."""

from __future__ import annotations

import contextlib
import gzip
import os

from ecli_runtime.errors import EcliError
from ecli_runtime.helpers import NUMBERS
from ecli_runtime.libbpf import log
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.mounts import with_tracefs
from ecli_runtime.permissions import missing, needed_for
from ecli_runtime.portability.snapshot import Snapshot, parse_config, parse_symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BTF = "/sys/kernel/btf/vmlinux"
_LSM = "/sys/kernel/security/lsm"
_TRACING = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
# enum bpf_prog_type, enum bpf_map_type. Of struct_ops (27) and freplace (28) nothing can be told without a target.
_PROGRAM_TYPES = tuple(each for each in range(1, 33) if each not in (27, 28))
_MAP_TYPES = tuple(each for each in range(1, 34) if each != 26)
_HELPERS = tuple(NUMBERS.values())[1:]
# Types whose helpers libbpf cannot try (libbpf_probe_bpf_helper).
_WITHOUT_HELPERS = frozenset((26, 27, 28, 29))


def take_snapshot() -> Snapshot:
    """Return a snapshot of the running kernel; what this process may not see is not in it."""
    here = os.uname()
    programs, maps, helpers = _tried()
    traceable, tracepoints = _from_tracefs()
    return Snapshot(
        here.release,
        here.version,
        here.machine,
        "running",
        btf=_read(_BTF),
        config=_config(here.release),
        symbols=_symbols(),
        traceable=traceable,
        tracepoints=tracepoints,
        lsm=_modules(),
        program_types=programs,
        map_types=maps,
        helpers=helpers,
    )


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _config(release: str) -> dict[str, str] | None:
    """Return the kernel's configuration from where libbpf looks for it, too (``bpf_object__read_kconfig_file``)."""
    for path in (f"/boot/config-{release}", "/proc/config.gz"):
        data = _read(path)
        if data is not None:
            try:
                return parse_config((gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8", "replace"))
            except (OSError, EOFError):
                continue
    return None


def _symbols() -> dict[str, str] | None:
    data = _read("/proc/kallsyms")
    return parse_symbols(data.decode("utf-8", "replace").splitlines()) or None if data else None


def _modules() -> tuple[str, ...] | None:
    data = _read(_LSM)
    return tuple(data.decode("ascii", "replace").strip().split(",")) if data else None


def _from_tracefs() -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """Return the functions that can be patched, and the tracepoints."""
    found: list[frozenset[str] | None] = [None, None]

    def look() -> None:
        root = next((each for each in _TRACING if os.path.isdir(f"{each}/events")), None)
        if root is None:
            return
        functions = _read(f"{root}/available_filter_functions")
        if functions:
            found[0] = frozenset(line.split(" ", 1)[0] for line in functions.decode("utf-8", "replace").splitlines())
        found[1] = frozenset(
            f"{category.name}:{event.name}"
            for category in os.scandir(f"{root}/events")
            if category.is_dir()
            for event in os.scandir(category)
            if event.is_dir()
        )

    with contextlib.suppress(EcliError, OSError):
        with_tracefs(look)
    return found[0], found[1]


def _tried() -> tuple[dict[int, bool] | None, dict[int, bool] | None, dict[int, frozenset[int]] | None]:
    """Return what types of programs and maps the kernel takes, and what helpers; ``None`` where we may not try."""
    if missing(needed_for(_PROGRAM_TYPES)):
        return None, None, None
    programs = _answers(_PROGRAM_TYPES, lambda number: lib.libbpf_probe_bpf_prog_type(number, None))
    maps = _answers(_MAP_TYPES, lambda number: lib.libbpf_probe_bpf_map_type(number, None))
    helpers = {kind: _helpers(kind) for kind, has in programs.items() if has and kind not in _WITHOUT_HELPERS}
    return programs, maps, helpers


def _helpers(kind: int) -> frozenset[int]:
    found = _answers(_HELPERS, lambda number: lib.libbpf_probe_bpf_helper(kind, number, None))
    return frozenset(number for number, has in found.items() if has)


def _answers(numbers: tuple[int, ...], ask: Callable[[int], int]) -> dict[int, bool]:
    found = {}
    for number in numbers:
        result = ask(number)
        log.take()
        if result >= 0:
            found[number] = result == 1
    return found
