"""Stack traces of events: which members refer to one or hold one, what tells them apart, and how they are written.

What they are called comes from elsewhere (:class:`Stacks`): from the running kernel and its processes, or from a recording.
"""

from __future__ import annotations

from struct import Struct

from ecli_runtime.decode.escapes import ESCAPES, JSON, RAW, TEXT
from ecli_runtime.decode.meaning import STACK_MEANINGS, USER_STACK
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Literal, Protocol, TypeAlias

    from ecli_runtime.decode.lines import Value
    from ecli_runtime.decode.plan import Op, Plan

    Frame: TypeAlias = tuple[str, str]  # function, and the file that it is in: ``kernel`` is the kernel

    class Stacks(Protocol):
        """What the stacks of a chunk are called.

        Those of samples are known by the number of the :class:`StackMember` and its key; those of a reading by 0 (the kernel's)
        or 1 (the process's) and the key of the entry.
        """

        def keys(self) -> Iterable[tuple[int, bytes]]:
            """Return what the stacks are known by."""

        def frames(self, member: int, key: bytes) -> Sequence[Frame] | None:
            """Return the frames of a stack, the innermost first; ``None``: it was lost."""

        def comm(self, key: bytes) -> str:
            """Return what the process of an entry of a reading is called."""


LOST = "[lost stack]"  # the kernel found no room for it
ADDRESS_SIZE_BYTES = 8
PID_SIZE_BYTES = 8  # at the beginning of each key

_SIDELESS = ("stack_id", "stackid")  # only the addresses tell whose such a stack is

_PIDS = ("tgid", "pid", "tid")  # the process lives longer than the thread that made the event
_SIZES = ("_sz", "_size", "_bytes", "_len")  # of what bpf_get_stack() returned
_ENTRIES = ("_len",)  # of these, what may be a number of addresses: only 0 and less say something


class _Integer(Record):
    byte_offset: int
    size_bytes: int
    signed: bool
    byteorder: Literal["little", "big"]

    def read(self, sample: bytes, at: int) -> int:
        start = at + self.byte_offset
        return int.from_bytes(sample[start : start + self.size_bytes], self.byteorder, signed=self.signed)


class StackMember(Record):
    """A member that refers to a stack trace or holds the addresses of one.

    Attributes:
        path: Its name, with those of the structs around it: ``key.kern_stack_id``.
        is_user: It is the stack of a process; else the kernel's.
        is_id: It is what ``bpf_get_stackid()`` returned.
        place: Where the id is; of addresses the place of all of them.
        pid: Where the process's number is; ``None``: the event does not say it.
        size: Where it is said how many bytes of addresses there are; ``None``: up to the first zero.
        has_entries: That may also be the number of addresses.
    """

    path: str
    is_user: bool
    is_id: bool
    place: _Integer
    pid: _Integer | None
    size: _Integer | None
    has_entries: bool

    @property
    def may_be_user(self) -> bool:
        """Whether it may be the stack of a process."""
        return self.is_user or self.path.rpartition(".")[2] in _SIDELESS

    def key(self, sample: bytes, at: int = 0) -> bytes:
        """Return what tells a stack from others: the process, in 8 bytes, and the id or the addresses.

        Args:
            sample: What holds the event.
            at: Where in it the event begins.
        """
        pid = self.pid.read(sample, at) if self.pid is not None else 0
        place = self.place
        start = at + place.byte_offset
        size_bytes = place.size_bytes
        if not self.is_id:
            if self.size is not None:
                said = self.size.read(sample, at)
                size_bytes = 0 if said <= 0 else size_bytes if self.has_entries else min(said & ~7, size_bytes)
            size_bytes = next(
                (used for used in range(0, size_bytes, ADDRESS_SIZE_BYTES) if not any(sample[start + used : start + used + 8])),
                size_bytes,
            )
        return (pid & 0xFFFFFFFF).to_bytes(PID_SIZE_BYTES, "little") + sample[start : start + size_bytes]

    def pid_of(self, key: bytes) -> int:
        """Return the process of a key, 0 if it is not known."""
        return int.from_bytes(key[:PID_SIZE_BYTES], "little")

    def id_of(self, key: bytes) -> int:
        """Return the id in a key; negative: an error."""
        number = int.from_bytes(key[PID_SIZE_BYTES:], self.place.byteorder) & 0xFFFFFFFF
        return number - (1 << 32) if number >= 1 << 31 else number

    def addresses_of(self, key: bytes) -> tuple[int, ...]:
        """Return the addresses in a key, the innermost first."""
        count = (len(key) - PID_SIZE_BYTES) // ADDRESS_SIZE_BYTES
        return Struct(f"{'<' if self.place.byteorder == 'little' else '>'}{count}Q").unpack_from(key, PID_SIZE_BYTES)


