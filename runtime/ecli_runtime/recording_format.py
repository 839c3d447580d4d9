"""The format of recordings: blocks, their headers, and the layouts of what is in them. ``docs/recording.md`` describes it."""

from __future__ import annotations

import struct
import zlib

from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T", int, float, str, bool, list[Any], dict[str, Any])

MAGIC = b"\x89ECLI\r\n\x1a"  # as PNG does it: no text, and no longer the same when it was transferred as text
VERSION = 2
READABLE_VERSIONS = (1, 2)  # 1 tells neither which map lost something, nor stacks

KIND_RUN, KIND_DATA, KIND_END = 1, 2, 3

# Bounds for what one block makes a reader keep.
MAX_BODY_SIZE_BYTES = 16 << 20
_MAX_STORED_SIZE_BYTES = MAX_BODY_SIZE_BYTES + (64 << 10)  # zlib adds 5 bytes to 16 KiB that cannot be compressed

HEADER_FIELDS = struct.Struct("<8sBBxxIIII")  # magic, version, kind, run, sequence, size and checksum of what follows
HEADER_SIZE = HEADER_FIELDS.size + 4  # and the checksum of these
STATE = struct.Struct("<6Q")  # clocks in nanoseconds: real time, monotonic, boot time; events lost, undecoded, unrecorded
DOCUMENT_SIZE = struct.Struct("<I")
ITEM = struct.Struct("<BBHHxxIIIQ")  # kind, flags, source, type, two sizes in bytes, count, monotonic time in nanoseconds
TOTALS = struct.Struct("<QQdd")  # events shown, received; occupancy, seconds

LOST_COUNT = struct.Struct("<Q")

ITEM_SAMPLES, ITEM_READINGS, ITEM_LOSS, ITEM_STACKS = 1, 2, 3, 4
FLAG_MIXED = 1
NO_TYPE = 0xFFFF

# Entries in one piece of a reading that has stacks, which take many times the room of the entries.
MAX_STACK_ENTRIES = 4096

_MAX_DIGEST_SIZE_BYTES = 16


class BlockHeader(Record):
    """What stands before the body of a block.

    Attributes:
        kind: ``KIND_RUN``, ``KIND_DATA`` or ``KIND_END``.
        run: Number of the run that the block belongs to.
        sequence: Number of the block in its run.
        size_bytes: Of the compressed body, which follows.
        checksum: CRC-32 of that.
    """

    version: int
    kind: int
    run: int
    sequence: int
    size_bytes: int
    checksum: int


class Unreadable(Exception):  # noqa: N818  a signal between functions of this module
    """A block is whole, and what it says makes no sense."""


def make_block(kind: int, run: int | None, sequence: int, body: bytes, version: int = VERSION) -> tuple[bytes, int]:
    """Return a block, and the number of its run.

    Args:
        kind: ``KIND_RUN``, ``KIND_DATA`` or ``KIND_END``.
        run: Number of the run; ``None`` for its first block, which gives it one.
        sequence: Number of the block in its run.
        body: State and content, not compressed.
        version: Of the format.
    """
    # Level 1 takes a fifth to two fifths of the time of zlib's default, for files that are 5 to 30 % larger.
    stored = zlib.compress(body, 1)
    checksum = zlib.crc32(stored)
    run_number = checksum if run is None else run
    fields = HEADER_FIELDS.pack(MAGIC, version, kind, run_number, sequence, len(stored), checksum)
    return fields + zlib.crc32(fields).to_bytes(4, "little") + stored, run_number


def parse_header(data: bytes) -> BlockHeader | None:
    """Return the header that the first :data:`HEADER_SIZE` bytes are, or ``None`` if they are none."""
    if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
        return None
    if zlib.crc32(data[: HEADER_FIELDS.size]).to_bytes(4, "little") != data[HEADER_FIELDS.size : HEADER_SIZE]:
        return None
    header = BlockHeader(*HEADER_FIELDS.unpack_from(data)[1:])
    return header if header.size_bytes <= _MAX_STORED_SIZE_BYTES else None


def stack_digest(key: bytes) -> bytes:
    """Return what a recording knows a stack by: what tells it from others, or a digest where that is long."""
    if len(key) <= _MAX_DIGEST_SIZE_BYTES:
        return key
    from hashlib import blake2b

    return blake2b(key, digest_size=_MAX_DIGEST_SIZE_BYTES).digest()


def unpack(layout: struct.Struct, data: bytes, at: int) -> tuple[Any, ...]:
    """Return the numbers at a place; all of these functions raise :class:`Unreadable`."""
    try:
        return layout.unpack_from(data, at)
    except struct.error as error:
        raise Unreadable("is too short") from error


def field(document: object, name: str, kind: type[T]) -> T:
    """Return a value of an object of JSON that has to be of a type."""
    value = document.get(name) if isinstance(document, dict) else None
    if type(value) is not kind:
        raise Unreadable(f"its description has no {name!r} of type {kind.__name__}")
    return value


def number(document: object, name: str, limit: int = 1 << 31) -> int:
    """Return a number from 0 up to below a limit."""
    value = field(document, name, int)
    if not 0 <= value < limit:
        raise Unreadable(f"{name!r} in its description is out of range")
    return value


def text(document: object, name: str) -> str:
    """Return a text, as :func:`harmless`."""
    return harmless(field(document, name, str))


def harmless(value: str) -> str:
    """Return a text with what a terminal might obey escaped, and what is no Unicode."""
    return value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
