"""Sources become packages: what a reader of the package is told about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ecli_packager.build import Request, build
from ecli_packager.errors import CompileError, ExportError
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.errors import OptionError
from ecli_runtime.opening import OpenSession
from ecli_schemas.errors import EcliError
from ecli_schemas.model import Package, Tag
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define RING(name) struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } name SEC(".maps")
char LICENSE[] SEC("license") = "GPL";
"""
PROGRAM = """
SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	%s
	return 0;
}
"""
SEND = (
    "%s *e = bpf_ringbuf_reserve(&%s, sizeof(*e), 0); if (!e) return 0; "
    "__builtin_memset(e, 0, sizeof(*e)); bpf_ringbuf_submit(e, 0);"
)

SAMPLES = Path(__file__).parents[2] / "samples"

Make = Callable[..., Package]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build_text(text: str, name: str = "tool.bpf.c", **request: object) -> Package:
        source = tmp_path / name
        source.write_text(HEAD + text)
        result = build(Request((source,), **request))  # type: ignore[arg-type]
        assert result.diagnostics == ""
        assert read_package(write_package(result.package)) == result.package
        return result.package

    return build_text


def types(package: Package) -> dict[str | None, list[str]]:
    return {export.map: [each.name for each in export.types] for export in package.exports}


def test_the_type_of_events_is_read_from_the_code(make: Make) -> None:
    package = make("struct event { int pid; long long at; };\nRING(events);" + PROGRAM % (SEND % ("struct event", "events")))
    (export,) = package.exports
    assert export.map == "events"
    (event,) = export.types
    assert (event.name, event.size_bytes) == ("event", 16)
    assert [(member.name, member.type) for member in event.members] == [("pid", "int"), ("at", "long long")]
    assert event.layout is not None
    assert event.layout["members"] == [
        {"name": "pid", "bit_offset": 0, "layout": {"kind": "int", "signed": True, "type": "int", "size": 4}},
        {"name": "at", "bit_offset": 64, "layout": {"kind": "int", "signed": True, "type": "long long", "size": 8}},
    ]
    assert (package.name, package.object_name, package.doc.license) == ("tool", "tool_bpf", "GPL")
    assert [(program.name, program.section) for program in package.programs] == [("on_exec", "tp/sched/sched_process_exec")]
    # What keeps the type in the object is no option and no map.
    assert package.options == ()
    assert [each.name for each in package.maps] == ["events"]


def test_a_typedef_of_an_anonymous_struct(make: Make) -> None:
    package = make("typedef struct { int a; } event_t;\nRING(events);" + PROGRAM % (SEND % ("event_t", "events")))
    assert types(package) == {"events": ["event_t"]}


def test_a_name_that_looks_like_an_option(make: Make) -> None:
    text = "struct event { int pid; };\nRING(events);" + PROGRAM % (SEND % ("struct event", "events"))
    assert types(make(text, name="-x.bpf.c")) == {"events": ["event"]}


def test_two_maps_and_two_types_in_one(make: Make) -> None:
    sends = (("struct a", "x"), ("struct b", "y"), ("struct a", "y"))
    body = " ".join("{" + SEND % send + "}" for send in sends)
    package = make("struct a { int v; };\nstruct b { long v[2]; };\nRING(x);\nRING(y);" + PROGRAM % body)
    assert types(package) == {"x": ["a"], "y": ["a", "b"]}


def test_two_structs_of_one_size_are_told_apart_by_the_variable(make: Make) -> None:
    text = "struct a { int v; };\nstruct b { int w; };\nstruct b unused = {1};\nRING(events);" + PROGRAM % (
        SEND % ("struct a", "events")
    )
    assert types(make(text)) == {"events": ["a"]}


def test_an_ambiguous_type_is_asked_for(make: Make) -> None:
    text = (
        "struct a { int v; };\nstruct b { int w; };\nstruct b unused = {1};\nstruct a used;\nRING(events);"
        + PROGRAM % "void *e = bpf_ringbuf_reserve(&events, 4, 0); if (e) bpf_ringbuf_discard(e, 0);"
    )
    with pytest.raises(ExportError, match="struct a or struct b"):
        make(text)
    assert types(make(text, exports={"events": ["b"]})) == {"events": ["b"]}


