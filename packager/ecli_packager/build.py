"""Building a package: compile, find out which types travel through which maps, link, describe."""

from __future__ import annotations

import hashlib
import importlib.metadata
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ecli_packager import toolchain
from ecli_packager.btf_archive import embed
from ecli_packager.bytecode import EventCall, emptied_maps, event_calls, written_variables
from ecli_packager.compile import LIBBPF, SYSTEM, VMLINUX, Compiler, Includes, link
from ecli_packager.describe import Sources, describe, exports_of
from ecli_packager.dwarf import Declarations, read_declarations
from ecli_packager.errors import CompileError, ExportError, ToolchainError
from ecli_packager.exports import TypeFinder, calls_of, check_header, header_structs
from ecli_packager.names import composite, find_type, nameable, type_at
from ecli_packager.registers import reads_registers
from ecli_packager.tags import Said, infer_tags, said_tag, same_sizes
from ecli_packager.values import Contents
from ecli_packager.vmlinux import header_directory
from ecli_runtime.behaviour import analyse
from ecli_runtime.btf import Btf, Enum
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, OpenObject
from ecli_schemas.model import Build, Package, WasmLimits


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        sources: The C files; the first one names the package.
        header: Header whose structs are the events (upstream's second argument), or ``None``.
        exports: Map → C types of its events.
        clang: Path of a clang, or ``None`` for the default.
        btf: Machine (or empty, for all) → file with the BTF of the kernel to take ``vmlinux.h`` from, else the running one's.
        arches: Machines to build for, as ``uname -m`` names them; none: this one.
        include: More directories with headers.
        flags: More words for clang.
        btf_archive: Directory with kernels whose types go into the package, as far as it needs them, or ``None``.
        handlers: Files with event handlers, in C or as Wasm, in the order in which events pass through them.
        limits: What they may use.
    """

    sources: tuple[Path, ...]
    header: Path | None = None
    exports: Mapping[str, list[str]] = field(default_factory=dict)
    clang: str | None = None
    btf: Mapping[str, Path] = field(default_factory=dict)
    arches: tuple[str, ...] = ()
    include: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()
    btf_archive: Path | None = None
    handlers: tuple[Path, ...] = ()
    limits: WasmLimits = field(default_factory=WasmLimits)


@dataclass(frozen=True)
class Result:
    """A package, and what the compiler warned of (possibly empty)."""

    package: Package
    diagnostics: str


# Takes a map and a size in bytes → of each event of that size: the C names of its types, and what it holds.
_Events = Callable[[str, int], list[tuple[list[str], Contents]]]


@dataclass(frozen=True)
class _Unit:
    """One source, compiled."""

    source: Path
    data: bytes
    calls: list[EventCall]
    declared: Declarations


def build(request: Request) -> Result:
    """Build a package.

    Raises:
        CompileError: clang refused a source, or it holds no program.
        ToolchainError: Something that building needs is missing.
        WasmError: A handler is none.
        ExportError: The type of a map's events cannot be told.
        AnnotationError: An annotation in a comment cannot be understood.
        EcliError: The object cannot be used.
    """
    _refuse_repeated(request.sources)
    sources = Sources({path: _read(path) for path in request.sources})
    header = _read(request.header) if request.header else ""
    clang = toolchain.find_clang(request.clang)
    arches = toolchain.find_arches(request.arches)
    compilers = [_compiler(request, clang, arch) for arch in arches]
    units, diagnostics = _compile(compilers[0], request.sources)
    declared = Declarations.merge([unit.declared for unit in units])
    linked = link([(unit.source, unit.data) for unit in units])
    name = _object_name(request.sources[0])
    with OpenObject.open(linked, name) as opened:
        if not opened.programs:
            raise CompileError(f"{request.sources[0]}: it holds no eBPF program", "", 'mark functions with SEC("…")')
        event_maps = [each.name for each in opened.maps if each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY)]
        if request.header and event_maps:
            check_header(request.header.name, header_structs(header), declared)
        values = {each.name: each.btf_value_type_id for each in opened.maps}
        ids = [*values.values(), *(each.btf_key_type_id for each in opened.maps)]
        kept = {named[0] for named in (nameable(opened.btf, each) for each in ids) if named}
        finder = TypeFinder(
            declared,
            partial(_map_value, opened.btf, values),
            header_structs(header),
            kept,
            lambda c_name: any(compilers[0].declares(unit.source, c_name) for unit in units),
        )
        typed = {each: [Said(c_name)] for each in event_maps if (c_name := composite(opened.btf, values[each])) in declared.names}
        asked = {each: [Said.parse(text, f"--export {each}") for text in texts] for each, texts in request.exports.items()}
        said = {**typed, **exports_of(event_maps, declared, sources), **asked}
        types = finder.choose(event_maps, [call for unit in units for call in unit.calls], said)
        absent = {c_name for names in types.values() for c_name in names if find_type(opened.btf, c_name) is None}
        _refuse_unreachable(absent - {struct.c_name for struct in declared.structs}, units, compilers[0])
        bound = reads_registers(linked, opened.btf)
        btf = opened.btf
    objects = {compiler.arch.name: _object(compiler, units, absent) for compiler in compilers[1:]}
    if absent:
        linked = _object(compilers[0], units, absent)

    def emptied() -> frozenset[str]:
        return frozenset[str]().union(*(emptied_maps(unit.data) for unit in units))

    def written() -> frozenset[str]:
        return frozenset[str]().union(*(written_variables(unit.data) for unit in units))

    own_name = request.sources[0].name.partition(".")[0]
    package, warnings = describe(own_name, name, linked, types, declared, sources, emptied, written)
    diagnostics += warnings

    def events(map_name: str, size_bytes: int) -> list[tuple[list[str], Contents]]:
        calls = calls_of(map_name, [call for unit in units for call in event_calls(unit.data, with_contents=True)])
        return [(finder.types_of(map_name, call), call.contents) for call in calls if size_bytes in call.sizes_bytes]

    package = _tag(package, types, btf, said, events)
    texts = {path.name: text for path, text in sources.texts.items()}
    if request.header:
        texts[request.header.name] = header
    for compiler in compilers:
        if compiler.includes.vmlinux:
            label = "vmlinux.h" if len(compilers) == 1 else f"{compiler.arch.name}/vmlinux.h"
            texts[label] = (compiler.includes.vmlinux / "vmlinux.h").read_text()
    same = [arch for arch, data in objects.items() if data == linked]
    package = package.replace(
        arches=(arches[0].name, *same) if request.arches or bound else (),
        objects={arch: data for arch, data in objects.items() if arch not in same},
        behaviour=analyse(linked, name),
        build=_provenance(clang, texts),
    )
    if request.btf_archive is not None:
        own = dict.fromkeys(package.arches, linked) or {"": linked}
        package = package.replace(kernel_btf=embed(request.btf_archive, {**own, **package.objects}))
    if request.handlers:
        from ecli_packager.handler.embed import with_handlers

        package, warnings = with_handlers(package, request.handlers, request.limits)
        diagnostics += warnings
    return Result(package, diagnostics + "".join(_indistinct(package)))


def _tag(package: Package, types: Mapping[str, list[str]], btf: Btf, said: Mapping[str, list[Said]], events: _Events) -> Package:
    """Return the package with what tells types of one size in one map apart: as the user said, else as the code shows."""
    exports = []
    for export in package.exports:
        map_name = export.map or ""
        found = list(export.types)
        for index, each in enumerate(said.get(map_name, ())):
            if each.member:
                found[index] = found[index].replace(tag=said_tag(found[index], each, _enumerators(btf)))
        for group in same_sizes(found):
            if not any(found[index].tag for index in group):
                made = events(map_name, found[group[0]].size_bytes or 0)
                held = [[contents for names, contents in made if types[map_name][index] in names] for index in group]
                tags = infer_tags([found[index] for index in group], held, btf.byteorder) if all(n for n, _ in made) else []
                for index, tag in zip(group, tags, strict=False):
                    found[index] = found[index].replace(tag=tag)
        exports.append(export.replace(types=tuple(found)))
    return package.replace(exports=tuple(exports))


def _enumerators(btf: Btf) -> dict[str, int]:
    return {name: value for _id, found in btf.types() if isinstance(found, Enum) for name, value in found.enumerators}


def _refuse_unreachable(names: set[str], units: list[_Unit], compiler: Compiler) -> None:
    for name in sorted(names):
        if not any(compiler.declares(unit.source, name) for unit in units):
            message = f"{name} is declared inside of a function, so its definition cannot get into the package"
            raise ExportError(message, "declare it outside")


def _refuse_repeated(sources: tuple[Path, ...]) -> None:
    seen: dict[Path, Path] = {}
    for source in sources:
        first = seen.setdefault(source.resolve(), source)
        if first is not source:
            raise CompileError(f"{source} is given twice" + (f", also as {first}" if first != source else ""), "", "name it once")


def _indistinct(package: Package) -> Iterator[str]:
    """Yield a warning for each type whose events would be shown as another."""
    for export in package.exports:
        for group in same_sizes(export.types):
            first, *others = [export.types[index] for index in group]
            for each in others if any(export.types[index].tag is None for index in group) else ():
                what = f"{first.name} and {each.name} both have {each.size_bytes} bytes, and nothing tells them apart"
                how = f"give one another size, or say what tells them apart: @export struct {first.name} when MEMBER=VALUE, …"
                yield f"warning: map {export.map}: {what}, so all are shown as {first.name}; {how}\n"


def _map_value(btf: Btf, values: Mapping[str, int], map_name: str, byte_offset: int, as_array: bool) -> tuple[str, int] | None:
    return type_at(btf, values.get(map_name, 0), byte_offset, as_array)


def _compiler(request: Request, clang: toolchain.Clang, arch: toolchain.Arch) -> Compiler:
    btf = request.btf.get(arch.name) or request.btf.get("")
    author = tuple(path.resolve() for path in request.include)
    includes = Includes(toolchain.libbpf_headers(), header_directory(btf), toolchain.system_headers(arch), author)
    return Compiler(clang, arch, includes, request.flags)


def _compile(compiler: Compiler, sources: tuple[Path, ...]) -> tuple[list[_Unit], str]:
    units, diagnostics = [], ""
    for source in sources:
        data, said = compiler.compile(source)
        calls = event_calls(data)
        declared = read_declarations(data, (LIBBPF, VMLINUX, SYSTEM), set().union(*(call.functions for call in calls)))
        units.append(_Unit(source, data, calls, declared))
        diagnostics += said
    return units, diagnostics


def _object(compiler: Compiler, units: list[_Unit], absent: set[str]) -> bytes:
    """Compile and link the units with those types in BTF that are absent otherwise, each where it is known."""
    known = set().union(*(unit.declared.names for unit in units))
    objects = []
    for unit in units:
        here = [name for name in sorted(absent) if name in unit.declared.names]
        here += [name for name in sorted(absent - known) if compiler.declares(unit.source, name)]
        objects.append((unit.source, compiler.compile(unit.source, here)[0]))
    return link(objects)


def _provenance(clang: toolchain.Clang, texts: Mapping[str, str]) -> Build:
    tools = {
        "clang": clang.version,
        "ecli-py": importlib.metadata.version("ecli-py"),
        "libbpf": lib.version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    digests = {name: "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for name, text in texts.items()}
    return Build(tools, digests)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ToolchainError(f"cannot read {path}: {error.strerror}", "check the path") from error


def _object_name(source: Path) -> str:
    """Return the name given to libbpf, as upstream derives it: the file without its suffix, made a C identifier."""
    stem = source.name.removesuffix(".c")
    return "".join(letter if letter.isalnum() else "_" for letter in stem)[:63]
