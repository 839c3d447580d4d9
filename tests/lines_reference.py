"""What lines look like, written as plainly as possible: a sample becomes values, values become cells, cells a line.

It shares nothing with the backends but the plan.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ecli_py.render.jsonlines import to_json
from ecli_py.render.plain import size_text
from ecli_runtime.decode.lines import Style
from ecli_runtime.decode.names import names_of
from ecli_runtime.decode.plan import Op, Plan, flag_names

RANGES = "00-1F 7F-9F AD-AD 61C-61C 200B-200F 202A-202E 2060-206F FEFF-FEFF FFF9-FFFB E0000-E007F"
UNSAFE = {chr(code) for part in RANGES.split() for code in range(int(part.split("-")[0], 16), int(part.split("-")[1], 16) + 1)}


def line(plan: Plan, style: Style, payload: bytes, prefix: str = "") -> bytes:
    """Return the line of a sample, line feed included."""
    members = _by_name(plan.ops)
    names = list(members) if style.fields is None else style.fields
    values = {name: value(plan, *members[name], payload, 0) for name in names}
    if style.kind == "json":
        text = prefix + to_json({**dict(style.tags), **values})
    elif style.kind == "csv":
        cells = [tag for _name, tag in style.tags]
        cells += [_csv_text(plan, members[name][0], payload, values[name]) for name in names]
        text = prefix + ",".join(f'"{cell}"'.replace('"', '""')[1:-1] if set(cell) & set(',"\r\n') else cell for cell in cells)
    else:
        cells = [text_cell(plan, style, *members[name], payload, index) for index, name in enumerate(names)]
        text = (prefix + "  ".join(cells)).rstrip(" ")
    return (text + "\n").encode()


def _by_name(ops: Sequence[Op]) -> dict[str, tuple[Op, Sequence[Op]]]:
    found = {}
    at = 0
    while at < len(ops):
        found[ops[at].name] = ops[at], ops[at + 1 : at + 1 + ops[at].body]
        at += 1 + ops[at].body
    return found


def raw(op: Op, payload: bytes, base: int) -> bytes:
    """Return the bytes of a value that fills whole bytes."""
    start = base + op.bit_offset // 8
    return payload[start : start + op.bit_size // 8] if op.bit_size else payload[start:]


def number(plan: Plan, op: Op, payload: bytes, base: int) -> int:
    """Return bits of the sample as a number: the sample is one long number of which some bits are taken."""
    element = payload[base:]
    if plan.byteorder == "little":
        found = int.from_bytes(element, "little") >> op.bit_offset
    else:
        found = int.from_bytes(element, "big") >> len(element) * 8 - op.bit_offset - op.bit_size
    found %= 1 << op.bit_size
    return found - (1 << op.bit_size) if op.signed and found >= 1 << op.bit_size - 1 else found


def value(plan: Plan, op: Op, body: Sequence[Op], payload: bytes, base: int) -> Any:
    """Return what the Python API gives."""
    if op.meaning == "ipv4":
        return str(ipaddress.IPv4Address(raw(op, payload, base)))
    if op.meaning == "ipv6":
        address = ipaddress.IPv6Address(raw(op, payload, base))
        return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)
    if op.meaning == "mac":
        return raw(op, payload, base).hex(":")
    if op.meaning == "port_be":
        return int.from_bytes(raw(op, payload, base), "big")
    if op.code == "struct":
        return {name: value(plan, *member, payload, base) for name, member in _by_name(body).items()}
    if op.code == "array":
        first, stride = base + op.bit_offset // 8, op.stride_bits // 8
        count = op.count if op.count is not None else (len(payload) - first) // stride if stride else 0
        return [value(plan, body[0], body[1:], payload, first + index * stride) for index in range(count)]
    if op.code == "string":
        return raw(op, payload, base).split(b"\0")[0].decode("utf-8", "replace")
    if op.code == "float":
        order = "<" if plan.byteorder == "little" else ">"
        return struct.unpack(order + ("f" if op.bit_size == 32 else "d"), raw(op, payload, base))[0]
    plain = number(plan, op, payload, base)
    if op.code == "pointer":
        return hex(plain)
    if op.code == "bool":
        return plain != 0
    if op.code == "enum":
        exact = [name for known, name in op.names if known == plain]
        if exact:
            return exact[0]
        unsigned = plain % (1 << op.bit_size)
        flags = flag_names(op)
        if unsigned and unsigned & ~sum(bit for bit, _name in flags) == 0:
            return "|".join(name for bit, name in flags if bit & unsigned)
    return plain


def escaped(text: str) -> str:
    return "".join(repr(c)[1:-1] if c in UNSAFE else c for c in text)


def escaped_json(text: str) -> str:
    def escape(c: str) -> str:
        units = c.encode("utf-16-be").hex()
        return "".join("\\u" + units[at : at + 4] for at in range(0, len(units), 4))

    return "".join(escape(c) if c in UNSAFE else c for c in text)


def text_cell(plan: Plan, style: Style, op: Op, body: Sequence[Op], payload: bytes, index: int) -> str:
    text = shown(plan, style, op, body, payload)
    width = style.widths[index] if index < len(style.widths) else 0
    numeric = op.code in ("int", "float") and not op.meaning
    if numeric or op.meaning in ("bytes", "port_be") or op.meaning.startswith("duration"):
        return text.rjust(width)
    if style.cut and 0 < width < len(text):
        first = (width - 1) // 2
        last = width - 1 - first
        text = text[:first] + "…" + text[len(text) - last :]
    return text.ljust(width)


def shown(plan: Plan, style: Style, op: Op, body: Sequence[Op], payload: bytes) -> str:
    """Return the text of a top-level member, without padding."""
    found = value(plan, op, body, payload, 0)
    kind, _, unit = op.meaning.partition("_")
    if kind == "duration":
        return duration(found, {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[unit], unit)
    if kind in ("time", "boottime"):
        offset_ns = style.clock_offset_ns if kind == "time" else style.boot_offset_ns
        if not found:
            return "-"
        since_1970_us = (found * {"ns": 1, "us": 10**3, "ms": 10**6}[unit] + offset_ns) // 1000
        zone = timezone(timedelta(seconds=style.utc_offset_s))
        day_us = 86_400 * 10**6
        return (
            (datetime(2000, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=since_1970_us % day_us))
            .astimezone(zone)
            .strftime("%H:%M:%S.%f")
        )
    if op.meaning == "dev":
        unsigned = found % (1 << op.bit_size)
        return f"{unsigned >> 20}:{unsigned & 0xFFFFF}"
    if op.meaning == "bytes":
        return size_text(found)
    if op.meaning == "ksym":
        return str(found) if op.code == "pointer" else hex(found)
    if op.meaning in ("errno", "signal", "uid", "gid", "syscall"):
        names = names_of(op.meaning, style.arch)
        name = names.get(found) or (names.get(-found) if op.meaning == "errno" and found < 0 else "")
        return escaped(name) if name else str(found)
    if op.code == "enum" and found == "":
        return str(number(plan, op, payload, 0))
    if isinstance(found, str):
        return escaped(found)
    if isinstance(found, bool):
        return "true" if found else "false"
    return repr(found) if isinstance(found, (int, float)) else escaped_json(to_json(found))


def _csv_text(plan: Plan, op: Op, payload: bytes, found: Any) -> str:
    if op.code == "enum" and found == "":  # as in a column: it would look like nothing at all
        return str(number(plan, op, payload, 0))
    if isinstance(found, (str, bool)) or found is None:
        return found if isinstance(found, str) else to_json(found)
    return repr(found) if isinstance(found, (int, float)) else to_json(found)


def duration(count: int, unit_ns: int, unit: str) -> str:
    if count < 0:
        return "-" + duration(-count, unit_ns, unit)
    span = count * unit_ns
    seconds = span // 10**9
    if span == 0:
        return "0"
    if span < 1000:
        return f"{span}ns"
    if seconds >= 86_400:
        return f"{seconds // 86_400}d{seconds % 86_400 // 3600:02}h"
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
    if seconds >= 60:
        return f"{seconds // 60}m{seconds % 60:02}s"
    size, name = (10**3, "us") if span < 10**6 else (10**6, "ms") if span < 10**9 else (10**9, "s")
    if name == unit:
        return f"{count}{unit}"
    digits = f"{span // size}.{span % size * 1000 // size:03}"[:4].rstrip(".")
    return digits + name