def is_stack(op: Op) -> bool:
    """Tell whether an operation is a stack trace, by its meaning."""
    return op.meaning in STACK_MEANINGS


def stack_members(plan: Plan) -> tuple[StackMember, ...]:
    """Return the members of a plan that are stack traces, in their order; nothing of an event that has none."""
    if not any(map(is_stack, plan.ops)):
        return ()
    walked = list(_walk(plan.ops, ""))
    integers = {
        path: _Integer(op.bit_offset // 8, op.bit_size // 8, op.signed, plan.byteorder)
        for path, op in walked
        if op.code == "int" and op.bit_offset % 8 == 0 and op.bit_size in (8, 16, 32, 64)
    }
    return tuple(_member(plan, path, op, integers) for path, op in walked if is_stack(op))


def _member(plan: Plan, path: str, op: Op, integers: Mapping[str, _Integer]) -> StackMember:
    outside = path[: len(path) - len(op.name)]
    pids = [before + name for before in dict.fromkeys((outside, "")) for name in _PIDS]
    size = next((path + end for end in _SIZES if path + end in integers), "") if op.code == "array" else ""
    return StackMember(
        path,
        op.meaning == USER_STACK,
        op.code == "int",
        _Integer(op.bit_offset // 8, op.bit_size // 8, op.signed, plan.byteorder),
        next((integers[name] for name in pids if name in integers), None),
        integers.get(size),
        size.endswith(_ENTRIES),
    )


def _walk(ops: Sequence[Op], before: str) -> Iterator[tuple[str, Op]]:
    """Yield the members outside of arrays, each with its path."""
    at = 0
    while at < len(ops):
        op = ops[at]
        if op.code == "struct":
            yield from _walk(ops[at + 1 : at + 1 + op.body], f"{before}{op.name}.")
        else:
            yield before + op.name, op
        at += 1 + op.body


def functions(frames: Sequence[Frame] | None) -> list[str] | None:
    """Return the names of the functions of a stack, as they are in JSON and Python."""
    return None if frames is None else [function for function, _file in frames]


def put_names(event: dict[str, Any], members: Sequence[StackMember], stacks: Stacks | None, sample: bytes) -> None:
    """Put the names of functions into a decoded event, where its numbers were."""
    for number, member in enumerate(members):
        *outside, name = member.path.split(".")
        inner = event
        for each in outside:
            inner = inner[each]
        inner[name] = None if stacks is None else functions(stacks.frames(number, member.key(sample)))


def frame_lines(frames: Sequence[Frame] | None) -> list[bytes]:
    """Return a line of text for each frame of a stack, indented, without line feeds."""
    shown: Sequence[Frame] = [(LOST, "")] if frames is None else frames
    return [b"    " + ESCAPES[TEXT](f"{function} ({file})" if file else function) for function, file in shown]


class StackWriter:
    """Writes the stacks of one type of events.

    Args:
        plan: Of the events, as it is, with structs in it.

    Attributes:
        stacks: What those of the chunk that is being rendered are called.
    """

    def __init__(self, plan: Plan) -> None:
        self._members = {member.place.byte_offset * 8: (number, member) for number, member in enumerate(stack_members(plan))}
        self.stacks: Stacks | None = None

    def __call__(self, value: Value) -> Callable[[bytes, int], bytes]:
        """Return the function that writes an instruction's stack, given what holds the sample, and where it begins in that."""
        number, member = self._members[value.bit_offset]
        if value.escape == TEXT:
            return lambda data, at: b"".join(b"\n" + line for line in frame_lines(self._frames(number, member, data, at)))
        escape = ESCAPES[JSON if value.escape == RAW else value.escape]

        def write(data: bytes, at: int) -> bytes:
            names = functions(self._frames(number, member, data, at))
            return b"null" if names is None else b"[" + b",".join(b'"%b"' % escape(name) for name in names) + b"]"

        return write

    def _frames(self, number: int, member: StackMember, data: bytes, at: int) -> Sequence[Frame] | None:
        return None if self.stacks is None else self.stacks.frames(number, member.key(data, at))
