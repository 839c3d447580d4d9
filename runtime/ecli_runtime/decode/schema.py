"""JSON Schema (draft 2020-12) of what a plan decodes to."""

from __future__ import annotations

from ecli_runtime.decode.meaning import STACK_MEANINGS
from ecli_runtime.decode.plan import flag_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ecli_runtime.decode.plan import Op, Plan


_ADDRESSES = {
    "ipv4": {"type": "string", "format": "ipv4"},
    "ipv6": {"type": "string", "format": "ipv6"},
    "mac": {"type": "string", "pattern": "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"},
}
# What the number of a meaning is, where text for people shows something else.
_UNITS = {
    "duration_ns": "nanoseconds",
    "duration_us": "microseconds",
    "duration_ms": "milliseconds",
    "duration_s": "seconds",
    "time_ns": "nanoseconds of CLOCK_MONOTONIC",
    "time_us": "microseconds of CLOCK_MONOTONIC",
    "time_ms": "milliseconds of CLOCK_MONOTONIC",
    "boottime_ns": "nanoseconds of CLOCK_BOOTTIME",
    "port_be": "port number",
    "errno": "error number, or its negative",
    "signal": "signal number",
    "uid": "user id",
    "gid": "group id",
    "dev": "device number: major << 20 | minor",
    "syscall": "system call number",
    "bytes": "bytes",
    "ksym": "address in the kernel",
}


def plan_schema(plan: Plan) -> dict[str, Any]:
    """Return the schema of the values that samples of a plan's type decode to."""
    is_value = bool(plan.ops) and not plan.ops[0].name  # a number, say, and no struct
    return _op_schema(plan.ops[0], plan.ops[1:]) if is_value else _object(plan.ops)


def _op_schema(op: Op, body: Sequence[Op]) -> dict[str, Any]:
    if op.meaning in _ADDRESSES:
        return dict(_ADDRESSES[op.meaning])
    if op.meaning in STACK_MEANINGS:
        return {
            "description": "names of functions, the innermost first; null: the stack was lost",
            "type": ["array", "null"],
            "items": {"type": "string"},
        }
    schema = _layout_schema(op, body)
    return {**schema, "description": _UNITS[op.meaning]} if op.meaning in _UNITS else schema


def _layout_schema(op: Op, body: Sequence[Op]) -> dict[str, Any]:
    if op.code == "struct":
        return _object(body)
    if op.code == "array":
        bounds = {} if op.count is None else {"minItems": op.count, "maxItems": op.count}
        return {"type": "array", "items": _op_schema(body[0], body[1:]), **bounds}
    if op.code == "string":
        # A character that is no UTF-8 becomes one; so there are at most as many as bytes.
        return {"type": "string", **({"maxLength": op.bit_size // 8} if op.bit_size else {})}
    if op.code == "enum":
        return {"anyOf": [{"enum": list(dict.fromkeys(name for _value, name in op.names))}, *_flags(op), _integer(op)]}
    if op.code == "float":
        return {"type": ["number", "null"]}  # JSON has neither NaN nor infinity
    if op.code == "pointer":
        return {"type": "string", "pattern": f"^0x[0-9a-f]{{1,{op.bit_size // 4}}}$"}
    return {"type": "boolean"} if op.code == "bool" else _integer(op)


def _flags(op: Op) -> list[dict[str, Any]]:
    names = [name for _bit, name in flag_names(op)]  # C identifiers, or what a hostile object has instead
    if not names or not all(name.isidentifier() for name in names):
        return [{"type": "string"}] if names else []
    one = "|".join(names)
    return [{"type": "string", "pattern": rf"^({one})(\|({one}))*$"}]


def _integer(op: Op) -> dict[str, Any]:
    low, high = (-(1 << op.bit_size - 1), (1 << op.bit_size - 1) - 1) if op.signed else (0, (1 << op.bit_size) - 1)
    return {"type": "integer", "minimum": low, "maximum": high}


def _object(ops: Sequence[Op]) -> dict[str, Any]:
    properties = {}
    at = 0
    while at < len(ops):
        op = ops[at]
        properties[op.name] = _op_schema(op, ops[at + 1 : at + 1 + op.body])
        at += 1 + op.body
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
