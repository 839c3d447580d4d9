"""What the verifier says when it refuses a program, cut down to the instruction at fault, with what usually helps.

Imported only when that has happened. The words are those of kernel/bpf/verifier.c; the oldest here are of Linux 5.8.
"""

from __future__ import annotations

import re

from ecli_runtime.errors import VerifierError, describe_errno
from ecli_runtime.helpers import helper_name, helper_since

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.errors import LibbpfError
    from ecli_runtime.line_info import Lines

_INSTRUCTION = re.compile(r"(?P<number>\d+): (?:\([0-9a-f]{2}\) (?P<code>.*?)(?:\s+; .*)?|<.*>)$")
# A line that shows registers; that of a jump shows all of them: nothing before it counts any more.
_STATE = re.compile(r"R(?P<register>\d+)(?:_\w+)?=(?P<value>.*?)(?=\s+(?:R\d+(?:_\w+)?=|fp-?\d+(?:_\w+)?=|refs=|cb$)|$)")
_WHOLE_STATE = re.compile(r"from \d+ to \d+(?: \([^)]*\))?:|\d+: (?:frame\d+: )?R\d")
_SOURCE = re.compile(r"; (?P<text>.*?)(?: @ (?P<place>\S+:\d+))?$")
# What is no reason: what follows it, and what the verifier says of states and functions on its way.
_CHATTER = re.compile(
    r"processed \d+ insns|verification time|stack depth|max_states|mark_read|(?:cur|old) state:|(?:last|first)_idx|regs=|parent |"
    r"(?:frame\d+: )?R\d+(?:_\w+)?=| |caller:|callee:|from \d+ to|returning from callee|to caller|propagating|func '|Func#|"
    r"arg#\d+ reference type|Validating|mark_precise|\d+: (?:frame\d+: )?R\d|\d+: safe|libbpf: "
)
# Of two lines the one that says more comes first.
_BETTER = re.compile("Unreleased reference|invalid access to packet")
_MOST_SHOWN = 160  # letters of a register's state
_MOST_LOOKED_AT = 10_000  # lines in search of one

# --- hints ---