def test_the_header_argument_names_the_events(make: Make, tmp_path: Path) -> None:
    header = tmp_path / "tool.h"
    header.write_text("struct event { int v; };\n")
    text = '#include "tool.h"\nstruct same { int w; };\nstruct same unused = {1};\nRING(events);' + PROGRAM % (
        SEND % ("struct event", "events")
    )
    package = make(text, header=header)
    assert types(package) == {"events": ["event"]}
    assert package.build is not None
    assert set(package.build.sources) >= {"tool.bpf.c", "tool.h"}


def test_globals_become_options(make: Make) -> None:
    package = make(
        """
enum mode { FAST, SLOW };
const volatile int level = -3; // How much.
/* Which way. */
const volatile enum mode mode = SLOW;
const volatile _Bool loud = 1;
const volatile char who[8] = "me";
unsigned long long start = 1ULL << 63;
static volatile int hidden;
__u64 events_lost;
struct { int a; } compound;
struct event { int v; };
RING(events);
"""
        + PROGRAM
        % (
            "if (level || mode || loud || who[0]) start++; hidden++; events_lost++; compound.a++;"
            + SEND % ("struct event", "events")
        )
    )
    found = {option.name: option for option in package.options}
    assert set(found) == {"level", "mode", "loud", "who", "start"}
    assert (found["level"].default, found["level"].type, found["level"].help) == (-3, "int", "How much.")
    assert (found["mode"].default, found["mode"].choices, found["mode"].help) == ("SLOW", ("FAST", "SLOW"), "Which way.")
    assert (found["loud"].default, found["loud"].type) == (True, "bool")
    assert (found["who"].default, found["who"].type) == ("me", "char[8]")
    assert (found["start"].default, found["start"].section) == (1 << 63, ".data")


def test_a_map_of_slots_is_a_histogram(make: Make) -> None:
    package = make(
        """
struct hist { __u32 slots[26]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, struct hist);
} hists SEC(".maps");
"""
        + PROGRAM % "int zero = 0; bpf_map_lookup_elem(&hists, &zero);"
    )
    (hists,) = package.maps
    assert hists.sample is not None
    assert hists.sample.kind == "log2_hist"


def test_the_same_bytes_from_another_directory(make: Make, tmp_path: Path) -> None:
    text = "struct event { int v; };\nRING(events);" + PROGRAM % (SEND % ("struct event", "events"))
    other = tmp_path / "some" / "where else"
    other.mkdir(parents=True)
    (other / "tool.bpf.c").write_text(HEAD + text)
    assert write_package(make(text)) == write_package(build(Request((other / "tool.bpf.c",))).package)


