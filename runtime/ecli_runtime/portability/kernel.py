"""What a snapshot says of a kernel, looked up when it is asked for."""

from __future__ import annotations

import re

from ecli_runtime.btf import KIND_ENUM, KIND_ENUM64, KIND_FUNC, KIND_STRUCT, KIND_TYPEDEF, KIND_VAR, Btf, Enum, Func, FuncProto
from ecli_runtime.core.resolve import KernelTypes
from ecli_runtime.helpers import helper_since

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ecli_runtime.portability.facts import Fact
    from ecli_runtime.portability.snapshot import Snapshot

_FUNCTIONS = frozenset("tTwW")


class KernelView:
    """A kernel as a snapshot shows it.

    Args:
        snapshot: The snapshot.

    Raises:
        BtfError: Its types are damaged.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.types = None if snapshot.btf is None else KernelTypes(Btf(snapshot.btf))
        self.version = version_numbers(snapshot)
        self._names: dict[tuple[int, ...], frozenset[str]] = {}
        self._enums: dict[str, dict[int, str]] = {}
        self._functions: frozenset[str] | None = None

    # Its types.

    def _named(self, *kinds: int) -> frozenset[str]:
        if kinds not in self._names:
            self._names[kinds] = frozenset(self.types.btf.names(*kinds)) if self.types is not None else frozenset()
        return self._names[kinds]

    def has_function_type(self, name: str) -> bool:
        """Tell whether its BTF has a function."""
        return name in self._named(KIND_FUNC)

    def function_type_id(self, name: str) -> int | None:
        """Return the id of a function in its BTF, or ``None``."""
        return self.types.btf.find(name, KIND_FUNC) if self.types is not None else None

    def returns_something(self, name: str) -> bool:
        """Tell whether a function in its BTF has a result."""
        type_id = self.function_type_id(name)
        if self.types is None or type_id is None:
            return False
        found = self.types.btf.type(type_id)
        proto = self.types.btf.type(found.proto) if isinstance(found, Func) else None
        return isinstance(proto, FuncProto) and bool(proto.result)

    def has_variable(self, name: str) -> bool:
        """Tell whether its BTF has a variable."""
        return name in self._named(KIND_VAR)

    def has_typedef(self, name: str) -> bool:
        """Tell whether its BTF has a typedef."""
        return name in self._named(KIND_TYPEDEF)

    def has_struct(self, name: str) -> bool:
        """Tell whether its BTF has a struct."""
        return name in self._named(KIND_STRUCT)

    @property
    def function_types(self) -> frozenset[str]:
        """Names of the functions in its BTF."""
        return self._named(KIND_FUNC)

    def enumerators(self, name: str) -> dict[int, str]:
        """Return value → name of an enum's enumerators, last marks (``__MAX_…``) left out; none where its BTF lacks it."""
        if name not in self._enums:
            found: dict[int, str] = {}
            type_id = self.types.btf.find(name, KIND_ENUM, KIND_ENUM64) if self.types is not None else None
            bare = self.types.btf.type(type_id) if self.types is not None and type_id is not None else None
            if isinstance(bare, Enum):
                found = {value: each for each, value in bare.enumerators if not each.startswith("__")}
            self._enums[name] = found
        return self._enums[name]

    # Numbers of the interface.

    def has_helper(self, number: int) -> bool:
        """Tell whether it has a helper."""
        known = self.enumerators("bpf_func_id")
        if known:
            return number in known
        since = helper_since(number)
        return bool(since) and self.is_at_least(since)

    def has_number(self, enum: str, number: int, since: str | None) -> bool:
        """Tell whether one of its enums has a value; where it does not show the enum, its version tells."""
        known = self.enumerators(enum)
        return number in known if known else since is None or self.is_at_least(since)

    def is_at_least(self, version: str) -> bool:
        """Tell whether its version is that, or newer; not if it is not known."""
        return self.version >= tuple(map(int, version.split(".")))

    def has(self, fact: Fact) -> bool:
        """Tell whether it can do something."""
        if fact.evidence and self.types is not None:
            return self.has_function_type(fact.evidence)
        return self.is_at_least(fact.since)

    # Symbols and options.

    @property
    def functions(self) -> Collection[str]:
        """Names of its functions, and of its modules'; those of its BTF alone where its symbols are not known."""
        if self._functions is None:
            symbols = self.snapshot.symbols
            self._functions = (
                self.function_types
                if symbols is None
                else frozenset(name for name, letters in symbols.items() if not _FUNCTIONS.isdisjoint(letters))
            )
        return self._functions

    def has_symbol(self, name: str) -> bool | None:
        """Tell whether it has a symbol; ``None``: its symbols are not known."""
        return None if self.snapshot.symbols is None else name in self.snapshot.symbols

    def is_built_with(self, option: str, symbol: str = "") -> bool:
        """Tell whether it is built with an option, by its configuration or by a function that only then is there."""
        if self.snapshot.config is not None:
            return self.snapshot.config.get(option, "n") in ("y", "m")
        return not symbol or self.snapshot.symbols is None or symbol in self.snapshot.symbols

    def takes_program_type(self, number: int) -> bool | None:
        """Tell whether a program of a type was loaded; ``None``: that was not tried."""
        return None if self.snapshot.program_types is None else self.snapshot.program_types.get(number)


def version_numbers(snapshot: Snapshot) -> tuple[int, ...]:
    """Return the version of a kernel as libbpf finds it (``get_kernel_version``): Debian's release does not say it in full."""
    found = re.search(r"Debian (\d+)\.(\d+)\.(\d+)", snapshot.version) or re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", snapshot.release)
    return tuple(int(each or 0) for each in found.groups()) if found else ()
