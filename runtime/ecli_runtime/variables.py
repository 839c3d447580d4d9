"""Global variables with results, read as maps are: as sources, and their values while programs run."""

from __future__ import annotations

from ecli_runtime.btf import Array, Int
from ecli_runtime.errors import BtfError
from ecli_runtime.globals import find_globals
from ecli_runtime.stream import Region, TypeRef, make_source
from ecli_schemas.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Literal

    from ecli_runtime.btf import Btf
    from ecli_runtime.globals import Global
    from ecli_runtime.libbpf.object import LoadedMap
    from ecli_runtime.stream import Source
    from ecli_schemas.model import Sample


def variable_sources(btf: Btf, results: Mapping[str, Sample], raw: bool, interval_ms: int | None) -> Iterator[Source]:
    """Yield the sources of global variables.

    An array is a table of its elements by index, a histogram is one alone, or one for each element. All else is together, a
    source for each section and interval, named ``globals`` if there is only one.

    Args:
        btf: The object's types.
        results: What the package says of each variable, by its name.
        raw: Values are shown as they are, whatever they mean.
        interval_ms: How often they are read, if not as the package says.

    Raises:
        PackageError: The object has no such variable.
        BtfError: A type cannot be decoded.
    """
    variables = {each.name: each for each in find_globals(btf)}
    together: dict[tuple[str, Sample], list[Global]] = {}
    for name, said in results.items():
        sample = said if interval_ms is None else said.replace(interval_ms=interval_ms)
        variable = variables.get(name)
        if variable is None:
            raise PackageError(f"the object has no variable {name!r}", f"$.ecli.results.{name}", "build the package again")
        bare = btf.resolve(variable.type_id)[1]
        if isinstance(bare, Array) and not _is_one(btf, bare, sample):
            size_bytes = btf.size_bytes(bare.element)
            region = Region(variable.section, variable.byte_offset, bare.count, size_bytes)
            refs = (TypeRef(_index_type(btf)), TypeRef(bare.element))
            yield make_source(btf, name, refs, sample, value_size_bytes=size_bytes, raw=raw, region=region)
        elif sample.kind != "default_kv":
            region = Region(variable.section, variable.byte_offset, 0, variable.size_bytes)
            refs = (TypeRef(0), TypeRef(variable.type_id))
            yield make_source(btf, name, refs, sample, value_size_bytes=variable.size_bytes, raw=raw, region=region)
        else:
            together.setdefault((variable.section, sample), []).append(variable)
    for (section, sample), each in together.items():
        name = section if len(together) > 1 else "globals"
        members = tuple([(one.name, one.type_id, one.byte_offset) for one in each])
        size_bytes = max([one.byte_offset + one.size_bytes for one in each])
        refs, region = (TypeRef(0), TypeRef(0, members)), Region(section, 0, 0, size_bytes)
        yield make_source(btf, name, refs, sample, value_size_bytes=size_bytes, raw=raw, region=region)


def _is_one(btf: Btf, array: Array, sample: Sample) -> bool:
    """Tell whether an array is one value: text, or the slots of one histogram."""
    bare = btf.resolve(array.element)[1]
    return isinstance(bare, Int) and (bare.size_bytes == 1 or sample.kind != "default_kv")


def _index_type(btf: Btf) -> int:
    """Return a type of 32 bits to count elements with; an object that has arrays has that of their indices."""
    for type_id, each in btf.types():
        if isinstance(each, Int) and each.size_bytes == 4:
            return type_id
    raise BtfError("the object has no type of 32 bits", "build the package again")


class VariableReader:
    """Reads elements of a data section.

    Args:
        section: Its map; stays its object's.
        region: Which part of it.
        byteorder: Of the object.
    """

    def __init__(self, section: LoadedMap, region: Region, byteorder: Literal["little", "big"]) -> None:
        self._section, self._region = section, region
        keys = [index.to_bytes(4, byteorder) for index in range(region.count)] or [b""]
        self._places = [(key, region.byte_offset + index * region.size_bytes) for index, key in enumerate(keys)]

    def read(self) -> list[tuple[bytes, bytes]]:
        """Return index and bytes of each element; what is no array has no index.

        Raises:
            LibbpfError: The kernel refused to read it.
        """
        ((_key, whole),) = self._section.entries()
        size = self._region.size_bytes
        return [(key, whole[at : at + size]) for key, at in self._places]