def test_the_same_bytes_whatever_the_paths_are_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two dozen structs that are known by their names alone: clang has them in an order that depends on its memory.
    packages = set()
    for length in (1, 40, 80, 120):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("c" * length)))
        packages.add(write_package(build(Request((SAMPLES / "execsnoop" / "execsnoop.bpf.c",))).package))
    assert len(packages) == 1


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("int x;", CompileError, "holds no eBPF program"),
        (PROGRAM % "return undeclared;", CompileError, "compilation failed"),
        ('#include "nowhere.h"\n', CompileError, "compilation failed"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(make: Make, text: str, error: type[EcliError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make(text)
    if "nowhere" in text:
        assert "nowhere.h" in caught.value.hint
    if "undeclared" in text:
        assert isinstance(caught.value, CompileError)
        assert "tool.bpf.c:9:9: error: use of undeclared identifier 'undeclared'" in caught.value.diagnostics


def test_a_source_may_have_the_name_of_a_kfunc_for_itself(tmp_path: Path) -> None:
    source = tmp_path / "tool.bpf.c"
    source.write_text(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
        "static __noinline int bpf_task_release(int value) { return value + 1; }\n"
        'SEC("raw_tp/sched_process_exec") int on_exec(void *ctx) { return bpf_task_release(1); }\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    assert build(Request((source,))).package.programs[0].name == "on_exec"


VMLINUX_PROGRAM = """
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
SEC("raw_tp/sched_process_exec") int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	%s
	return BPF_CORE_READ(task, pid);
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize(
    ("declarations", "body"),
    [
        ("enum { PIDTYPE_PID = 7, MINE };", "if (PIDTYPE_PID == MINE) return 0;"),
        ("struct key { int mine; };", "struct key key = { 1 }; if (key.mine > 1) return 0;"),
        ("typedef struct { int mine; } pte_t;\nenum pid_type { MINE };", "pte_t pte = { MINE }; if (pte.mine) return 0;"),
        (
            "struct pid { int mine; };\nstatic int bpf_task_release(int it) { return it; }",
            "struct pid p = {}; if (p.mine) return 0;",
        ),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["vmlinux.h first", "vmlinux.h last"])
def test_what_an_author_names_like_the_kernel_is_his(tmp_path: Path, declarations: str, body: str, first: bool) -> None:
    source = tmp_path / "tool.bpf.c"
    heads = ['#include "vmlinux.h"', declarations]
    source.write_text("\n".join(heads if first else heads[::-1]) + VMLINUX_PROGRAM % body)
    result = build(Request((source,)))
    assert result.diagnostics == ""
    assert b"___vmlinux" not in result.package.object or b"task_struct___vmlinux" not in result.package.object


@pytest.mark.parametrize(
    "declared",
    [
        "static long (*bpf_get_current_comm)(void *, __u32) = (void *) 16;",
        "static int (*const bpf_get_current_comm)(char *to, int size) = (void *) BPF_FUNC_get_current_comm;",
        "static long (*bpf_get_current_comm)(void *, __u32) = (void *) 16;\nstruct key { int mine; };",
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["before libbpf's", "after libbpf's"])
def test_a_helper_that_an_author_declares_for_older_headers_is_his(tmp_path: Path, declared: str, first: bool) -> None:
    source = tmp_path / "tool.bpf.c"
    heads = [declared, "#include <bpf/bpf_helpers.h>"]
    body = "char name[16]; bpf_get_current_comm(name, 16); return name[0];"
    source.write_text("\n".join(['#include "vmlinux.h"', *(heads if first else heads[::-1])]) + VMLINUX_PROGRAM % body)
    result = build(Request((source,)))
    assert result.diagnostics == ""
    assert result.package.behaviour is not None
    assert "bpf_get_current_comm" in result.package.behaviour.helpers


def test_a_type_that_the_kernel_does_not_have(tmp_path: Path) -> None:
    source = tmp_path / "tool.bpf.c"
    source.write_text('#include "vmlinux.h"\nstruct not_of_this_kernel;\n' + VMLINUX_PROGRAM % "struct not_of_this_kernel it;")
    with pytest.raises(CompileError) as caught:
        build(Request((source,)))
    assert caught.value.hint.startswith("if struct not_of_this_kernel is the kernel's: the one that vmlinux.h is of has none")


def test_a_number_is_an_event_also_beside_names_of_the_kernel(tmp_path: Path) -> None:
    source = tmp_path / "tool.bpf.c"
    ring = 'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");'
    body = "char line[8] = {}; bpf_get_current_comm(line, 8); bpf_ringbuf_output(&events, line, 8, 0);"
    text = VMLINUX_PROGRAM.replace('SEC("raw_tp', ring + '\nSEC("raw_tp')
    source.write_text('#include "vmlinux.h"\nstruct key { int mine; };\n' + text % body)
    assert types(build(Request((source,))).package) == {"events": ["char[8]"]}


@pytest.mark.parametrize("header", ["stddef.h", "stdint.h", "inttypes.h", "stdbool.h", "errno.h"])
@pytest.mark.parametrize("first", [True, False], ids=["vmlinux.h first", "vmlinux.h last"])
def test_headers_of_the_c_library_beside_vmlinux(tmp_path: Path, header: str, first: bool) -> None:
    source = tmp_path / "tool.bpf.c"
    heads = ['#include "vmlinux.h"', f"#include <{header}>"]
    body = {
        "stddef.h": "if (!task || offsetof(struct task_struct, pid) == 1) return 0;",
        "errno.h": "if (!task) return -EINVAL;",
        "stdbool.h": "bool none = !task; if (none == true) return 0;",
    }.get(header, "uint64_t at = (uintptr_t)task; if (at > UINT32_MAX) return INT8_MAX;")
    source.write_text("\n".join(heads if first else heads[::-1]) + VMLINUX_PROGRAM % body)
    assert build(Request((source,))).diagnostics == ""


def test_a_header_of_the_kernel_beside_vmlinux(tmp_path: Path) -> None:
    source = tmp_path / "tool.bpf.c"
    source.write_text('#include "vmlinux.h"\n#include <linux/if_ether.h>\n' + VMLINUX_PROGRAM % "")
    with pytest.raises(CompileError, match="compilation failed") as caught:
        build(Request((source,)))
    assert caught.value.hint.startswith("vmlinux.h has the types of <linux/if_ether.h>: leave that header out")


def test_what_clang_used_to_warn_of_is_a_warning(tmp_path: Path) -> None:
    source = tmp_path / "tool.bpf.c"
    source.write_text(
        HEAD + 'SEC("raw_tp/sched_process_exec") int on_exec(void *ctx) { int *p = 5; char *q = p; return q == ctx; }\n'
    )
    result = build(Request((source,)))
    assert "warning: incompatible integer to pointer conversion" in result.diagnostics


def test_the_value_type_of_an_event_map_names_its_events(make: Make) -> None:
    text = """
struct event { int v; };
struct same { int w; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct event);
} events SEC(".maps");
struct same unused = {1};
"""
    body = "void *e = bpf_ringbuf_reserve(&events, 4, 0); if (e) bpf_ringbuf_discard(e, 0);"
    assert types(make(text + PROGRAM % body)) == {"events": ["event"]}


def test_what_the_kernels_configuration_fills_is_shown_and_not_set(make: Make, tmp_path: Path) -> None:
    package = make(
        "extern int LINUX_KERNEL_VERSION __kconfig;\n// Ticks a second.\nextern int CONFIG_HZ __kconfig;\n"
        + PROGRAM % "return CONFIG_HZ + LINUX_KERNEL_VERSION;"
    )
    (option,) = package.options
    assert (option.name, option.section, option.default, option.help) == ("CONFIG_HZ", ".kconfig", None, "Ticks a second.")
    with OpenSession(package) as opened:
        assert opened.options() == []
        with pytest.raises(OptionError, match="cannot be set"):
            opened.set("CONFIG_HZ", 5)


@pytest.mark.parametrize(
    ("results", "deletes", "shown"),
    [
        ("long", "starts", ["results"]),  # when it began is what is under way; how long it took is what came out
        ("long", "results", ["starts"]),
        ("long", "neither", ["results", "starts"]),
        ("struct alloc", "results", ["results", "starts"]),  # what was not freed, and where it was allocated
    ],
)
def test_what_programs_delete_again_is_not_shown_beside_results(make: Make, results: str, deletes: str, shown: list[str]) -> None:
    maps = "".join(
        "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, "
        f'{value}); }} {name} SEC(".maps");\n'
        for name, value in (("starts", "long"), ("results", results))
    )
    delete = f"bpf_map_delete_elem(&{deletes}, &k);" if deletes != "neither" else ""
    body = "int k = 0; long v[2] = {}; bpf_map_update_elem(&starts, &k, v, 0); bpf_map_update_elem(&results, &k, v, 0);"
    package = make(f"struct alloc {{ long size; int stack_id; }};\n{maps}\n" + PROGRAM % (body + delete))
    assert sorted(each.name for each in package.maps if each.sample) == shown


def test_counts_by_stack_trace_are_a_profile(make: Make) -> None:
    package = make(
        """
struct key { int pid; int kernel_stack; int user_stack; };
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 800); __uint(max_entries, 8); } stacks
	SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, struct key); __type(value, long); } counts
	SEC(".maps");
