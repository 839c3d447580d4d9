"""Hypothesis strategies for values of the package model: any value drawn is valid, and can be written and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from ecli_schemas.model import (
    FACTS,
    FORMAT_VERSION,
    Alternative,
    Behaviour,
    Build,
    Doc,
    EventType,
    Export,
    Hook,
    HookProgram,
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
    WasmModule,
)

if TYPE_CHECKING:
    from ecli_schemas.model import Json

EXACT = 2**53 - 1  # JSON numbers beyond are not exact (RFC 7493, section 2.2)

u32s = st.integers(0, 2**32 - 1)
i32s = st.integers(-(2**31), 2**31 - 1)
type_ids = st.integers(1, 2**32 - 1)
printable = st.characters(min_codepoint=0x20, max_codepoint=0x2FF).filter(str.isprintable)
names = st.text(printable, min_size=1, max_size=20)
maybe_names = st.text(printable, max_size=20)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
word_characters = "abcXYZ019_"
option_names = st.builds(str.__add__, st.sampled_from(word_characters), st.text(word_characters + "-.", max_size=10))

scalars: st.SearchStrategy[Json] = (
    st.none()
    | st.booleans()
    | st.integers(-EXACT, EXACT)
    | st.floats(-EXACT, EXACT)
    | st.text(st.characters(codec="utf-8"), max_size=10)
)
json_values: st.SearchStrategy[Json] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
defaults: st.SearchStrategy[Json] = (
    json_values | st.integers(-(2**127), 2**128 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)

docs = st.builds(Doc, brief=texts, details=texts, version=texts, description=texts, license=texts, homepage=texts)
options = st.builds(
    Option,
    name=option_names,
    section=st.sampled_from([".rodata", ".data", ".bss", ".rodata.config", ".data.a.b"]),
    type=st.sampled_from(["int", "u64", "_Bool", "char[16]", "enum mode", "double"]) | maybe_names,
    long=option_names,
    short=st.sampled_from(["", *"abc012"]),
    help=texts,
    default=defaults,
    choices=st.lists(names, max_size=3).map(tuple),
)
samples = st.builds(
    Sample,
    interval_ms=st.integers(1, EXACT),
    kind=st.sampled_from(["log2_hist", "linear_hist", "default_kv"]),
    unit=texts,
    clear=st.booleans(),
)
stack_traces = st.builds(
    StackTrace,
    with_symbols=st.booleans(),
    **dict.fromkeys(("pid", "cpu_id", "comm", "kstack_sz", "ustack_sz", "kstack", "ustack"), names),
)
maps = st.builds(
    MapSpec,
    name=names,
    ident=st.sampled_from(["rodata", "bss"]) | names,
    mmaped=st.booleans(),
    sample=st.none() | samples,
    stack_trace=st.none() | stack_traces,
)
attach_parameters: st.SearchStrategy[dict[str, Json]] = st.fixed_dictionaries(
    {},
    optional={
        "ifindex": i32s,
        "flags": u32s,
        "xdpopts": st.fixed_dictionaries({}, optional={"old_prog_fd": i32s}),
        "tchook": st.fixed_dictionaries(
            {},
            optional={"ifindex": i32s, "attach_point": st.sampled_from(["BPF_TC_INGRESS", "BPF_TC_EGRESS"])},
        ),
        "tcopts": st.fixed_dictionaries({}, optional={"handle": u32s, "priority": u32s}),
    },
)
programs = st.builds(ProgramSpec, name=names, section=names, link=st.booleans(), attach=attach_parameters)
members = st.builds(Member, name=maybe_names, type=maybe_names, byte_offset=st.none() | u32s, btf_id=st.none() | type_ids)
event_types = st.builds(
    EventType,
    name=maybe_names,
    size_bytes=st.none() | u32s,
    btf_id=st.none() | type_ids,
    members=st.lists(members, max_size=3).map(tuple),
    layout=st.none() | st.dictionaries(texts, json_values, max_size=3),
    meanings=st.dictionaries(texts, texts, max_size=2),
    tag=st.none() | st.builds(Tag, member=names, values=st.lists(st.integers(-EXACT, EXACT), max_size=3).map(tuple)),
)
name_lists = st.lists(names, max_size=2).map(tuple)
behaviours = st.builds(
    Behaviour,
    programs=st.lists(st.builds(ProgramBehaviour, name=names, type=names, section=names), max_size=2).map(tuple),
    maps=st.lists(
        st.builds(
            MapBehaviour,
            name=names,
            type=names,
            key_size_bytes=u32s,
            value_size_bytes=u32s,
            max_entries=u32s,
            memory_bytes=st.none() | st.integers(0, EXACT),
            memory_per_cpu_bytes=st.integers(0, EXACT),
        ),
        max_size=2,
    ).map(tuple),
    helpers=name_lists,
    kfuncs=name_lists,
    facts=st.dictionaries(st.sampled_from(FACTS) | texts, name_lists, max_size=2),
)
builds = st.builds(
    Build,
    tools=st.dictionaries(texts, texts, max_size=2),
    sources=st.dictionaries(texts, texts, max_size=2),
)


@st.composite
def exports(draw: st.DrawFn, map_names: list[str]) -> tuple[Export, ...]:
    """Draw at most one export for each map: of those named, of one that the package does not name, or of all."""
    chosen = draw(st.lists(st.none() | st.sampled_from([*map_names, "elsewhere"]), unique=True, max_size=3))
    types = st.lists(event_types, max_size=2).map(tuple)
    return tuple([Export(name, draw(types)) for name in chosen])


limits = st.none() | st.integers(1, 2**31 - 1)
wasm_modules = st.builds(
    WasmModule,
    name=names,
    code=st.binary(max_size=64).map(lambda data: b"\0asm" + data),
    writes=name_lists,
    wasi=st.booleans(),
    limits=st.builds(
        WasmLimits,
        memory_bytes=limits,
        stack_bytes=limits,
        batch_ms=limits,
        fuel=st.none() | st.integers(1, EXACT),
        emitted_bytes=limits,
    ),
)


@st.composite
def hooks(draw: st.DrawFn) -> tuple[Hook, ...]:
    """Draw hooks; no program is in two of them."""
    free = iter(draw(st.lists(names, unique=True, min_size=8, max_size=8)))
    targets = st.lists(names, max_size=3).map(tuple)

    def alternative() -> Alternative:
        count = draw(st.integers(1, 2))
        programs = tuple([HookProgram(next(free), draw(targets)) for _ in range(count)])
        return Alternative(programs[0].name, programs)

    return tuple(
        [
            Hook(name, tuple([alternative() for _ in range(draw(st.integers(1, 2)))]), draw(st.booleans()))
            for name in draw(st.lists(names, unique=True, max_size=2))
        ]
    )


elves = st.binary(max_size=64).map(lambda data: b"\x7fELF" + data)


@st.composite
def packages(draw: st.DrawFn) -> Package:
    """Draw a package of our format."""
    specs = draw(st.lists(maps, max_size=3, unique_by=lambda spec: spec.name))
    by_long_name = draw(st.lists(options, max_size=4, unique_by=lambda option: option.long))
    short_names = [option.short for option in by_long_name]
    return Package(
        name=draw(names),
        object_name=draw(names),
        object=draw(elves),
        arches=tuple(draw(st.lists(names, max_size=2))),
        objects=draw(st.dictionaries(names, elves, max_size=2)),
        doc=draw(docs),
        options=tuple(
            [
                option.replace(short="") if option.short in short_names[:index] else option
                for index, option in enumerate(by_long_name)
            ]
        ),
        maps=tuple(specs),
        programs=tuple(draw(st.lists(programs, max_size=3))),
        exports=draw(exports([spec.name for spec in specs])),
        poll_timeout_ms=draw(i32s),
        perf_buffer_page_count=draw(st.integers(1, 65536)),
        meanings=draw(
            st.dictionaries(texts, st.dictionaries(texts, st.dictionaries(texts, texts, max_size=1), max_size=2), max_size=2)
        ),
        hooks=draw(hooks()),
        behaviour=draw(st.none() | behaviours),
        wasm=tuple(draw(st.lists(wasm_modules, max_size=2, unique_by=lambda module: module.name))),
        build=draw(st.none() | builds),
        format=FORMAT_VERSION,
        upstream_version=draw(texts),
    )
