"""From :class:`~ecli_schemas.model.Package` to the bytes of a package in our dialect, which upstream can read too."""

from __future__ import annotations

import binascii
import zlib

from .dialects import MAX_EXACT_INTEGER
from .errors import PackageError
from .model import FORMAT_VERSION
from .read import read_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .model import (
        Behaviour,
        Build,
        EventType,
        Export,
        Hook,
        Json,
        KernelBtf,
        MapSpec,
        Member,
        Option,
        Package,
        Sample,
        StackTrace,
        WasmModule,
    )

_AS_TEXT = "JSON carries integers up to 2^53-1 exactly (RFC 7493, section 2.2), and no lone surrogates; use text for others"


def write_package(package: Package) -> bytes:
    """Return ``package`` as canonical JSON (RFC 8785), always in our format.

    The same package gives the same bytes wherever zlib is of one make; other makes compress the object differently.

    Raises:
        PackageError: ``package`` has something that cannot be in a package, or that JSON cannot carry without loss.
    """
    import rfc8785  # only the author's side needs it

    document: dict[str, Any] = {
        **_object(package.object),
        "meta": _meta(package),
        "ecli": _ecli(package),
    }
    try:
        data = rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as error:
        raise PackageError(f"cannot be written as JSON: {error}", hint=_AS_TEXT) from error
    if read_package(data) != package.replace(format=FORMAT_VERSION):
        raise PackageError("cannot be written without loss", hint=_AS_TEXT)
    return data


def _object(data: bytes) -> dict[str, Any]:
    return {"bpf_object": _packed(data), "bpf_object_size": len(data)}


def _packed(data: bytes) -> str:
    return binascii.b2a_base64(zlib.compress(data, 9), newline=False).decode()


def _filled(**parts: Any) -> dict[str, Any]:
    """Return the parts that say something: neither ``None`` nor empty text nor an empty sequence."""
    return {key: part for key, part in parts.items() if part not in (None, "", ())}


# --- upstream's part ---


def _meta(package: Package) -> dict[str, Any]:
    export_types, configs = _upstream_exports(package)
    return _filled(
        bpf_skel={
            "obj_name": package.object_name,
            "data_sections": _data_sections(package),
            "maps": [_map(spec, configs.get(spec.name)) for spec in package.maps],
            "progs": [{**spec.attach, "name": spec.name, "attach": spec.section, "link": spec.link} for spec in package.programs],
            "doc": _filled(
                version=package.doc.version,
                brief=package.doc.brief,
                details=package.doc.details,
                description=package.doc.description,
            ),
        },
        export_types=export_types,
        enable_multiple_export_types=True if configs else None,
        poll_timeout_ms=package.poll_timeout_ms,
        perf_buffer_pages=package.perf_buffer_page_count,
        eunomia_version=package.upstream_version,
    )