"""
        + PROGRAM
        % (
            "struct key k = {}; long one = 1; k.kernel_stack = bpf_get_stackid(ctx, &stacks, 0);"
            "bpf_map_update_elem(&counts, &k, &one, 0);"
        )
    )
    specs = {each.name: each for each in package.maps}
    assert specs["stacks"].sample is None
    assert specs["counts"].sample is not None
    assert specs["counts"].stack_trace is not None
    assert (specs["counts"].stack_trace.kstack, specs["counts"].stack_trace.ustack) == ("kernel_stack", "user_stack")


def test_a_key_that_holds_the_stack_itself_is_no_profile(make: Make) -> None:
    text = """
struct key { long stack[8]; int stack_bytes; };
struct hist { __u32 slots[26]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, struct key); __type(value, struct hist); } hists
SEC(".maps");
"""
    body = (
        "struct key k = {}; struct hist h = {}; k.stack_bytes = bpf_get_stack(ctx, k.stack, sizeof(k.stack), 0);"
        " bpf_map_update_elem(&hists, &k, &h, 0);"
    )
    (spec,) = make(text + PROGRAM % body).maps
    assert (spec.sample is not None, spec.stack_trace) == (True, None)


TWO_KINDS = """
enum kind { EXEC = 1, EXIT, FORK };
struct head { __u64 at; enum kind kind; };
struct a { struct head head; int pid; };
struct b { struct head head; int code; };
RING(events);
%s
SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	struct a *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) return 0;
	e->head.at = bpf_ktime_get_ns(); e->head.kind = %s; e->pid = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