# What the reason looks like → what usually helps, with what its groups held. The first that fits counts.
_HINTS = (
    (
        "invalid mem access 'map_value_or_null'",
        "bpf_map_lookup_elem returns NULL for a key that is not there: test it first, `if (!value) return 0;`",
    ),
    (
        r"invalid mem access '\w+_or_null'",
        "that pointer may be NULL: test it first, `if (!pointer) return 0;`",
    ),
    (
        "invalid mem access '(?:scalar|inv)'",
        (
            "that is a number to the verifier, no pointer that it knows: read through it with BPF_CORE_READ or "
            "bpf_probe_read_kernel (of a process: bpf_probe_read_user)"
        ),
    ),
    (
        "unbounded memory access, use|min value is negative, either",
        (
            "bound the number right before it is used, in the same variable, and make it unsigned: `if (n > MAX) return 0;` or "
            "`n &= MAX - 1;`"
        ),
    ),
    (
        (
            "unbounded memory access|(?:min|max) value is (?:negative|outside)|invalid access to (?:map value|memory)|allowed "
            "memory range"
        ),
        "bound the index right before it is used: `if (i >= SIZE) return 0;` or `i &= SIZE - 1;`",
    ),
    (
        "invalid access to packet|outside of the packet",
        "compare with the end of the packet first: `if (data + sizeof(*header) > data_end) return …;`",
    ),
    (
        "dereference of modified ctx ptr|invalid bpf_context access",
        (
            "of the context, members are read by their names, and only some may be written: the section must be that of the "
            "context's type"
        ),
    ),
    (
        "only read is supported",
        "the kernel's own structs can only be read",
    ),
    (
        "infinite loop detected|back-edge from insn",
        (
            "each loop needs an end that the verifier can see: count up to a constant, or use bpf_loop() (Linux 5.17) or "
            "bpf_for() (6.4); before 5.3, `#pragma unroll`"
        ),
    ),
    (
        r"program is too large|too many states|sequence of \d+ jumps is too complex",
        (
            "the verifier follows at most 1,000,000 instructions over all paths: fewer rounds of loops, bpf_loop() (Linux "
            "5.17), or global functions (not static), which are verified once"
        ),
    ),
    (
        (
            r"combined stack size|stack size \d+|stack.* off=-(?:51[3-9]|5[2-9]\d|[6-9]\d\d|\d{4,})\b|off -(?:51[3-9]|5[2-9]\d|"
            r"[6-9]\d\d|\d{4,})\b"
        ),
        (
            "all functions of a path have 512 bytes of stack together: keep large data in a per-CPU array of one entry, or in "
            "the ring buffer's record"
        ),
    ),
    (
        "(?:invalid|misaligned) .*stack",
        "initialise all of the variable first, padding included: `struct event event = {};`",
    ),
    (
        r"R\d+ !read_ok",
        "a variable is used that has no value on one of the ways there; a call takes away those that are in R1 to R5",
    ),
    (
        r"cannot use helper (bpf_\w+)#|unknown func (bpf_\w+)#",
        r"\1\2 is for programs of other types: `bpftool feature probe` lists which have it",
    ),
    (
        "GPL",
        'give the program a licence that the kernel takes for it: char LICENSE[] SEC("license") = "GPL"; or "Dual MIT/GPL"',
    ),
    (
        "is not sleepable",
        "this kernel cannot sleep there: do without the .s of the section; LSM hooks take such programs since Linux 5.11",
    ),
    (
        "sleepable progs? cannot",
        'a newer kernel may permit it; programs of SEC("syscall") and sections with .s are sleepable',
    ),
    (
        "might sleep|sleepable",
        (
            'only sleepable programs may do that: SEC("fentry.s/…"), SEC("lsm.s/…"), SEC("iter.s/…"), SEC("uprobe.s/…") or '
            'SEC("syscall")'
        ),
    ),
    (
        "At program exit|At async callback|should have been in|should have value",
        "programs of this type return only those values, for example 0 or 1 in control groups",
    ),
    (
        "pointer arithmetic|math between|pointer .*prohibited",
        "test such a pointer for NULL before adding to it, and only add and subtract bounded numbers",
    ),
    (
        "calling kernel function .* is not allowed",
        "that kfunc is for programs of other types",
    ),
    (
        "leaks addr|pointer comparison prohibited",
        "that needs CAP_PERFMON: addresses of the kernel must not get out",
    ),
    (
        "number of funcs in func_info",
        "functions that a helper calls back need Linux 5.13 (bpf_for_each_map_elem), 5.15 (bpf_timer) or 5.17 (bpf_loop)",
    ),
    (
        "BPF_STX uses reserved fields|BPF_ATOMIC",
        (
            "atomics that return the old value, as __sync_fetch_and_add() does where it is used or with -mcpu=v3, need Linux "
            "5.12; where it is not used `ecli-py build … -- -mcpu=v2` does without"
        ),
    ),
    (
        r"unknown opcode|invalid BPF_\w+ ",
        "the kernel does not know such an instruction yet: build for an older one, `ecli-py build … -- -mcpu=v2`",
    ),
)
# Helper → modes of lockdown in which no program gets it (``security_locked_down`` in kernel/trace/bpf_trace.c).
_LOCKED = {
    "bpf_probe_write_user": ("integrity", "confidentiality"),
    **dict.fromkeys(
        ("bpf_probe_read", "bpf_probe_read_str", "bpf_probe_read_kernel", "bpf_probe_read_kernel_str"), ("confidentiality",)
    ),
}
_RELEASES = {
    "ringbuf_reserve": "bpf_ringbuf_submit or bpf_ringbuf_discard",
    "ringbuf_reserve_dynptr": "bpf_ringbuf_submit_dynptr or bpf_ringbuf_discard_dynptr",
    "sk_lookup_tcp": "bpf_sk_release",
    "sk_lookup_udp": "bpf_sk_release",
    "skc_lookup_tcp": "bpf_sk_release",
    "task_from_pid": "bpf_task_release",
    "task_acquire": "bpf_task_release",
    "cgroup_from_id": "bpf_cgroup_release",
    "cgroup_acquire": "bpf_cgroup_release",
    "obj_new_impl": "bpf_obj_drop",
}


def explain_refusal(error: LibbpfError, program: str, verifier_log: str, lines: Lines | None) -> VerifierError | None:
    """Return the error that the verifier refused a program; ``None`` if its log tells no reason.

    Args:
        error: What libbpf said.
        program: The program's name.
        verifier_log: What the verifier wrote.
        lines: The source lines of its instructions, if they are known.
    """
    log = _Log(verifier_log)
    if not log.reason:
        return None
    place, text = log.place(lines)
    shown = [log.reason]
    excerpt = []
    if text:
        excerpt.append(f"  {text}")
    if log.instruction is not None and log.code:
        shown.append(log.code)
        excerpt.append("  " + "; ".join([f"instruction {log.instruction}: {log.code}", *log.registers()]))
    at = f" at {place}" if place else ""
    omitted = max(len(log.lines) - len(shown), 0)
    rest = f" ({omitted} line{'s' * (omitted != 1)} omitted; --verbose shows all)" if omitted else ""
    why = describe_errno(error.errno)
    message = f"{program}: {why[:1].lower()}{why[1:]}: {log.reason}{at}{rest}"
    hint = log.hint(lines) or "`--verbose` shows the whole log"
    return VerifierError(error.function, error.errno, error.log, "\n".join([message, *excerpt]), hint)