def _upstream_exports(package: Package) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return upstream's ``export_types``, and the ``export_config`` of each map if its multiple mode can say it.

    In single mode upstream reads only the last map that can be an export, and names the parts of a key after their
    types; multiple mode has neither flaw. Older versions of upstream know single mode only, so both are written.
    """
    event_types = [event_type for export in package.exports for event_type in export.types]
    export_types = tuple(
        [
            {
                "name": event_type.name,
                "size": event_type.size_bytes,
                "type_id": event_type.btf_id,
                "members": [{"name": member.name, "type": member.type} for member in event_type.members],
            }
            for event_type in event_types
            if event_type.name and event_type.size_bytes is not None and event_type.btf_id is not None
        ]
    )
    if any(export.map is None for export in package.exports):
        return export_types, {}
    sampled = {spec.name for spec in package.maps if spec.sample}
    configs = {export.map: _export_config(export, export.map in sampled) for export in package.exports if export.map}
    return export_types, {name: config for name, config in configs.items() if config is not None}


def _export_config(export: Export, is_sampled: bool) -> Any:
    if not export.types:
        return "default" if is_sampled else None
    first = export.types[0]  # upstream has one type for each map
    if first.btf_id is not None:
        return {"btf_type_id": first.btf_id}
    if not first.members or any(member.byte_offset is None or member.btf_id is None for member in first.members):
        return None
    members = [{"name": item.name, "offset": item.byte_offset, "btf_type_id": item.btf_id} for item in first.members]
    return {"custom_members": members}


def _map(spec: MapSpec, export_config: Any) -> dict[str, Any]:
    parts = _filled(
        mmaped=spec.mmaped or None,
        sample=_sample(spec.sample) if spec.sample else None,
        export_config=export_config,
        intepreter=_stack_trace(spec.stack_trace) if spec.stack_trace else None,  # misspelt by upstream
    )
    return {"name": spec.name, "ident": spec.ident, **parts}


def _sample(sample: Sample) -> dict[str, Any]:
    return _filled(interval=sample.interval_ms, type=sample.kind, unit=sample.unit, clear_map=sample.clear)


def _stack_trace(stack_trace: StackTrace) -> dict[str, Any]:
    names = {part: getattr(stack_trace, part) for part in stack_trace._fields if part != "with_symbols"}
    return {"stack_trace": {"field_map": names, "with_symbols": stack_trace.with_symbols}}


# Upstream refuses to start if an option with a default has a type that it does not know by this very name, or a default
# that does not fit into the signed integer of the same size. Hence: the C types that it can have, under its own names.
_UPSTREAM_INTEGERS = {
    alias: (name, minimum, maximum)
    for name, minimum, maximum, aliases in (
        ("short", -(2**15), 2**15 - 1, ("short", "s16", "__s16", "int16_t")),
        ("unsigned short", 0, 2**15 - 1, ("unsigned short", "u16", "__u16", "uint16_t")),
        ("int", -(2**31), 2**31 - 1, ("int", "pid_t", "s32", "__s32", "int32_t")),
        ("unsigned int", 0, 2**31 - 1, ("unsigned int", "u32", "__u32", "uint32_t", "uid_t", "gid_t")),
        ("long long", -MAX_EXACT_INTEGER, MAX_EXACT_INTEGER, ("long", "long long", "s64", "__s64", "int64_t")),
        (
            "unsigned long long",
            0,
            MAX_EXACT_INTEGER,
            ("unsigned long", "unsigned long long", "u64", "__u64", "uint64_t", "size_t"),
        ),
    )
    for alias in aliases
}


def _data_sections(package: Package) -> list[dict[str, Any]]:
    """Return the options that upstream can set: it refuses other sections than these two, and sections without map."""
    idents = {spec.ident for spec in package.maps}
    sections = [
        {"name": name, "variables": [_variable(option) for option in package.options if option.section == name]}
        for name in (".rodata", ".bss")
        if name[1:] in idents
    ]
    return [section for section in sections if section["variables"]]


def _variable(option: Option) -> dict[str, Any]:
    c_type, default = _upstream_type(option)
    return {
        "name": option.name,
        "type": c_type,
        "cmdarg": _filled(long=option.long, short=option.short, help=option.help, default=default),
    }


def _upstream_type(option: Option) -> tuple[str, Json]:
    """Return type and default of an option as upstream can start with them; without default, C's initialiser stays."""
    default = option.default
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    if option.type in ("bool", "_Bool"):
        return "bool", default if isinstance(default, bool) else None
    if option.type.startswith("char["):
        size = option.type[len("char[") : -1]
        fits = isinstance(default, str) and size.isdecimal() and len(default.encode()) < int(size)
        return option.type, default if fits else None
    if option.type not in _UPSTREAM_INTEGERS:
        return option.type, None
    name, minimum, maximum = _UPSTREAM_INTEGERS[option.type]
    fits = isinstance(default, int) and not isinstance(default, bool) and minimum <= default <= maximum
    return name, default if fits else None


# --- our part ---


