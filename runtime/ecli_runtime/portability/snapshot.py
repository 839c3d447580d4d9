"""A snapshot of a kernel: what tells whether a package runs there, in one JSON document. A document is untrusted."""

from __future__ import annotations

import binascii
import json
import re
import zlib

from ecli_runtime.errors import SnapshotError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

FORMAT = 1
MAX_DOCUMENT_SIZE_BYTES = 64 << 20
_MAX_PART_SIZE_BYTES = 256 << 20
_PARTS = ("btf", "config", "symbols", "traceable", "tracepoints")
_AGAIN = (
    "`ecli-py snapshot -o FILE` makes one on a machine, and `ecli-py snapshot --image VMLINUZ` of a file that a kernel boots from"
)
_TEXT = re.compile(r"[ -~]{0,256}")


class Snapshot(Record):
    """What is known of a kernel. ``None``: not known; then it is taken for granted where nothing else tells.

    Attributes:
        release: As ``uname -r`` has it.
        version: As ``uname -v`` has it.
        machine: As ``uname -m`` has it.
        source: ``running``, or ``image`` if it was never booted.
        btf: The ``.BTF`` section; ``None``: the kernel has none.
        config: Its configuration, by option: ``CONFIG_BPF`` → ``y``.
        symbols: Name → letters of its types as nm(1) has them; those of modules that were loaded too.
        traceable: Names of the functions that ftrace can patch.
        tracepoints: As ``category:name``.
        lsm: Security modules in force.
        program_types: ``enum bpf_prog_type`` → whether it was possible to load one.
        map_types: ``enum bpf_map_type`` → whether it was possible to make one.
        helpers: ``enum bpf_prog_type`` → numbers of the helpers that its programs may call.
    """

    release: str
    version: str
    machine: str
    source: str
    btf: bytes | None = None
    config: Mapping[str, str] | None = None
    symbols: Mapping[str, str] | None = None
    traceable: frozenset[str] | None = None
    tracepoints: frozenset[str] | None = None
    lsm: tuple[str, ...] | None = None
    program_types: Mapping[int, bool] | None = None
    map_types: Mapping[int, bool] | None = None
    helpers: Mapping[int, frozenset[int]] | None = None


def write_snapshot(snapshot: Snapshot) -> bytes:
    """Return the document; the same bytes for the same snapshot."""
    parts = {
        "btf": snapshot.btf,
        "config": _lines(f"{name}={value}" for name, value in (snapshot.config or {}).items()),
        "symbols": _lines(f"{letters} {name}" for name, letters in (snapshot.symbols or {}).items()),
        "traceable": _lines(snapshot.traceable or ()),
        "tracepoints": _lines(snapshot.tracepoints or ()),
    }
    document: dict[str, Any] = {
        "ecli_snapshot": FORMAT,
        **{name: getattr(snapshot, name) for name in ("release", "version", "machine", "source")},
        **{name: _packed(part) for name, part in parts.items() if part is not None and getattr(snapshot, name) is not None},
    }
    if snapshot.lsm is not None:
        document["lsm"] = list(snapshot.lsm)
    for name in ("program_types", "map_types"):
        known: Mapping[int, bool] | None = getattr(snapshot, name)
        if known is not None:
            document[name] = {str(number): has for number, has in known.items()}
    if snapshot.helpers is not None:
        document["helpers"] = {str(number): sorted(helpers) for number, helpers in snapshot.helpers.items()}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_snapshot(data: bytes, name: str) -> Snapshot:
    """Return the snapshot that a document holds.

    Args:
        data: The document.
        name: What to call it in errors.

    Raises:
        SnapshotError: It is none, it is of a newer format, or it is damaged.
    """
    if len(data) > MAX_DOCUMENT_SIZE_BYTES:
        raise SnapshotError(f"{name} is larger than {MAX_DOCUMENT_SIZE_BYTES >> 20} MiB, and no snapshot of a kernel", _AGAIN)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{name} is no snapshot of a kernel", _AGAIN) from error
    if not isinstance(document, dict) or "ecli_snapshot" not in document:
        raise SnapshotError(f"{name} is no snapshot of a kernel", _AGAIN)
    if document["ecli_snapshot"] != FORMAT:
        raise SnapshotError(f"{name} is a snapshot of a format that is not known", "a newer ecli-py may know it")
    try:
        return _snapshot(document)
    except (ValueError, TypeError, AttributeError, KeyError, zlib.error) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise SnapshotError(f"{name} is damaged: {what}", _AGAIN) from error


def _snapshot(document: dict[str, Any]) -> Snapshot:
    parts = {name: _unpacked(document.get(name)) for name in _PARTS}
    lsm = document.get("lsm")
    if lsm is not None and not isinstance(lsm, list):
        raise ValueError("lsm is no list")
    return Snapshot(
        _text(document["release"]),
        _text(document["version"]),
        _text(document["machine"]),
        _text(document["source"]),
        btf=parts["btf"],
        config=None if parts["config"] is None else parse_config(_decode(parts["config"])),
        symbols=None if parts["symbols"] is None else dict(_reversed(line) for line in _decode(parts["symbols"]).splitlines()),
        traceable=None if parts["traceable"] is None else frozenset(_decode(parts["traceable"]).splitlines()),
        tracepoints=None if parts["tracepoints"] is None else frozenset(_decode(parts["tracepoints"]).splitlines()),
        lsm=None if lsm is None else tuple(map(_text, lsm)),
        program_types=_flags(document.get("program_types")),
        map_types=_flags(document.get("map_types")),
        helpers=None
        if document.get("helpers") is None
        else {int(number): frozenset(map(int, helpers)) for number, helpers in document["helpers"].items()},
    )


def parse_config(text: str) -> dict[str, str]:
    """Return the options that a kernel's configuration sets; strings keep their quotes, as libbpf wants them."""
    return dict(line.strip().split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)


def parse_symbols(lines: Iterable[str]) -> dict[str, str]:
    """Return name → letters of types of the symbols in lines of ``/proc/kallsyms`` or ``System.map``, programs left out."""
    found: dict[str, str] = {}
    for line in lines:
        fields = line.split()
        if len(fields) < 3 or fields[-1] == "[bpf]" or fields[-1] == "[__builtin__kprobes]":
            continue
        letters = found.get(fields[2], "")
        if fields[1][:1] not in letters or not letters:
            found[fields[2]] = "".join(sorted(letters + fields[1][:1]))
    return found


def _lines(lines: Iterable[str]) -> bytes:
    return "\n".join(sorted(lines)).encode()


def _packed(data: bytes) -> str:
    return binascii.b2a_base64(zlib.compress(data, 6), newline=False).decode()


def _unpacked(text: object) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError("a part of it is no text")
    inflate = zlib.decompressobj()
    data = inflate.decompress(binascii.a2b_base64(text), _MAX_PART_SIZE_BYTES)
    if not inflate.eof:
        raise ValueError("a part of it is cut short, or too large")
    return data


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _reversed(line: str) -> tuple[str, str]:
    letters, _, name = line.partition(" ")
    return name, letters


def _text(value: object) -> str:
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise ValueError("a name in it is none")
    return value


def _flags(value: Mapping[str, bool] | None) -> dict[int, bool] | None:
    return None if value is None else {int(number): bool(has) for number, has in value.items()}
