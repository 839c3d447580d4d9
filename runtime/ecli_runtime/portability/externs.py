"""What an object expects to find in a kernel by name: kernel functions, variables and addresses, and options of its build.

The rules are libbpf's (``bpf_object__resolve_externs``): a name that is declared ``__weak`` may be missing.
"""

from __future__ import annotations

from ecli_runtime.btf import Array, Btf, DataSection, Enum, Func, Int, Var, Void
from ecli_runtime.code import extern_symbols
from ecli_runtime.core.compat import essential, types_fit
from ecli_runtime.portability.problem import Problem
from ecli_runtime.portability.values import Data, Pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.portability.kernel import KernelView
    from ecli_runtime.portability.values import Value

_COOKIE = 174  # BPF_FUNC_get_attach_cookie
_PREFIXES = {"x86_64": "x64", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390x"}


class Externs:
    """The externs of one object on one kernel.

    Args:
        data: The object.
        local: Its types, as they are in the file.
        view: The kernel.

    Attributes:
        problems: What keeps the object from being loaded.
        absent: Names that may be missing, and are.

    Raises:
        BtfError: The object's types are damaged.
        ObjectError: Its section headers are.
    """

    def __init__(self, data: bytes, local: Btf, view: KernelView) -> None:
        self._local, self._view = local, view
        self.problems: list[Problem] = []
        self.absent: set[str] = set()
        self._values: dict[str, Value] = {}
        weak = extern_symbols(data)
        for section in local.data_sections():
            if section.name in (".ksyms", ".kconfig"):
                self._resolve(section, weak)

    def value(self, name: str) -> Value:
        """Return what loading the address of an extern gives."""
        return self._values.get(name)

    def _resolve(self, section: DataSection, weak: dict[str, bool]) -> None:
        for each in section.variables:
            found = self._local.type(each.type_id)
            if not isinstance(found, (Func, Var)) or found.linkage != 2 or found.name not in weak:
                continue
            if section.name == ".kconfig":
                problem = self._option(found, weak[found.name])
            else:
                has, problem = self._symbol(found)
                self._values[found.name] = Pointer() if has else 0
                if not has:
                    self.absent.add(found.name)
                if weak[found.name]:
                    problem = None
            if problem is not None:
                self.problems.append(problem)

    def _symbol(self, found: Func | Var) -> tuple[bool, Problem | None]:
        view, name = self._view, found.name
        if isinstance(found, Func):
            wanted = essential(name)
            if not view.has_function_type(wanted):
                hint = "declared __weak, it may be missing: the program asks bpf_ksym_exists() before it uses it"
                return False, Problem("kfunc", f"this kernel has no kfunc {wanted}", hint)
            if not self._fits(found, wanted):
                return False, Problem("kfunc", f"this kernel's kfunc {wanted} is not declared as the object has it")
            return True, None
        if isinstance(self._local.resolve(found.type_id)[1], Void):
            if view.has_symbol(name) is False:
                return False, Problem("symbol", f"this kernel has no symbol {name}")
            return True, None
        if not view.has_variable(name):
            return False, Problem("variable", f"this kernel's types have no variable {name}")
        if view.has_symbol(name) is False:  # which the kernel looks for wherever its address is loaded, reached or not
            hint = "/proc/kallsyms lists all data with CONFIG_KALLSYMS_ALL"
            self.problems.append(Problem("variable", f"this kernel knows no address of its variable {name}", hint))
        return True, None

    def _fits(self, found: Func, wanted: str) -> bool:
        types = self._view.types
        if types is None:
            return False
        type_id = self._view.function_type_id(wanted)
        theirs = types.btf.type(type_id) if type_id is not None else None
        return isinstance(theirs, Func) and types_fit(self._local, found.proto, types.btf, theirs.proto)

    def _option(self, found: Func | Var, is_weak: bool) -> Problem | None:
        name, view = found.name, self._view
        bare = self._local.resolve(found.type_id)[1] if isinstance(found, Var) else None
        size = self._local.size_bytes(found.type_id) if isinstance(found, Var) else 0
        order = self._local.byteorder
        special = self._special(name)
        if special is not None:
            self._values[name] = Data((special & ((1 << size * 8) - 1)).to_bytes(size, order), 0)
            return None
        if name.startswith("LINUX_"):
            return None if is_weak else Problem("configuration", f"{name} is nothing that libbpf knows")
        config = view.snapshot.config
        if config is None:
            self._values[name] = Pointer()
            return Problem(
                "configuration",
                f"it asks for {name}, and the kernel's configuration cannot be read there",
                "put it into /boot/config-RELEASE, or `modprobe configs` makes /proc/config.gz",
            )
        text = config.get(name)
        data = _encoded(text, bare, size, order) if text is not None else None
        self._values[name] = Data(bytes(size) if data is None else data, 0)
        if text is not None and data is None:
            return Problem("configuration", f"{name} is {text} there, which does not fit its declaration")
        if text is None and not is_weak:
            return Problem("configuration", f"this kernel is built without {name}", "declared __weak it may be missing")
        return None

    def _special(self, name: str) -> int | None:
        view = self._view
        if name == "LINUX_KERNEL_VERSION":
            major, minor, patch = (*view.version, 0, 0, 0)[:3]
            return major << 16 | minor << 8 | min(patch, 255)
        if name == "LINUX_HAS_BPF_COOKIE":
            return int(view.has_helper(_COOKIE))
        if name == "LINUX_HAS_SYSCALL_WRAPPER":
            return int(f"__{_PREFIXES.get(view.snapshot.machine, 'x64')}_sys_bpf" in view.functions)
        return None


def _encoded(text: str, bare: object, size_bytes: int, byteorder: str) -> bytes | None:
    """Return an option's value as libbpf stores it (``set_kcfg_value_tri``, ``_str``, ``_num``); ``None``: it does not fit."""
    if text in ("y", "n", "m"):
        if isinstance(bare, Enum):
            number = {"n": 0, "y": 1, "m": 2}[text]
        elif isinstance(bare, Int) and bare.boolean and text != "m":
            number = int(text == "y")
        elif isinstance(bare, Int) and size_bytes == 1 and not bare.boolean:
            number = ord(text)
        else:
            return None
    elif text.startswith('"'):
        if not isinstance(bare, Array) or len(text) < 2 or not text.endswith('"'):
            return None
        return text[1:-1].encode()[: max(size_bytes - 1, 0)].ljust(size_bytes, b"\0")
    elif isinstance(bare, (Int, Enum)):
        try:
            number = int(text, 0)
        except ValueError:
            return None
    else:
        return None
    number &= (1 << size_bytes * 8) - 1
    return number.to_bytes(size_bytes, "little" if byteorder == "little" else "big")
