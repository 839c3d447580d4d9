"""The maps of an object that events come from, and the plans to decode them."""

from __future__ import annotations

from ecli_runtime.btf import KIND_STRUCT
from ecli_runtime.decode.meaning import STACK_ARRAY, STACK_KINDS
from ecli_runtime.decode.plan import event_type_id
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, MAP_TYPE_STACK_TRACE
from ecli_runtime.stream import TypeRef, make_source
from ecli_schemas.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ecli_runtime.btf import Btf
    from ecli_runtime.libbpf.object import OpenObject
    from ecli_runtime.stream import Source
    from ecli_schemas.model import EventType, MapSpec, Package


def make_sources(
    package: Package, opened: OpenObject, specs: Mapping[str, MapSpec], raw: bool, interval_ms: int | None = None
) -> tuple[Source, ...]:
    """Return the maps of an object that events come from.

    Args:
        package: What says which maps are read, and what their events are.
        opened: The package's object.
        specs: What the package says of each map, by its name in the object.
        raw: Values are shown as they are, whatever they mean.
        interval_ms: How often maps are read, if not as the package says.

    Raises:
        PackageError: The package names a type that the object lacks.
        BtfError: A type cannot be decoded.
    """
    return tuple(_walk(package, opened, specs, raw, interval_ms))


def _walk(
    package: Package, opened: OpenObject, specs: Mapping[str, MapSpec], raw: bool, interval_ms: int | None
) -> Iterator[Source]:
    btf = opened.btf
    own = {export.map: (index, export.types) for index, export in enumerate(package.exports) if export.map is not None}
    shared = next(((i, export.types) for i, export in enumerate(package.exports) if export.map is None), (0, ()))
    refs: tuple[TypeRef, ...]
    stack_kinds = STACK_KINDS if any(each.type == MAP_TYPE_STACK_TRACE for each in opened.maps) else (STACK_ARRAY,)
    for each in opened.maps:
        spec = specs.get(each.name)
        if spec is not None and spec.sample is not None:
            sample = spec.sample if interval_ms is None else spec.sample.replace(interval_ms=interval_ms)
            said = package.meanings.get(each.name, {})
            roles = (("key", each.btf_key_type_id), ("value", each.btf_value_type_id))
            refs = tuple([TypeRef(type_id, meanings=said.get(role, {})) for role, type_id in roles])
            sizes = (each.key_size_bytes, each.value_size_bytes)
            if not all(ref.type_id and btf.size_bytes(ref.type_id) == size for ref, size in zip(refs, sizes, strict=True)):
                refs = ()  # not known, or said of another map: libbpf creates it all the same
            stacks = spec.stack_trace if refs else None
            yield make_source(btf, each.name, refs, sample, each.per_cpu, each.value_size_bytes, raw=raw, stacks=stacks)
        elif each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY):
            index, types = own.get(each.name, shared)
            refs = tuple(_type_ref(package, btf, event_type, index) for event_type in types)
            tags = tuple(event_type.tag for event_type in types)
            yield make_source(btf, each.name, refs, tags=tags, raw=raw, stack_kinds=stack_kinds)
    if package.results:
        from ecli_runtime.variables import variable_sources

        yield from variable_sources(btf, package.results, raw, interval_ms)


def _type_ref(package: Package, btf: Btf, event_type: EventType, export_index: int) -> TypeRef:
    if event_type.members and event_type.members[0].btf_id is not None:
        members = tuple((m.name, m.btf_id or 0, m.byte_offset or 0) for m in event_type.members)
        return TypeRef(0, members, event_type.meanings)
    type_id = event_type_id(btf, event_type.name, event_type.btf_id)
    if type_id is None:
        path = "$.meta.export_types" if package.format is None else f"$.ecli.exports[{export_index}].types"
        known = ", ".join(btf.names(KIND_STRUCT)[:8]) or "none"
        raise PackageError(
            f"the object has no struct {event_type.name!r}", path, f"build the package again; structs in the object: {known}"
        )
    return TypeRef(type_id, meanings=event_type.meanings)
