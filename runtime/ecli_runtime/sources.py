"""The maps of an object that events come from, and the plans to decode them."""

from __future__ import annotations

from ecli_runtime.btf import KIND_STRUCT
from ecli_runtime.decode.meaning import with_meanings
from ecli_runtime.decode.plan import event_type_id, make_event_plan, make_plan, make_plan_of_members
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF
from ecli_runtime.stream import Source
from ecli_schemas.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ecli_runtime.btf import Btf
    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.libbpf.object import OpenObject
    from ecli_schemas.model import EventType, MapSpec, Package


def make_sources(package: Package, opened: OpenObject, specs: Mapping[str, MapSpec], raw: bool) -> tuple[Source, ...]:
    """Return the maps of an object that events come from.

    Args:
        package: What says which maps are read, and what their events are.
        opened: The package's object.
        specs: What the package says of each map, by its name in the object.
        raw: Values are shown as they are, whatever they mean.

    Raises:
        PackageError: The package names a type that the object lacks.
        BtfError: A type cannot be decoded.
    """
    sources = tuple(_walk(package, opened, specs))
    if raw:
        return sources
    return tuple(source.replace(plans=tuple(map(with_meanings, source.plans))) for source in sources)


def _walk(package: Package, opened: OpenObject, specs: Mapping[str, MapSpec]) -> Iterator[Source]:
    btf = opened.btf
    own = {export.map: (index, export.types) for index, export in enumerate(package.exports) if export.map is not None}
    shared = next(((i, export.types) for i, export in enumerate(package.exports) if export.map is None), (0, ()))
    for each in opened.maps:
        spec = specs.get(each.name)
        if spec is not None and spec.sample is not None:
            plans = tuple(make_plan(btf, type_id) for type_id in (each.btf_key_type_id, each.btf_value_type_id) if type_id)
            yield Source(each.name, plans if len(plans) == 2 else (), spec.sample, each.per_cpu, each.value_size_bytes)
        elif each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY):
            index, types = own.get(each.name, shared)
            plans = tuple(_plan(package, btf, event_type, index) for event_type in types)
            yield Source(each.name, plans, tags=tuple(event_type.tag for event_type in types))


def _plan(package: Package, btf: Btf, event_type: EventType, export_index: int) -> Plan:
    if event_type.members and event_type.members[0].btf_id is not None:
        return make_plan_of_members(btf, [(m.name, m.btf_id or 0, m.byte_offset or 0) for m in event_type.members])
    type_id = event_type_id(btf, event_type.name, event_type.btf_id)
    if type_id is None:
        path = "$.meta.export_types" if package.format is None else f"$.ecli.exports[{export_index}].types"
        known = ", ".join(btf.names(KIND_STRUCT)[:8]) or "none"
        raise PackageError(
            f"the object has no struct {event_type.name!r}", path, f"build the package again; structs in the object: {known}"
        )
    return make_event_plan(btf, type_id)