SEC("tp/sched/sched_process_exit") int on_exit(void *ctx)
{
	struct b e = {};
	e.head.at = bpf_ktime_get_ns(); e.head.kind = bpf_get_smp_processor_id() ? EXIT : FORK; e.code = 2;
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""


def tags(package: Package) -> dict[str, Tag | None]:
    return {each.name: each.tag for export in package.exports for each in export.types}


def test_an_enum_that_tells_types_of_one_size_apart_is_found(make: Make) -> None:
    package = make(TWO_KINDS % ("", "EXEC"))
    assert tags(package) == {"a": Tag("head.kind", (1,)), "b": Tag("head.kind", (2, 3))}


def test_constants_that_the_compiler_stores_together_are_told_apart(make: Make) -> None:
    package = make(
        """
struct head { __u64 at; __u32 pid; __u32 kind; };
struct a { struct head head; long long read; };
struct b { struct head head; unsigned long long written; };
RING(events);
SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	struct a e = { { 5, 1, 7 }, 2 };
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
SEC("tp/sched/sched_process_exit") int on_exit(void *ctx)
{
	struct b e = { { 5, 1, 9 }, 2 };
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""
    )
    assert tags(package) == {"a": Tag("head.kind", (7,)), "b": Tag("head.kind", (9,))}


def test_as_many_elements_of_an_array_as_there_are(make: Make) -> None:
    package = make(
        """
struct item { __u64 at; __u64 what; };
struct batch { __u32 count, size; struct item items[8]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct batch);
} batches SEC(".maps");
RING(events);
"""
        + PROGRAM
        % (
            "__u32 zero = 0; struct batch *batch = bpf_map_lookup_elem(&batches, &zero); if (!batch) return 0; "
            "bpf_ringbuf_output(&events, batch->items, (batch->count & 7) * sizeof(struct item), 0);"
        )
    )
    assert types(package) == {"events": ["item[8]"]}
    (layout,) = [each.layout for each in package.exports[0].types]
    assert layout is not None
    assert (layout["kind"], layout["count"]) == ("array", 8)


def test_an_author_can_say_what_tells_types_of_one_size_apart(make: Make) -> None:
    annotated = "// @export struct a when head.kind=EXEC, struct b when head.kind=EXIT|3\n"
    head, ring, rest = (TWO_KINDS % ("", "*(volatile int *)ctx")).partition("RING(events);")
    assert tags(make(head + annotated + ring + rest)) == {"a": Tag("head.kind", (1,)), "b": Tag("head.kind", (2, 3))}
    said = ["struct a when head.kind=EXEC", "struct b when head.kind=EXIT"]
    assert tags(make(head + ring + rest, exports={"events": said})) == {"a": Tag("head.kind", (1,)), "b": Tag("head.kind", (2,))}
    with pytest.raises(ExportError, match=r"^tool.bpf.c:11:12: @export: struct a has no integer or enum 'kind'$"):
        make(head + annotated.replace("head.", "") + ring + rest)


def test_types_of_one_size_in_one_map_are_warned_of(tmp_path: Path) -> None:
    source = tmp_path / "tool.bpf.c"
    source.write_text(HEAD + TWO_KINDS % ("", "*(volatile int *)ctx"))
    result = build(Request((source,)))
    assert tags(result.package) == {"a": None, "b": None}
    assert "map events: a and b both have 24 bytes, and nothing tells them apart" in result.diagnostics
    assert "@export struct a when MEMBER=VALUE" in result.diagnostics


@pytest.mark.parametrize(
    ("body", "said", "name", "event"),
    [
        ("char line[64] = {}; bpf_get_current_comm(line, 64); bpf_ringbuf_output(&events, line, 64, 0);", "", "char[64]", "abc"),
        ("__u64 at = bpf_ktime_get_ns(); bpf_ringbuf_output(&events, &at, 8, 0);", "", "__u64", 6513249),
        ("char *line = bpf_ringbuf_reserve(&events, 32, 0); if (line) bpf_ringbuf_discard(line, 0);", "", "char[32]", "abc"),
        ("void *it = bpf_ringbuf_reserve(&events, 64, 0); if (it) bpf_ringbuf_discard(it, 0);", "char [64]", "char[64]", "abc"),
        ("void *it = bpf_ringbuf_reserve(&events, 8, 0); if (it) bpf_ringbuf_discard(it, 0);", "__u64", "__u64", 6513249),
        ("void *it = bpf_ringbuf_reserve(&events, 8, 0); if (it) bpf_ringbuf_discard(it, 0);", "long int", "long", 6513249),
    ],
)
def test_events_that_are_no_struct(make: Make, body: str, said: str, name: str, event: object) -> None:
    package = make("RING(events);" + PROGRAM % body, exports={"events": [said]} if said else {})
    assert types(package) == {"events": [name]}
    with OpenSession(package) as opened:
        (plan,) = opened.sources()[0].plans
        assert make_decoder(plan)(b"abc".ljust(64, b"\0")) == {"value": event}


def test_a_type_that_a_function_declares_for_itself(make: Make) -> None:
    body = "struct inner { int v[3]; } *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0); if (e) bpf_ringbuf_discard(e, 0);"
    with pytest.raises(ExportError, match="struct inner is declared inside of a function") as caught:
        make("RING(events);" + PROGRAM % body)
    assert caught.value.hint == "declare it outside"


def test_events_may_be_of_a_type_of_the_kernel(make: Make) -> None:
    body = "void *it = bpf_ringbuf_reserve(&events, 20, 0); if (it) bpf_ringbuf_discard(it, 0);"
    text = "#include <linux/ip.h>\nRING(events);" + PROGRAM % body
    assert types(make(text, exports={"events": ["struct iphdr"]})) == {"events": ["iphdr"]}
    for name in ("struct gone", "gone[4]", "int x) {} int y(int"):
        with pytest.raises(ExportError, match="the source declares no type"):
            make(text, exports={"events": [name]})
