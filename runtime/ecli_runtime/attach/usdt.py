"""Whether a program of USDT probes and libbpf agree on where arguments are."""

from __future__ import annotations

from ecli_runtime.btf import KIND_STRUCT, Composite
from ecli_runtime.libbpf._ffi import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.attach.target import Request

_NEW_LAYOUT = (1, 7)  # of libbpf, whose struct __bpf_usdt_arg_spec has an index register since then


def check_generation(request: Request) -> None:
    """See that the object's ``usdt.bpf.h`` fits libbpf: otherwise the program runs, and each argument reads 0.

    libbpf describes arguments in ``struct __bpf_usdt_arg_spec`` of a map (usdt.c), which the program takes as its header has it.

    Raises:
        TargetError: They are of different generations.
    """
    btf = request.btf
    type_id = btf.find("__bpf_usdt_arg_spec", KIND_STRUCT)
    spec = None if type_id is None else btf.type(type_id)
    if not isinstance(spec, Composite):
        return  # it does not read arguments
    is_new = any(member.name == "idx_reg_off" for member in spec.members)
    if is_new != (lib.version_numbers >= _NEW_LAYOUT):
        built = "1.7 or newer" if is_new else "before 1.7"
        raise request.wrong(
            f"the program was built with usdt.bpf.h of libbpf {built}, and with libbpf {lib.version} each argument would read 0",
            "use the bundled libbpf" if is_new else "build the package again, with the headers that `ecli-py build` brings",
        )
