"""Global variables of programs that are loaded: to be read, and to be set while the programs run."""

from __future__ import annotations

import mmap
import os

from ecli_runtime.btf import Array, Enum, Int, Qualifier
from ecli_runtime.decode.plan import make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.errors import BtfError, LibbpfError, OptionError, UnsupportedFeatureError
from ecli_runtime.globals import KCONFIG, bounds, is_bool, is_settable, pack_value, parse_value
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Literal

    from ecli_runtime.btf import Btf
    from ecli_runtime.globals import Global, Value
    from ecli_runtime.libbpf.object import LoadedMap, LoadedObject

_WORDS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_READ_ONLY = ".rodata"


class LiveGlobal(Record):
    """A global variable as it is now.

    Attributes:
        name: C name.
        type: C type.
        value: What it holds, decoded.
        range: Which values it takes, in words.
        fixed: Why it cannot be set any more; empty: it can.
    """

    name: str
    type: str
    value: Value
    range: str
    fixed: str


class LiveGlobals:
    """The global variables of an object at work that hold a number, an enumerator or text.

    Args:
        loaded: The object; it stays the caller's, and open as long as this is used.
        variables: Its variables.
        counters: Names of those in which programs count what is lost: they are not for others to set.
    """

    def __init__(self, loaded: LoadedObject, variables: Iterable[Global], counters: Collection[str] = ()) -> None:
        self._btf: Btf = loaded.btf
        self._sections = {each.data_section: each for each in loaded.maps if each.data_section}
        self._counters = counters
        self._variables = {each.name: each for each in variables if each.section in self._sections}

    def all(self) -> list[LiveGlobal]:
        """Return them with their values, those that can be set first.

        Raises:
            LibbpfError: The kernel does not tell.
        """
        settable = [each for each in self._variables.values() if is_settable(self._btf, each.type_id)]
        sections = {name: self._read(name) for name in dict.fromkeys(each.section for each in settable)}
        found = [self._describe(each, sections[each.section]) for each in settable]
        return sorted(found, key=lambda each: bool(each.fixed))

    def _describe(self, variable: Global, section: bytes) -> LiveGlobal:
        data = section[variable.byte_offset : variable.byte_offset + variable.size_bytes]
        value = make_decoder(make_plan(self._btf, variable.type_id))(data)
        return LiveGlobal(
            variable.name,
            _type_text(self._btf, variable.type_id),
            value,
            range_text(self._btf, variable.type_id),
            self._why_fixed(variable),
        )

    def get(self, name: str) -> Value:
        """Return what a variable holds.

        Raises:
            OptionError: There is no such variable.
            LibbpfError: The kernel does not tell.
        """
        variable = self._find(name)
        return self._describe(variable, self._read(variable.section)).value

    def parse(self, name: str, text: str) -> Value:
        """Turn what a user typed into a value of a variable; errors as :meth:`set`."""
        variable = self._find(name)
        self._check_settable(variable)
        try:
            return parse_value(self._btf, variable.type_id, text)
        except OptionError as error:
            raise OptionError(f"{name}: {error}", self._hint(variable)) from error

    def set(self, values: Mapping[str, Value]) -> None:
        """Set variables while programs run, all or, where one of them cannot be, none.

        A number is written at once: a program sees the old one or the new one. Of text it may see some of both.

        Raises:
            OptionError: There is no such variable, it is fixed, or the value does not fit its type.
            UnsupportedFeatureError: The kernel is too old.
        """
        packed = [(variable, self._pack(variable, value)) for variable, value in ((self._find(n), v) for n, v in values.items())]
        for variable, data in packed:
            self._write(variable, data)

    def _pack(self, variable: Global, value: Value) -> bytes:
        self._check_settable(variable)
        try:
            data = pack_value(self._btf, variable.type_id, value)
        except OptionError as error:
            raise OptionError(f"{variable.name}: {error}", self._hint(variable)) from error
        section = self._sections[variable.section]
        if len(data) != variable.size_bytes or variable.byte_offset + len(data) > section.value_size_bytes:
            raise BtfError(f"variable {variable.name!r} does not fit into section {variable.section}", "build the package again")
        return data

    def _hint(self, variable: Global) -> str:
        kind, values = _type_text(self._btf, variable.type_id), range_text(self._btf, variable.type_id)
        return f"{variable.name} is of type {kind}: {values}"

    def _find(self, name: str) -> Global:
        if name in self._variables:
            return self._variables[name]
        from difflib import get_close_matches

        near = get_close_matches(name, self._variables, n=3)
        known = f"did you mean {' or '.join(near)}?" if near else f"variables: {', '.join(sorted(self._variables)) or 'none'}"
        raise OptionError(f"there is no global variable {name!r}", known)

    def _check_settable(self, variable: Global) -> None:
        why = self._why_fixed(variable)
        if not why and not is_settable(self._btf, variable.type_id):
            why = "it is neither a number, an enumerator nor text"
        if why:
            hint = "`ecli-py set RUN` shows those that can be"
            if variable.section.startswith(_READ_ONLY):
                hint = "its option sets it when a run is started; an author who leaves out `const` lets it be set in a run, too"
            raise OptionError(f"{variable.name} cannot be set: {why}", hint)

    def _why_fixed(self, variable: Global) -> str:
        if variable.section == KCONFIG:
            return "the kernel's configuration fills it"
        if variable.section.startswith(_READ_ONLY):
            return "it is read-only, and was fixed when the program was loaded"
        return "the program counts in it what is lost" if variable.name in self._counters else ""

    def _read(self, section_name: str) -> bytes:
        section = self._sections[section_name]
        data = section.lookup(bytes(section.key_size_bytes))
        if data is None:
            raise LibbpfError("bpf_map_lookup_elem", 0, message=f"the kernel does not tell what is in {section.name}")
        return data

    def _write(self, variable: Global, data: bytes) -> None:
        # Not bpf(BPF_MAP_UPDATE_ELEM), which replaces the whole section, and so whatever programs write there meanwhile.
        mapped = _mapped(self._sections[variable.section])
        first = variable.byte_offset
        try:
            with memoryview(mapped)[first : first + len(data)] as place:
                if len(data) in _WORDS and first % len(data) == 0:
                    with place.cast(_WORDS[len(data)]) as word, memoryview(data).cast(_WORDS[len(data)]) as new:
                        word[0] = new[0]
                else:
                    place[:] = data
        finally:
            mapped.close()


def _mapped(section: LoadedMap) -> mmap.mmap:
    try:
        return mmap.mmap(section.fd, section.value_size_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:  # fc9702273e2e
        raise UnsupportedFeatureError("setting a variable of a program at work", "Linux 5.5", os.uname().release) from error


def range_text(btf: Btf, type_id: int) -> str:
    """Return which values a type takes, in words."""
    _, bare = btf.resolve(type_id)
    if is_bool(btf, type_id):
        return "true or false"
    if isinstance(bare, Enum):
        return ", ".join(name for name, _value in bare.enumerators)
    if isinstance(bare, Int):
        low, high = bounds(bare)
        return f"{low} to {high}"
    return f"at most {bare.count - 1} bytes of text" if isinstance(bare, Array) else "a number"


def _type_text(btf: Btf, type_id: int) -> str:
    _, bare = btf.resolve(type_id)  # which bounds what follows
    named = btf.type(type_id)
    while isinstance(named, Qualifier):
        named = btf.type(named.target)
    if isinstance(bare, Array):
        return f"char[{bare.count}]"
    name = getattr(named, "name", "")
    return f"enum {name}".rstrip() if isinstance(named, Enum) else name