def _ecli(package: Package) -> dict[str, Any]:
    doc = package.doc
    exports = [_filled(map=export.map, types=tuple(map(_event_type, export.types))) for export in package.exports]
    parts = _filled(
        version=doc.version,
        description=doc.description,
        license=doc.license,
        homepage=doc.homepage,
        arches=package.arches,
        objects={machine: _object(data) for machine, data in package.objects.items()} or None,
        exports=tuple(exports),
        options=tuple(map(_option, package.options)),
        meanings={name: {role: dict(said) for role, said in of.items()} for name, of in package.meanings.items()} or None,
        kernel_btf=tuple([_kernel_btf(each) for each in package.kernel_btf]),
        results={name: _sample(sample) for name, sample in package.results.items()} or None,
        hooks=tuple(map(_hook, package.hooks)),
        behaviour=_behaviour(package.behaviour) if package.behaviour else None,
        wasm=tuple(map(_wasm, package.wasm)),
        build=_build(package.build) if package.build else None,
    )
    return {"format": FORMAT_VERSION, "name": package.name, **parts}


def _event_type(event_type: EventType) -> dict[str, Any]:
    return {
        "name": event_type.name,
        **_filled(
            size=event_type.size_bytes,
            type_id=event_type.btf_id,
            members=tuple(map(_member, event_type.members)),
            layout=event_type.layout,
            tag={"member": event_type.tag.member, "values": event_type.tag.values} if event_type.tag else None,
            meanings=dict(event_type.meanings) or None,
        ),
    }


def _member(member: Member) -> dict[str, Any]:
    return {"name": member.name, **_filled(type=member.type, offset=member.byte_offset, type_id=member.btf_id)}


def _option(option: Option) -> dict[str, Any]:
    default, decimal = option.default, None
    if isinstance(default, (int, float)) and MAX_EXACT_INTEGER < abs(default) < 10**39:  # 128 bits have 39 digits
        decimal = str(int(default))
        default = None
    return {
        "name": option.name,
        "section": option.section,
        "type": option.type,
        "long": option.long,
        **_filled(short=option.short, help=option.help, default_decimal=decimal, choices=option.choices),
        **({} if default is None else {"default": default}),
    }


def _hook(hook: Hook) -> dict[str, Any]:
    alternatives = [
        {"name": each.name, "programs": [{"name": one.name, **_filled(targets=one.targets)} for one in each.programs]}
        for each in hook.alternatives
    ]
    return {"name": hook.name, "alternatives": alternatives, **_filled(optional=hook.optional or None)}


def _behaviour(behaviour: Behaviour) -> dict[str, Any]:
    return _filled(
        programs=tuple([{"name": each.name, "type": each.type, "section": each.section} for each in behaviour.programs]),
        maps=tuple(
            [
                {
                    "name": each.name,
                    "type": each.type,
                    "key_size": each.key_size_bytes,
                    "value_size": each.value_size_bytes,
                    "max_entries": each.max_entries,
                    **_filled(memory=each.memory_bytes, memory_per_cpu=each.memory_per_cpu_bytes or None),
                }
                for each in behaviour.maps
            ]
        ),
        helpers=behaviour.helpers,
        kfuncs=behaviour.kfuncs,
        facts=dict(behaviour.facts) or None,
    )


def _wasm(module: WasmModule) -> dict[str, Any]:
    limits = module.limits
    return {
        "name": module.name,
        "kind": module.kind,
        "module": _packed(module.code),
        "module_size": len(module.code),
        **_filled(
            writes=module.writes,
            wasi=module.wasi or None,
            limits=_filled(
                memory=limits.memory_bytes,
                stack=limits.stack_bytes,
                batch_ms=limits.batch_ms,
                fuel=limits.fuel,
                emitted=limits.emitted_bytes,
            )
            or None,
        ),
    }


def _kernel_btf(of: KernelBtf) -> dict[str, Any]:
    kernels = [{"release": each.release, **_filled(version=each.version)} for each in of.kernels]
    return {"machine": of.machine, "kernels": kernels, "btf": of.btf}


def _build(build: Build) -> dict[str, Any]:
    return _filled(tools=build.tools or None, sources=build.sources or None)
