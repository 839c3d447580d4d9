"""What the members of an event stand for, beyond their C types: from typedefs, names, and what the author said.

A wrong guess is worse than none, since the exact number is then gone from what people see. So a rule asks for a shape, and
then for a typedef that means one thing only, or for a name that the kernel, libbpf-tools, bcc and bpftrace use in one sense.
What two programs mean differently gets no meaning: ``ts`` (nanoseconds or microseconds), ``dport`` as u16 (either byte order),
``saddr`` as 16 bytes (IPv6, or IPv4 in the first four), ``ret`` (a file descriptor, or an error).
"""

from __future__ import annotations

from ecli_runtime.decode.plan import Op
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ecli_runtime.decode.plan import Plan


PLAIN = "plain"  # what an author says where no meaning is wanted
KERNEL_STACK, USER_STACK = STACK_MEANINGS = ("kernel_stack", "user_stack")
STACK_ID, STACK_ARRAY = STACK_KINDS = ("id", "array")  # what bpf_get_stackid() returned, what bpf_get_stack() wrote

# An operation's shape: u32, s64 for integers, u8[16] for arrays of them, pointer.
_NUMBERS = "u16 s16 u32 s32 u64 s64"
_IPV6 = "u8[16] u16[8] u32[4] u128 s128"
_ADDRESSES = "u64[]"  # of any number
_STACK = f"s32 u32 s64 u64 {_ADDRESSES}"

# Meaning → shapes that it fits. What reads `op.meaning` relies on these.
MEANINGS: dict[str, tuple[str, ...]] = {
    meaning: tuple(shapes.split())
    for meaning, shapes in {
        "duration_ns": _NUMBERS,
        "duration_us": _NUMBERS,
        "duration_ms": _NUMBERS,
        "duration_s": _NUMBERS,
        "time_ns": "u64 s64",
        "time_us": "u64 s64",
        "time_ms": "u64 s64",
        "boottime_ns": "u64 s64",
        "ipv4": "u32 s32 u8[4]",
        "ipv6": _IPV6,
        "port_be": "u16 s16",
        "mac": "u8[6]",
        "errno": "u8 s8 " + _NUMBERS,
        "signal": "u8 s8 " + _NUMBERS,
        "uid": "u32 s32",
        "gid": "u32 s32",
        "dev": "u32 s32",
        "syscall": _NUMBERS,
        "bytes": _NUMBERS,
        "ksym": "u64 s64 pointer",
        "kernel_stack": _STACK,
        "user_stack": _STACK,
    }.items()
}


class _Rule(Record):
    """A meaning, and which members have it.

    Attributes:
        meaning: Of :data:`MEANINGS`.
        shapes: Any of these.
        types: Typedefs of the member, or of an array's elements; empty: any type.
        names: Whole names.
        endings: Whole names too, or what follows an underscore at the end of one. With neither, any name.
    """

    meaning: str
    shapes: str
    types: str = ""
    names: str = ""
    endings: str = ""

    def holds(self, op: Op, shape: str) -> bool:
        """Whether a member of this shape has the meaning."""
        if not _is_one_of(shape, self.shapes.split()) or (self.types and op.type_name not in self.types.split()):
            return False
        name = op.name.lower()
        if not self.names and not self.endings:
            return True
        return name in self.names.split() or any(name == end or name.endswith("_" + end) for end in self.endings.split())


_ADDRESS = "addr saddr daddr laddr raddr ip sip dip"
_ADDRESS4 = "addr_v4 saddr_v4 daddr_v4 laddr_v4 raddr_v4 ip_v4 addr4 saddr4 daddr4 laddr4 raddr4 ip4 ipv4"
_ADDRESS6 = "addr_v6 saddr_v6 daddr_v6 laddr_v6 raddr_v6 ip_v6 addr6 saddr6 daddr6 laddr6 raddr6 ip6 ipv6"
_KERNEL_STACK_IDS = "stack_id stackid kern_stack_id kernel_stack_id kstack_id k_stack_id kern_stackid kernel_stackid kstackid"
_USER_STACK_IDS = "user_stack_id ustack_id u_stack_id user_stackid ustackid"