class _Log:
    """A verifier's log.

    Attributes:
        lines: Its lines that are not empty.
        reason: Why the program is refused, in the verifier's words; empty if it does not say.
        instruction: Number of the instruction at fault, if there is one.
        code: That instruction.
    """

    def __init__(self, text: str) -> None:
        self.lines = [line for line in text.splitlines() if line.strip()]
        self._at = next((i for i in range(len(self.lines) - 1, -1, -1) if _INSTRUCTION.match(self.lines[i])), -1)
        after = [line.strip() for line in self.lines[self._at + 1 :] if not _CHATTER.match(line) and not line.startswith("; ")]
        first = [line for line in after if _BETTER.match(line)]
        self.reason = first[0] if first else after[-1] if after else ""
        found = _INSTRUCTION.match(self.lines[self._at]) if self._at >= 0 else None
        self.code = (found["code"] or "") if found else ""
        self.instruction = int(found["number"]) if found else None
        told = re.search(r"(?:detected at|back-edge from|unreachable|jump out of range from) insn (\d+)", self.reason)
        if told and int(told[1]) != self.instruction:
            self.instruction = int(told[1])
            at = next((i for i, line in enumerate(self.lines) if line.startswith(f"{self.instruction}: (")), -1)
            if at >= 0 and (found := _INSTRUCTION.match(self.lines[at])):
                self._at, self.code = at, found["code"] or ""
            else:
                self.code = ""

    def place(self, lines: Lines | None) -> tuple[str, str]:
        """Return where the instruction at fault comes from: file and line, and its text; from the log if need be."""
        if self.instruction is not None and lines is not None:
            line = lines.at(self.instruction)
            if line is not None:
                return str(line), line.text
        for each in reversed(self.lines[: self._at + 1]):
            found = _SOURCE.match(each)
            if found:
                return found["place"] or "", found["text"].strip()
        return "", ""

    def registers(self) -> Iterator[str]:
        """Yield the last known state of each register that the instruction or the reason names."""
        used = re.sub(r"^[rw]\d+ = ", "", self.code)  # what is only written there does not matter
        wanted = dict.fromkeys(re.findall(r"\b[rw](\d+)\b", used) + re.findall(r"\bR(\d+)\b", self.reason))
        wanted.pop("10", None)  # the frame pointer is ever the same
        found: dict[str, str] = {}
        for position in range(self._at - 1, max(self._at - _MOST_LOOKED_AT, -1), -1):
            line = self.lines[position]
            # What an instruction did stands behind a semicolon, or, on older kernels, at the beginning of the next line.
            state = line.partition(" ; ")[2] if " ; " in line else line if not line.startswith("; ") else ""
            for each in _STATE.finditer(state):
                found.setdefault(each["register"], each["value"].strip())
            if _WHOLE_STATE.match(line) or wanted.keys() <= found.keys():
                break
        for register in wanted:
            if register in found:
                value = found[register]
                yield f"R{register}={value if len(value) <= _MOST_SHOWN else value[:_MOST_SHOWN] + '…'}"

    def hint(self, lines: Lines | None) -> str:
        """Return what usually helps, or nothing."""
        unknown = re.match(r"invalid func unknown#(\d+)", self.reason)
        if unknown:
            return _hint_for_helper(int(unknown[1]))
        reference = re.match(r"Unreleased reference id=\d+ alloc_insn=(\d+)", self.reason)
        if reference:
            return self._hint_for_reference(int(reference[1]), lines)
        locked = re.search(r"(?:cannot use helper|unknown func) (bpf_\w+)#", self.reason)
        if locked and locked[1] in _LOCKED:
            from ecli_runtime.permissions import lockdown

            if lockdown() in _LOCKED[locked[1]]:
                return f"lockdown of this kernel ({lockdown()}) forbids {locked[1]}: `ecli-py doctor` shows it; boot without"
        for pattern, hint in _HINTS:
            found = re.search(pattern, self.reason)
            if found:
                return found.expand(hint) if "\\" in hint else hint
        return ""

    def _hint_for_reference(self, instruction: int, lines: Lines | None) -> str:
        code = next((line for line in self.lines if line.startswith(f"{instruction}: (85) call ")), "")
        called = re.search(r"call (?:bpf_)?(\w+)#", code)
        line = None if lines is None else lines.at(instruction)
        where = f" at {line}" if line is not None else ""
        what = f"bpf_{called[1]}" if called else "a call"
        how = _RELEASES.get(called[1], "the function that releases it") if called else "the function that releases it"
        return f"what {what} returns{where} must be given back on each way to the end, with {how}"


def _hint_for_helper(number: int) -> str:
    name, since = helper_name(number), helper_since(number)
    if not since:
        return "no kernel has that helper: newer functions are kfuncs, which are called by name"
    return (
        f"{name}: this kernel has no such helper, it needs Linux {since}; bpf_core_enum_value_exists() tells before it is called"
    )
