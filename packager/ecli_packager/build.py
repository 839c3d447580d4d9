"""Building a package: compile, find out what the object holds, describe it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ecli_packager import toolchain
from ecli_packager.bytecode import event_calls
from ecli_packager.comments import comment_at
from ecli_packager.compile import Includes, compile_source, link
from ecli_packager.ctypes_text import member_text, type_text
from ecli_packager.dwarf import Declarations, read_declarations
from ecli_packager.errors import CompileError, ToolchainError
from ecli_packager.exports import TypeFinder, header_structs
from ecli_packager.layout import layout
from ecli_packager.vmlinux import header_directory
from ecli_runtime.btf import KIND_ENUM, KIND_FLOAT, KIND_INT, KIND_STRUCT, KIND_TYPEDEF, KIND_UNION, Btf, Composite, Enum
from ecli_runtime.decode.plan import make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.globals import find_globals, is_settable
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, OpenMap, OpenObject
from ecli_runtime.session import LOST_SUFFIX
from ecli_schemas.model import Build, Doc, EventType, Export, MapSpec, Member, Option, Package, ProgramSpec, Sample

DEFAULT_INTERVAL_MS = 1000


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        source: The C file.
        header: Header whose structs are the events (upstream's second argument), or ``None``.
        exports: Map → C types of its events.
        clang: Path of a clang, or ``None`` for the default.
        btf: File with the BTF of the kernel to take ``vmlinux.h`` from, or ``None`` for the running one.
        flags: More words for clang.
    """

    source: Path
    header: Path | None = None
    exports: Mapping[str, list[str]] = field(default_factory=dict)
    clang: str | None = None
    btf: Path | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A package, and what the compiler warned of (possibly empty)."""

    package: Package
    diagnostics: str


def build(request: Request) -> Result:
    """Build a package from one C file.

    Raises:
        CompileError: clang refused the source, or it holds no program.
        ToolchainError: Something that building needs is missing.
        ExportError: The type of a map's events cannot be told.
        EcliError: The object cannot be used.
    """
    source_text = _read(request.source)
    header_text = _read(request.header) if request.header else ""
    clang = toolchain.find_clang(request.clang)
    arch = toolchain.host_arch()
    includes = Includes(toolchain.libbpf_headers(), header_directory(request.btf), toolchain.kernel_headers(arch))
    flags = list(request.flags)
    compiled, diagnostics = compile_source(clang, arch, includes, request.source, flags, [])
    calls = event_calls(compiled)
    foreign = ("libbpf", "kernel", *map(str, includes.kernel), "/usr")
    declared = read_declarations(compiled, foreign, {call.function for call in calls})
    name = request.source.name.partition(".")[0]
    linked = link([compiled])
    with OpenObject.open(linked, _object_name(request.source)) as opened:
        if not opened.programs:
            raise CompileError(f"{request.source}: it holds no eBPF program", "", 'mark functions with SEC("…")')
        event_maps = [each.name for each in opened.maps if each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY)]
        values = {each.name: each.btf_value_type_id for each in opened.maps}
        finder = TypeFinder(declared, lambda name: _c_type(opened.btf, values.get(name, 0)), header_structs(header_text))
        types = finder.choose(event_maps, calls, request.exports)
        missing = [each for group in types.values() for each in group if _type_id(opened.btf, each) is None]
    if missing:
        compiled, _ = compile_source(clang, arch, includes, request.source, flags, sorted(set(missing)))
        linked = link([compiled])
    sources = {request.source.name: _digest(source_text)}
    if request.header:
        sources[request.header.name] = _digest(header_text)
    if includes.vmlinux:
        sources["vmlinux.h"] = _digest((includes.vmlinux / "vmlinux.h").read_text())
    tools = {
        "clang": clang.version,
        "ecli-py": importlib.metadata.version("ecli-py"),
        "libbpf": lib.version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    package = _describe(name, request.source, linked, types, declared, source_text).replace(build=Build(tools, sources))
    return Result(package, diagnostics)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ToolchainError(f"cannot read {path}: {error.strerror}", "check the path") from error


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _object_name(source: Path) -> str:
    """Return the name given to libbpf, as upstream derives it: the file without its suffix, made a C identifier."""
    stem = source.name.removesuffix(".c")
    return "".join(letter if letter.isalnum() else "_" for letter in stem)[:63]


def _type_id(btf: Btf, c_name: str) -> int | None:
    """Return the id of a type that C names so, or ``None``."""
    keyword, _, rest = c_name.partition(" ")
    kind = {"struct": KIND_STRUCT, "union": KIND_UNION, "enum": KIND_ENUM}.get(keyword)
    return btf.find(rest, kind) if kind else btf.find(c_name, KIND_TYPEDEF, KIND_INT, KIND_FLOAT)


def _c_type(btf: Btf, type_id: int) -> tuple[str, int] | None:
    """Return C name and size of a type that can be referred to by name, else ``None``."""
    if not type_id:
        return None
    name = type_text(btf, type_id)
    return (name, btf.size_bytes(type_id)) if _type_id(btf, name) is not None else None


def _describe(name: str, source: Path, data: bytes, types: Mapping[str, list[str]], declared: Declarations, text: str) -> Package:
    with OpenObject.open(data, _object_name(source)) as opened:
        lines = {source.name: text.splitlines()}
        return Package(
            name=name,
            object_name=_object_name(source),
            object=data,
            doc=Doc(license=_license(data)),
            options=tuple(_options(opened, declared, lines)),
            maps=tuple(_map_spec(each, opened.btf) for each in opened.maps),
            programs=tuple(ProgramSpec(program.name, program.section) for program in opened.programs),
            exports=tuple(
                Export(map_name, tuple(_event_type(opened.btf, each) for each in names)) for map_name, names in types.items()
            ),
            format=1,
        )


def _license(data: bytes) -> str:
    from io import BytesIO

    from elftools.elf.elffile import ELFFile

    section = ELFFile(BytesIO(data)).get_section_by_name("license")
    return section.data().rstrip(b"\0").decode("ascii", "replace") if section else ""


def _options(opened: OpenObject, declared: Declarations, lines: Mapping[str, list[str]]) -> list[Option]:
    btf = opened.btf
    sections = {each.data_section: each.initial_value() for each in opened.maps if each.data_section}
    counters = {each.name + LOST_SUFFIX for each in opened.maps}
    found = []
    for variable in find_globals(btf):
        initial = sections.get(variable.section)
        if variable.section == ".kconfig" or not is_settable(btf, variable.type_id) or initial is None:
            continue
        if variable.name.startswith("__") or variable.name in counters:
            continue
        file, line = declared.lines.get(variable.name, ("", 0))
        _, bare = btf.resolve(variable.type_id)
        value = bytes(initial[variable.byte_offset : variable.byte_offset + variable.size_bytes])
        found.append(
            Option(
                name=variable.name,
                section=variable.section,
                type=type_text(btf, variable.type_id),
                long=variable.name,
                help=comment_at(lines.get(Path(file).name, []), line),
                default=make_decoder(make_plan(btf, variable.type_id))(value),
                choices=tuple(label for label, _ in bare.enumerators) if isinstance(bare, Enum) else (),
            )
        )
    return found


def _map_spec(each: OpenMap, btf: Btf) -> MapSpec:
    ident = each.name
    if each.data_section:
        ident = "".join(letter if letter.isalnum() else "_" for letter in each.data_section.lstrip("."))
    sample = None
    if not each.data_section and _is_histogram(btf, each.btf_value_type_id):
        sample = Sample(DEFAULT_INTERVAL_MS, "log2_hist")
    return MapSpec(each.name, ident, mmaped=bool(each.data_section), sample=sample)


def _is_histogram(btf: Btf, type_id: int) -> bool:
    """Tell whether a map's value is a struct with an array named ``slots``, the field's convention for a log2 histogram."""
    if not type_id:
        return False
    _, bare = btf.resolve(type_id)
    return isinstance(bare, Composite) and any(member.name == "slots" for member in bare.members)


def _event_type(btf: Btf, c_name: str) -> EventType:
    type_id = _type_id(btf, c_name)
    if type_id is None:
        raise CompileError(f"{c_name} did not get into the object's BTF", "", "compile with clang 14 or newer")
    _, bare = btf.resolve(type_id)
    members = bare.members if isinstance(bare, Composite) else ()
    return EventType(
        name=c_name.removeprefix("struct ").removeprefix("union "),
        size_bytes=btf.size_bytes(type_id),
        btf_id=type_id,
        members=tuple(Member(member.name, member_text(btf, member.type_id)) for member in members),
        layout=layout(btf, type_id),
    )