_RULES = (
    # Only the typedef says that a number is in network order; struct tcphdr calls its ports source and dest.
    _Rule("port_be", "u16", types="__be16", names="source dest", endings="port sport dport lport rport"),
    _Rule("ipv4", "u32", types="__be32", endings=f"{_ADDRESS} {_ADDRESS4}"),
    # Names with a 4 or 6 are those of struct bpf_sock (src_ip4: "stored in network byte order") and of libbpf-tools (saddr_v4).
    _Rule("ipv4", "u32", endings=_ADDRESS4),
    _Rule("ipv4", "u8[4]", endings=f"{_ADDRESS} {_ADDRESS4}"),
    _Rule("ipv6", "u32[4]", types="__be32", endings=f"{_ADDRESS} {_ADDRESS6}"),
    _Rule("ipv6", _IPV6, endings=_ADDRESS6),
    # h_dest: struct ethhdr; bssid: 802.11.
    _Rule("mac", "u8[6]", endings="mac smac dmac mac_addr macaddr hwaddr lladdr bssid h_source h_dest"),
    # Unsigned it may be the error code of a page fault, or a counter.
    _Rule("errno", "s32 s64", names="err error", endings="errno"),
    _Rule("errno", "u32", endings="errno"),
    _Rule("signal", "s32 u32", names="sig signal signo signum exit_signal term_signal"),
    _Rule("uid", "u32", types="uid_t __kernel_uid32_t"),
    _Rule("gid", "u32", types="gid_t __kernel_gid32_t"),
    # u64 would be what bpf_get_current_uid_gid() returns: both ids in one. Elsewhere a uid is a unique id of anything.
    _Rule("uid", "u32 s32", names="uid euid ruid suid fsuid loginuid i_uid old_uid new_uid target_uid task_uid parent_uid"),
    _Rule("gid", "u32 s32", names="gid egid rgid sgid fsgid i_gid old_gid new_gid target_gid task_gid parent_gid"),
    # The kernel's own encoding; what stat() gives to programs has another (new_encode_dev, include/linux/kdev_t.h).
    _Rule("dev", "u32", types="dev_t __kernel_dev_t"),
    _Rule("dev", "u32", names="s_dev i_rdev bd_dev"),
    _Rule("syscall", "u32 s32 u64 s64", names="syscall syscall_nr syscall_id syscall_no syscall_num sysno sysnr"),
    _Rule("bytes", "u32 s32 u64 s64", names="bytes_read bytes_written bytes_sent bytes_received bytes_acked", endings="bytes"),
    # The kernel's own trace points print these with %pS. An address that is in no function stays a number.
    _Rule("ksym", "pointer", names="call_site caller caller_ip parent_ip func fn function callback location"),
    _Rule("ksym", "u64", names="call_site caller_ip parent_ip func_ip func_addr kip ksym"),
    # Only in an object that has a map of stack traces. Those without a side are the kernel's, as without BPF_F_USER_STACK.
    _Rule("kernel_stack", "s32 u32 s64 u64", names=_KERNEL_STACK_IDS),
    _Rule("user_stack", "s32 u32 s64 u64", names=_USER_STACK_IDS),
    _Rule("kernel_stack", _ADDRESSES, names="kstack kern_stack kernel_stack kstack_trace kernel_stack_trace"),
    _Rule("user_stack", _ADDRESSES, names="ustack user_stack ustack_trace user_stack_trace"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A name that ends in a unit of time, and the words before it. A duration unless they say otherwise.
_UNITS = {
    word: unit
    for unit, words in {
        "ns": "ns nsec nsecs",
        "us": "us usec usecs",
        "ms": "ms msec msecs",
        "s": "s sec secs seconds",
    }.items()
    for word in words.split()
}
_DURATION = _words("delta diff dur duration lat latency elapsed span wait delay age since total sum avg mean rtt timeout uptime")
_STAMP = _words("ts tstamp timestamp stamp ktime")
_POINT = _words("time now start started begin end")
_BOOT = _words("boot boottime")
# Inodes of namespaces (pid_ns); other clocks; points in time or durations, as one likes; struct timespec; eight times a duration
# (tcp_sock.srtt_us).
_NEITHER = _words(
    "pid mnt mount net user uts ipc cgroup"
    " real realtime wall epoch utc unix tai"
    " time last first prev next enter exit seen at when deadline expires"
    " tv"
    " srtt"
)


def with_meanings(plan: Plan, said: Mapping[str, str] | None = None, stack_kinds: Collection[str] = ()) -> Plan:
    """Return a plan with the meanings of its members filled in.

    A ``struct in_addr`` becomes the number, a ``struct in6_addr`` the array that it holds, both with their meaning.

    Args:
        plan: A plan of the object's layout alone.
        said: Dotted path of a member (``key.saddr``; elements of an array have the array's) → its meaning, or ``plain`` for none.
            What is not known or does not fit is as if it had not been said: packages may be newer than this version.
        stack_kinds: Which of :data:`STACK_KINDS` are stack traces; without a map of those, ids are numbers.
    """
    return plan.replace(ops=tuple(_filled(plan.ops, "", said or {}, stack_kinds)))


def misfits(plan: Plan, said: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the paths of which :func:`with_meanings` would not take what is said, each with the words that it would take."""
    fitting: dict[str, list[str]] = {path: [] for path in sorted(said)}
    for path, op, shape in _places(plan.ops, ""):
        if path in fitting:
            fitting[path] += [word for word in MEANINGS if _fits(word, shape) or word == _address_struct(op)]
    return {path: words for path, words in fitting.items() if said[path] not in (PLAIN, *words)}


def told(plan: Plan) -> dict[str, str]:
    """Return path → meaning of the members that have one in a plan of :func:`with_meanings`."""
    return {path: op.meaning for path, op, _shape in _places(plan.ops, "") if op.meaning}


def _bodies(ops: Sequence[Op]) -> Iterator[tuple[Op, Sequence[Op]]]:
    """Yield each operation at the top level with its body."""
    at = 0
    while at < len(ops):
        end = at + 1 + ops[at].body
        yield ops[at], ops[at + 1 : end]
        at = end


def _path(outside: str, op: Op) -> str:
    return f"{outside}.{op.name}" if outside and op.name else outside or op.name


def _places(ops: Sequence[Op], outside: str) -> Iterator[tuple[str, Op, str]]:
    """Yield path, operation and shape of all operations."""
    for op, body in _bodies(ops):
        path = _path(outside, op)
        yield path, op, _shape(op, body)
        yield from _places(body, path)


def _filled(ops: Sequence[Op], outside: str, said: Mapping[str, str], stack_kinds: Collection[str]) -> Iterator[Op]:
    for op, body in _bodies(ops):
        path = _path(outside, op)
        word = said.get(path, "")
        known = _address_struct(op) if word != PLAIN else ""
        if known:
            yield from _as_address(op, known)
            continue
        shape = _shape(op, body)
        if word == PLAIN:
            meaning = ""
        elif _fits(word, shape):
            meaning = word
        else:
            meaning = _guess(op, shape)
        if meaning in STACK_MEANINGS and (STACK_ARRAY if op.code == "array" else STACK_ID) not in stack_kinds:
            meaning = ""
        # In an array there may be any number of stacks: they stay numbers.
        inside = tuple(_filled(body, path, said, () if op.code == "array" else stack_kinds))
        yield op.replace(meaning=meaning, body=len(inside))
        yield from inside


def _shape(op: Op, body: Sequence[Op]) -> str:
    """Return the shape of an operation, empty if nothing is known that has it."""
    if op.bit_offset % 8:
        return ""
    if op.code == "int":
        return f"{'s' if op.signed else 'u'}{op.bit_size}"
    if op.code == "array" and op.count and body[0].code == "int" and body[0].bit_size == op.stride_bits:
        return f"u{op.stride_bits}[{op.count}]"  # an address has no sign, whatever its parts have
    return "pointer" if op.code == "pointer" and op.bit_size == 64 else ""


def _is_one_of(shape: str, shapes: Sequence[str]) -> bool:
    return shape in shapes or (_ADDRESSES in shapes and shape.startswith("u64["))


def _fits(meaning: str, shape: str) -> bool:
    return _is_one_of(shape, MEANINGS.get(meaning, ()))


def _guess(op: Op, shape: str) -> str:
    if not shape:
        return ""
    for rule in _RULES:
        if rule.holds(op, shape):
            return rule.meaning
    meaning = _time(op.name)
    return meaning if _fits(meaning, shape) else ""


def _time(name: str) -> str:
    """Return which time or duration a member of this name is."""
    *words, last = name.lower().split("_")
    unit = _UNITS.get(last)
    if unit is None or not words:
        return ""
    before = frozenset(words)
    if before & _DURATION:
        return f"duration_{unit}"
    if unit == "s":  # too short a word to mean much alone
        return ""
    if before & _BOOT:
        return f"boottime_{unit}" if before <= _BOOT | _STAMP | _POINT else ""
    if before <= _STAMP | _POINT:
        return f"time_{unit}"
    if before & _STAMP:
        return "" if before & _NEITHER - _POINT else f"time_{unit}"
    return "" if before & (_POINT | _NEITHER) else f"duration_{unit}"


_ADDRESS_STRUCTS = {("in_addr", 32): "ipv4", ("in6_addr", 128): "ipv6"}  # include/uapi/linux/in.h, in6.h


def _address_struct(op: Op) -> str:
    return _ADDRESS_STRUCTS.get((op.type_name, op.bit_size), "") if op.code == "struct" and op.bit_offset % 8 == 0 else ""


def _as_address(op: Op, meaning: str) -> Iterator[Op]:
    if meaning == "ipv4":
        yield Op("int", op.name, op.bit_offset, 32, type_name="__be32", meaning=meaning)
    else:
        yield Op("array", op.name, op.bit_offset, 128, count=16, stride_bits=8, body=1, type_name="__u8", meaning=meaning)
        yield Op("int", "", 0, 8, type_name="__u8")
