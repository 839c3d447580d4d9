"""The two dialects as tables: what each part of a document must be, and what it becomes in the model.

Keys that no table names are ignored, as upstream's loader does. A key that may be absent may also be ``null``.
"""

from __future__ import annotations

from .checks import (
    Mismatch,
    anything,
    boolean,
    integer,
    is_text,
    list_of,
    mapping_of,
    one_of,
    optional,
    record,
    required,
    string,
)
from .model import (
    Alternative,
    Behaviour,
    Build,
    Doc,
    EventType,
    Export,
    Hook,
    HookProgram,
    Kernel,
    KernelBtf,
    MapBehaviour,
    MapSpec,
    Member,
    Option,
    Package,
    ProgramBehaviour,
    ProgramSpec,
    Sample,
    StackTrace,
    Tag,
    WasmLimits,
)
from .wording import expected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .checks import Check
    from .model import Json

MAX_OBJECT_SIZE_BYTES = 64 << 20  # objects of real tools have less than 1 MiB
MAX_MODULE_SIZE_BYTES = 32 << 20  # of a Wasm module; those of handlers have some kilobytes
MAX_DOCUMENT_SIZE_BYTES = 128 << 20  # holds the largest object even if zlib cannot make it smaller
MAX_EXACT_INTEGER = 2**53 - 1  # JSON numbers are doubles for most readers (RFC 7493, section 2.2)
MAX_NAME_LENGTH = 511  # KSYM_NAME_LEN - 1, which bounds BTF names too (kernel/bpf/btf.c, __btf_name_valid)
MAX_SECTION_LENGTH = 4096 + MAX_NAME_LENGTH  # uprobe/PATH:SYMBOL with PATH_MAX
MAX_TEXT_LENGTH = 65536
MAX_TARGETS = 16  # further ones of a program of a hook: each is looked up before a run


# --- what the parts of a document become ---


