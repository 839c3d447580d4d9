"""Fields, types and enumerators that an object expects of the kernel's types and that the running kernel does not have (CO-RE).

Imported only when a program was refused for that. libbpf lets such a program be loaded as long as nothing runs into the access:
the verifier stops at the instruction that libbpf put there.
"""

from __future__ import annotations

import re

from ecli_runtime.btf import KIND_ENUM, KIND_ENUM64, KIND_STRUCT, KIND_TYPEDEF, KIND_UNION, Array, Btf, Composite, Enum
from ecli_runtime.errors import BtfError, VerifierError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ecli_runtime.errors import LibbpfError
    from ecli_runtime.line_info import Lines

KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_KINDS = {
    "struct": (KIND_STRUCT,),
    "union": (KIND_UNION,),
    "enum": (KIND_ENUM, KIND_ENUM64),
    "typedef": (KIND_TYPEDEF,),
}
_HOW_TO_ASK = {
    "struct": "bpf_core_field_exists()",
    "union": "bpf_core_field_exists()",
    "enum": "bpf_core_enum_value_exists()",
}


def explain_relocation(
    error: LibbpfError, program: str, kind: str, wanted: str, verifier_log: str, lines: Lines | None, kernel: Btf | None = None
) -> VerifierError:
    """Return the error that a relocation cannot be resolved.

    Args:
        error: What libbpf said.
        program: The program.
        kind: What was asked of the kernel's type: ``byte_off``, ``target_type_id``, ``enumval_value``… (``core_relo_kind_str``).
        wanted: Of which, as libbpf writes it: ``struct task_struct___old.state``, ``enum pid_type::PIDTYPE_PID = 0``.
        verifier_log: What the verifier wrote, and libbpf put in its place.
        lines: The source lines of the program, if they are known.
        kernel: The kernel's types; those of the running kernel if it is not given.
    """
    keyword, _, rest = wanted.partition(" ")
    owner, *path = re.split(r"\.|::", rest.partition(" = ")[0])
    flavoured, owner = owner, owner.partition("___")[0]  # as libbpf does (bpf_core_essential_name_len)
    found = re.search(r"^(\d+): <invalid CO-RE relocation>", verifier_log, re.MULTILINE)
    line = lines.at(int(found[1])) if found and lines is not None else None
    try:
        problem, near = difference(kernel or _kernel_btf(), keyword, owner, path)
    except (BtfError, OSError):
        problem, near = f"this kernel's {keyword} {owner} has nothing that fits {'.'.join(path) or kind}", ""
    at = f", which {line} wants" if line is not None else ""
    ask = _HOW_TO_ASK.get(keyword, "") if path else "bpf_core_type_exists()"
    how = f"{ask or 'bpf_core_type_exists()'} tells beforehand whether there is one, and a {keyword} {owner}___old can describe "
    how += "what other kernels have" if flavoured == owner else "another kernel's"
    hint = f"{near}; {how}" if near else how
    return VerifierError(error.function, error.errno, error.log, f"{program}: {problem}{at}", hint)


def _kernel_btf() -> Btf:
    with open(KERNEL_BTF, "rb") as file:
        return Btf(file.read())


def difference(btf: Btf, keyword: str, owner: str, path: list[str]) -> tuple[str, str]:
    """Return in which way the kernel's type differs, and what may have been meant."""
    kinds = _KINDS.get(keyword, ())
    type_id = btf.find(owner, *kinds)
    if type_id is None:
        near = _near(owner, btf.names(*kinds)) if kinds else ""
        return f"this kernel has no {keyword} {owner}", near
    _, bare = btf.resolve(type_id)
    if isinstance(bare, Enum):
        (name,) = path or [""]
        known = [each for each, _value in bare.enumerators]
        if name.partition("___")[0] not in known:
            return f"this kernel's enum {owner} has no {name}", _near(name, known)
    within = f"{keyword} {owner}"
    for step in path:
        name = step.partition("[")[0]
        members = dict(_members(btf, bare))
        if name not in members:
            return f"this kernel's {within} has no member {name}", _near(name, members)
        _, bare = btf.resolve(members[name])
        while isinstance(bare, Array):
            _, bare = btf.resolve(bare.element)
        within += f".{name}"
    return f"this kernel's {within} is of another type", ""


def _members(btf: Btf, bare: object, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Walk the named members of a struct, those of anonymous structs in it included."""
    if not isinstance(bare, Composite) or depth > 8:
        return
    for member in bare.members:
        if member.name:
            yield member.name, member.type_id
        else:
            yield from _members(btf, btf.resolve(member.type_id)[1], depth + 1)


def _near(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    like = [each for each in known if abs(len(each) - len(name)) < 5]  # comparing with tens of thousands would take seconds
    near = get_close_matches(name, like, n=2, cutoff=0.75)
    return f"did you mean {' or '.join(near)}?" if near else ""