def _ours(meta: dict[str, Any], ecli: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Return upstream's part, overlaid by ours."""
    return {**parts, **meta, **ecli, "doc": meta["doc"].replace(**ecli["doc"])}


def _upstream(meta: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**parts, **meta}


def _meta(
    bpf_skel: dict[str, Any],
    export_types: tuple[EventType, ...] = (),
    enable_multiple_export_types: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Return the fields of a package that upstream's metadata has."""
    maps = bpf_skel["maps"]
    if enable_multiple_export_types:
        exports = tuple([Export(spec.name, types) for spec, types in maps if types is not None])
    else:
        exports = (Export(None, export_types),) if export_types else ()
    return {**bpf_skel, "maps": tuple([spec for spec, _ in maps]), "exports": exports, **settings}


def _skeleton(
    obj_name: str,
    data_sections: tuple[tuple[Option, ...], ...],
    maps: tuple[Any, ...] = (),
    progs: tuple[ProgramSpec, ...] = (),
    doc: Doc = Package.doc,
) -> dict[str, Any]:
    # Upstream's compiler names objects after the source file: execsnoop.bpf.o is execsnoop_bpf.
    name = obj_name.removesuffix("_bpf") or obj_name
    options = _without_repeated_short_names([option for section in data_sections for option in section])
    _refuse_ambiguous(options, ".data_sections")
    return {"name": name, "object_name": obj_name, "options": options, "maps": maps, "programs": progs, "doc": doc}


def _data_section(name: str, variables: tuple[Option, ...]) -> tuple[Option, ...]:
    """Return the options of a section: none in ``.kconfig``, which the kernel's configuration fills."""
    if name == ".kconfig":
        return ()
    return tuple([option.replace(section=name) for option in variables if not option.name.startswith("__eunomia_dummy")])


def _variable(name: str, c_type: str, value: Json = None, description: str = "", cmdarg: dict[str, Any] | None = None) -> Option:
    parts = {"long": name, "help": description, "default": value, **(cmdarg or {})}
    return Option(name=name, section="", type=c_type, **parts)


def _without_repeated_short_names(options: list[Option]) -> tuple[Option, ...]:
    """Leave a short name to the first option that has it; upstream accepts others, for it ignores those of booleans."""
    taken = {""}
    kept = []
    for option in options:
        kept.append(option.replace(short="") if option.short in taken else option)
        taken.add(option.short)
    return tuple(kept)


def _refuse_ambiguous(options: tuple[Option, ...], path: str) -> None:
    owner: dict[str, str] = {}
    for option in options:
        for flag in (f"--{option.long}", f"-{option.short}" if option.short else ""):
            if flag in owner:
                raise Mismatch(f"the option {flag} stands for two variables, {owner[flag]} and {option.name}", path)
            if flag:
                owner[flag] = option.name


def _map(export_config: tuple[EventType, ...] | None = None, **parts: Any) -> tuple[MapSpec, tuple[EventType, ...] | None]:
    return MapSpec(**parts), export_config


def _program(name: str, section: str, link: bool, **attach: Json) -> ProgramSpec:
    return ProgramSpec(name, section, link, attach)


def make_stack_trace(field_map: dict[str, str] | None = None, with_symbols: bool = True) -> StackTrace:
    """Return the model of upstream's ``stack_trace``."""
    return StackTrace(with_symbols, **(field_map or {}))


def _interpreter(value: Json) -> StackTrace | None:
    return None if value == "default_struct" else _STACK_TRACE(value)


def _export_config(value: Json) -> tuple[EventType, ...] | None:
    """Return the event types that a map is said to carry; ``None``: it is no export."""
    if value == "no_export":
        return None
    if value == "default":
        return ()
    form = _EXPORT_FORMS.get(next(iter(value))) if isinstance(value, dict) and len(value) == 1 else None
    if form is None:
        raise Mismatch(expected(_EXPORT_CONFIG, value))
    return (form(value),)


def _nameless_type(**parts: Any) -> EventType:
    return EventType(name="", **parts)


def _our_option(default_decimal: str | None = None, **parts: Any) -> Option:
    return Option(**parts) if default_decimal is None else Option(**{**parts, "default": int(default_decimal)})


def _export(map_name: str | None = None, types: tuple[EventType, ...] = ()) -> Export:
    return Export(map_name, types)


def _ecli(**parts: Any) -> dict[str, Any]:
    _refuse_ambiguous(parts.get("options", ()), ".options")
    maps = [export.map for export in parts.get("exports", ())]
    for index, name in enumerate(maps):
        if name in maps[:index]:
            raise Mismatch("the map has another export already; one export lists all its types", f".exports[{index}]")
    modules = [module["name"] for module in parts.get("wasm", ())]
    for index, name in enumerate(modules):
        if name in modules[:index]:
            raise Mismatch("the module's name is that of another one", f".wasm[{index}].name")
    _refuse_shared(parts.get("hooks", ()))
    doc = {key: parts.pop(key) for key in ("version", "description", "license", "homepage") if key in parts}
    return {"doc": doc, **parts}


def _refuse_shared(hooks: tuple[Hook, ...]) -> None:
    """Refuse hooks of one name, alternatives of one name in a hook, and programs that are in two places."""
    programs: set[str] = set()
    names: set[str] = set()
    for index, hook in enumerate(hooks):
        path = f".hooks[{index}]"
        if hook.name in names:
            raise Mismatch(f"the hook {hook.name} is there twice", path)
        names.add(hook.name)
        if len({each.name for each in hook.alternatives}) < len(hook.alternatives):
            raise Mismatch(f"the hook {hook.name} has two alternatives of one name", path)
        for name in [program.name for each in hook.alternatives for program in each.programs]:
            if name in programs:
                raise Mismatch(f"the program {name} is in two alternatives", path)
            programs.add(name)


# --- the tables: JSON key, what its value must be, and the argument or field that it becomes ---


def _is_decimal(text: str) -> bool:
    return text.removeprefix("-").isdigit() and text.isascii()


def _is_alphanumeric(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _is_long_name(text: str) -> bool:
    return text[0] not in "-." and _is_alphanumeric(text.translate(_PUNCTUATION_TO_DIGIT))


_PUNCTUATION_TO_DIGIT = str.maketrans("-._", "000")
_U32_MAX = 2**32 - 1


def _printable(what: str, minimum: int, maximum: int) -> Check[str]:
    return string(f"{what} ({minimum} to {maximum} printable characters)", str.isprintable, minimum, maximum)


_NAME = _printable("a name", 1, MAX_NAME_LENGTH)
_MEMBER_NAME = _printable("a name or nothing", 0, MAX_NAME_LENGTH)
_SECTION = _printable("a section name", 1, MAX_SECTION_LENGTH)
_TYPE = _printable("a C type", 0, MAX_SECTION_LENGTH)
_TEXT = string(f"text (at most {MAX_TEXT_LENGTH} characters, no NUL)", is_text, maximum=MAX_TEXT_LENGTH)
_VARIABLE_NAME = string("a variable name (ASCII letters, digits, -, . and _)", _is_long_name, 1, MAX_NAME_LENGTH)
_LONG_NAME = string("a long option name (ASCII letters, digits, -, . and _)", _is_long_name, 1, MAX_NAME_LENGTH)
_SHORT_NAME = string("a short option name (one ASCII letter or digit)", _is_alphanumeric, 1, 1)
_TYPE_ID = integer(f"a BTF type id (integer from 1 to {_U32_MAX})", 1, _U32_MAX)
_BYTES = integer(f"bytes (integer from 0 to {_U32_MAX})", 0, _U32_MAX)
_FLAG = boolean("true or false")
_EXPORT_CONFIG = '"no_export", "default", {"btf_type_id": …} or {"custom_members": […]}'

_DOC = record(
    "an object with texts about the program",
    Doc,
    optional("version", _TEXT),
    optional("brief", _TEXT),
    optional("details", _TEXT),
    optional("description", _TEXT),
)
CMDARG_KEYS = (
    optional("default", anything),
    optional("long", _LONG_NAME),
    optional("short", _SHORT_NAME),
    optional("help", _TEXT),
)
_CMDARG: Check[dict[str, Any]] = record("an object that describes an option", dict, *CMDARG_KEYS)
_VARIABLE = record(
    "a variable (an object)",
    _variable,
    required("name", _VARIABLE_NAME),
    required("type", _TYPE, "c_type"),
    optional("value", anything),
    optional("description", _TEXT),
    optional("cmdarg", _CMDARG),
)
_DATA_SECTION = record(
    "a data section (an object)",
    _data_section,
    required("name", _SECTION),
    required("variables", list_of("variables", _VARIABLE)),
)
SAMPLE_KEYS = (
    required("interval", integer("milliseconds (integer ≥ 1)", 1, MAX_EXACT_INTEGER), "interval_ms"),
    optional("type", one_of("log2_hist", "linear_hist", "default_kv"), "kind"),
    optional("unit", _TEXT),
    optional("clear_map", _FLAG, "clear"),
)
_SAMPLE = record("an object that describes how the map is sampled", Sample, *SAMPLE_KEYS)
FIELD_MAP_KEYS = tuple([optional(part, _NAME) for part in StackTrace._fields if part != "with_symbols"])
_FIELD_MAP: Check[dict[str, str]] = record("an object that names members", dict, *FIELD_MAP_KEYS)
WITH_SYMBOLS_KEY = optional("with_symbols", _FLAG)
_STACK_TRACE = record(
    '"default_struct" or {"stack_trace": {…}}',
    lambda stack_trace: stack_trace,
    required(
        "stack_trace",
        record("an object that describes a stack trace", make_stack_trace, optional("field_map", _FIELD_MAP), WITH_SYMBOLS_KEY),
    ),
)
_CUSTOM_MEMBER = record(
    "a member (an object)",
    Member,
    required("name", _MEMBER_NAME),
    required("offset", _BYTES, "byte_offset"),
    required("btf_type_id", _TYPE_ID, "btf_id"),
)
_EXPORT_FORMS = {
    "btf_type_id": record(_EXPORT_CONFIG, _nameless_type, required("btf_type_id", _TYPE_ID, "btf_id")),
    "custom_members": record(
        _EXPORT_CONFIG, _nameless_type, required("custom_members", list_of("members", _CUSTOM_MEMBER), "members")
    ),
}
_MAP = record(
    "a map (an object)",
    _map,
    required("name", _NAME),
    required("ident", _NAME),
    optional("mmaped", _FLAG),
    optional("sample", _SAMPLE),
    optional("export_config", _export_config),
    optional("intepreter", _interpreter, "stack_trace"),
)
_I32 = integer("an integer of 32 bits", -(2**31), 2**31 - 1)
_U32 = integer(f"an integer from 0 to {_U32_MAX}", 0, _U32_MAX)
# Parameters of attaching, by name: numbers, and objects by what they are called and their keys.
ATTACH_NUMBERS = {"ifindex": _I32, "flags": _U32}
ATTACH_OBJECTS = {
    "xdpopts": ("XDP options (an object)", (optional("old_prog_fd", _I32),)),
    "tchook": (
        "a traffic control hook (an object)",
        (
            optional("ifindex", _I32),
            optional("attach_point", one_of("BPF_TC_INGRESS", "BPF_TC_EGRESS", "BPF_TC_CUSTOM")),
        ),
    ),
    "tcopts": ("traffic control options (an object)", (optional("handle", _U32), optional("priority", _U32))),
}
_PROGRAM = record(
    "a program (an object)",
    _program,
    required("name", _NAME),
    required("attach", _SECTION, "section"),
    required("link", _FLAG),
    *[optional(name, check) for name, check in ATTACH_NUMBERS.items()],
    *[optional(name, record(what, dict, *keys)) for name, (what, keys) in ATTACH_OBJECTS.items()],
)
_SKELETON = record(
    "an object that describes the ELF object",
    _skeleton,
    required("obj_name", _NAME),
    required("data_sections", list_of("data sections", _DATA_SECTION)),
    optional("maps", list_of("maps", _MAP)),
    optional("progs", list_of("programs", _PROGRAM)),
    optional("doc", _DOC),
)
_UPSTREAM_TYPE = record(
    "a struct (an object)",
    EventType,
    required("name", _NAME),
    required(
        "members",
        list_of("members", record("a member (an object)", Member, required("name", _MEMBER_NAME), required("type", _TYPE))),
    ),
    required("size", _BYTES, "size_bytes"),
    required("type_id", _TYPE_ID, "btf_id"),
)
METADATA = record(
    "the metadata (an object)",
    _meta,
    required("bpf_skel", _SKELETON),
    optional("export_types", list_of("structs", _UPSTREAM_TYPE)),
    optional("enable_multiple_export_types", _FLAG),
    optional("poll_timeout_ms", integer("milliseconds (integer of 32 bits)", -(2**31), 2**31 - 1)),
    optional("perf_buffer_pages", integer("pages (integer from 1 to 65536)", 1, 65536), "perf_buffer_page_count"),
    optional("perf_buffer_time_ms", integer("milliseconds (integer ≥ 0)", 0, MAX_EXACT_INTEGER), ""),
    optional("debug_verbose", _FLAG, ""),
    optional("print_header", _FLAG, ""),
    optional("eunomia_version", _TEXT, "upstream_version"),
)
_TEXTS = mapping_of("an object with texts", _TEXT)
_EVENT_TYPE = record(
    "an event type (an object)",
    EventType,
    required("name", _MEMBER_NAME),
    optional("size", _BYTES, "size_bytes"),
    optional("type_id", _TYPE_ID, "btf_id"),
    optional(
        "members",
        list_of(
            "members",
            record(
                "a member (an object)",
                Member,
                required("name", _MEMBER_NAME),
                optional("type", _TYPE),
                optional("offset", _BYTES, "byte_offset"),
                optional("type_id", _TYPE_ID, "btf_id"),
            ),
        ),
    ),
    optional("layout", mapping_of("a layout (an object)", anything)),
    optional("meanings", _TEXTS),
    optional(
        "tag",
        record(
            "a tag (an object)",
            Tag,
            required("member", _NAME),
            required(
                "values",
                list_of("integers", integer("an integer that a number can carry", -MAX_EXACT_INTEGER, MAX_EXACT_INTEGER)),
            ),
        ),
    ),
)
_EXPORT = record(
    "an export (an object)",
    _export,
    optional("map", _NAME, "map_name"),
    optional("types", list_of("event types", _EVENT_TYPE)),
)
_OPTION = record(
    "an option (an object)",
    _our_option,
    required("name", _VARIABLE_NAME),
    required("section", _SECTION),
    required("type", _TYPE),
    required("long", _LONG_NAME),
    optional("short", _SHORT_NAME),
    optional("help", _TEXT),
    optional("default", anything),
    optional("default_decimal", string("an integer as decimal text (at most 39 digits)", _is_decimal, 1, 40)),
    optional("choices", list_of("names", _NAME)),
)
_TARGET = _printable("a target", 1, MAX_SECTION_LENGTH)
_HOOK_PROGRAM = record(
    "a program of a hook (an object)",
    HookProgram,
    required("name", _NAME),
    optional("targets", list_of(f"targets (at most {MAX_TARGETS})", _TARGET, 0, MAX_TARGETS)),
)
_ALTERNATIVE = record(
    "an alternative (an object)",
    Alternative,
    required("name", _NAME),
    required("programs", list_of("programs (at least 1)", _HOOK_PROGRAM, 1)),
)
_HOOK = record(
    "a hook (an object)",
    Hook,
    required("name", _NAME),
    required("alternatives", list_of("alternatives (at least 1)", _ALTERNATIVE, 1)),
    optional("optional", _FLAG),
)
_NAMES = list_of("names", _NAME)
_MEMORY = integer(f"bytes (integer from 0 to {MAX_EXACT_INTEGER})", 0, MAX_EXACT_INTEGER)
_BEHAVIOUR = record(
    "a behaviour (an object)",
    Behaviour,
    optional(
        "programs",
        list_of(
            "programs",
            record(
                "a program (an object)",
                ProgramBehaviour,
                required("name", _NAME),
                required("type", _NAME),
                required("section", _SECTION),
            ),
        ),
    ),
    optional(
        "maps",
        list_of(
            "maps",
            record(
                "a map (an object)",
                MapBehaviour,
                required("name", _NAME),
                required("type", _NAME),
                required("key_size", _BYTES, "key_size_bytes"),
                required("value_size", _BYTES, "value_size_bytes"),
                required("max_entries", _U32),
                optional("memory", _MEMORY, "memory_bytes"),
                optional("memory_per_cpu", _MEMORY, "memory_per_cpu_bytes"),
            ),
        ),
    ),
    optional("helpers", _NAMES),
    optional("kfuncs", _NAMES),
    optional("facts", mapping_of("an object with facts", _NAMES)),
)
_BASE64 = string("base64 text", str.isascii, 0, MAX_DOCUMENT_SIZE_BYTES)
_OBJECT_SIZE = integer(f"bytes (integer from 1 to {MAX_OBJECT_SIZE_BYTES})", 1, MAX_OBJECT_SIZE_BYTES)
_OBJECT: Check[dict[str, Any]] = record(
    "an object for a machine (an object)", dict, required("bpf_object", _BASE64), required("bpf_object_size", _OBJECT_SIZE)
)
_LIMIT = integer(f"a limit (integer from 1 to {MAX_EXACT_INTEGER})", 1, MAX_EXACT_INTEGER)
_U31 = integer("a limit (integer from 1 to 2147483647)", 1, 2**31 - 1)
_WASM: Check[dict[str, Any]] = record(
    "a Wasm module (an object)",
    dict,
    required("name", _NAME),
    required("module", _BASE64),
    required("module_size", integer(f"bytes (integer from 1 to {MAX_MODULE_SIZE_BYTES})", 1, MAX_MODULE_SIZE_BYTES)),
    optional("kind", one_of("handler")),
    optional("writes", list_of("names", _NAME)),
    optional("wasi", _FLAG),
    optional(
        "limits",
        record(
            "an object with limits",
            WasmLimits,
            optional("memory", _U31, "memory_bytes"),
            optional("stack", _U31, "stack_bytes"),
            optional("batch_ms", _U31),
            optional("fuel", _LIMIT),
            optional("emitted", _U31, "emitted_bytes"),
        ),
    ),
)
_KERNEL_BTF = record(
    "BTF of kernels (an object)",
    KernelBtf,
    required("machine", _NAME),
    required(
        "kernels",
        list_of("kernels", record("a kernel (an object)", Kernel, required("release", _NAME), optional("version", _TEXT))),
    ),
    required("btf", _BASE64),
)
_ECLI = record(
    "our part of the package (an object)",
    _ecli,
    required("format", integer("the integer 1", 1, 1)),
    required("name", _NAME),
    optional("version", _TEXT),
    optional("description", _TEXT),
    optional("license", _TEXT),
    optional("homepage", _TEXT),
    optional("arches", list_of("machines", _NAME)),
    optional("objects", mapping_of("an object with objects for machines", _OBJECT)),
    optional("exports", list_of("exports", _EXPORT)),
    optional("options", list_of("options", _OPTION)),
    optional("meanings", mapping_of("an object with maps", mapping_of("an object with key and value", _TEXTS))),
    optional("kernel_btf", list_of("BTF of kernels", _KERNEL_BTF)),
    optional("results", mapping_of("an object with global variables", _SAMPLE)),
    optional("hooks", list_of("hooks", _HOOK)),
    optional("behaviour", _BEHAVIOUR),
    optional("wasm", list_of("Wasm modules", _WASM)),
    optional(
        "build",
        record("an object with tools and sources", Build, optional("tools", _TEXTS), optional("sources", _TEXTS)),
    ),
)
_COMPOSED = (
    required("bpf_object", _BASE64),
    required("bpf_object_size", _OBJECT_SIZE),
    required("meta", METADATA),
)
UPSTREAM = record("a package (a JSON object)", _upstream, *_COMPOSED)
OURS = record("a package (a JSON object)", _ours, *_COMPOSED, required("ecli", _ECLI))
