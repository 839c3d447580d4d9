"""Packages that the kernel refuses to load: which line of C is at fault, why, and what usually helps."""

from __future__ import annotations

import re

import pytest

from tests.cli import Ecli

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

HEAD = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, char[64]);
} buffer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

const u32 zero = 0;
"""
LICENSE = '\nchar LICENSE[] SEC("license") = "GPL";\n'
TRACEPOINT = 'SEC("tp/sched/sched_switch") int run(void *ctx)'


def refused(build: Ecli, code: str, licence: str = LICENSE) -> tuple[str, int]:
    """Build and run a program that is refused; return the error output and the number of the line that is marked."""
    text = HEAD + code + licence
    (build.directory / "tool.bpf.c").write_text(text)
    outcome = build("build", "tool.bpf.c")
    assert outcome.status == 0, outcome.stderr
    iface = ["--iface", "lo"] if 'SEC("xdp")' in code else []
    said = build("run", "tool.json", "--duration", "10ms", *iface).fails("error: ")
    return said, next((number for number, line in enumerate(text.splitlines(), 1) if "// here" in line), 0)


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        pytest.param(
            f"""{TRACEPOINT} {{
	u64 *count = bpf_map_lookup_elem(&counts, &zero);
	*count += 1; // here
	return 0;
}}""",
            "permission denied: R0 invalid mem access 'map_value_or_null'",
            "returns NULL for a key that is not there",
            id="no test for NULL",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	char *bytes = bpf_map_lookup_elem(&buffer, &zero);
	u32 at = bpf_get_prandom_u32();
	if (bytes)
		bytes[at] = 1; // here
	return 0;
}}""",
            "unbounded memory access",
            "bound the index right before it is used",
            id="an index without bounds",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	char bytes[8];
	u32 size = bpf_get_prandom_u32();
	bpf_probe_read_kernel(bytes, size, ctx); // here
	return bytes[0];
}}""",
            "permission denied: R2 min value is negative",
            "if (n > MAX) return 0;",
            id="a size without bounds",
        ),
        pytest.param(
            """SEC("raw_tp/sched_switch") int run(struct bpf_raw_tracepoint_args *ctx) {
	struct task_struct *task = (void *)ctx->args[1];
	return task->pid; // here
}""",
            "R1 invalid mem access ",
            "BPF_CORE_READ",
            id="a number as a pointer",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	char *bytes = ctx;
	return bytes[100000]; // here
}}""",
            "dereference of modified ctx ptr R1 off=100000 disallowed",
            "of the context, members are read by their names",
            id="beyond the context",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	volatile u32 i = 0;
	while (1)
		i = bpf_get_prandom_u32(); // here
	return i;
}}""",
            "invalid argument: infinite loop detected at insn ",
            "each loop needs an end",
            id="an endless loop",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	return bpf_xdp_adjust_head(ctx, 4); // here
}}""",
            "cannot use helper bpf_xdp_adjust_head#44",
            "bpf_xdp_adjust_head is for programs of other types",
            id="a helper of other types",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	char *bytes = bpf_ringbuf_reserve(&ring, 8, 0);
	if (bytes)
		bytes[1] = 2;
	return 0; // here
}}""",
            "invalid argument: Unreleased reference id=",
            "with bpf_ringbuf_submit or bpf_ringbuf_discard",
            id="a record that is not submitted",
        ),
        pytest.param(
            f"""{TRACEPOINT} {{
	char bytes[8];
	bpf_copy_from_user(bytes, 8, ctx); // here
	return 0;
}}""",
            "might sleep",
            "only sleepable programs",
            id="sleeping where one may not",
        ),
        pytest.param(
            f"""static __attribute__((noinline)) u64 scaled(u64 x) {{ return x * bpf_get_prandom_u32(); }}
static __attribute__((noinline)) u64 add(u64 *p) {{
	return *p + // here
		scaled(4);
}}
{TRACEPOINT} {{
	u64 sum = scaled(3);
	return sum + add(bpf_map_lookup_elem(&counts, &zero));
}}""",
            "R1 invalid mem access 'map_value_or_null'",
            "test it first",
            id="in a function that is called",
        ),
        pytest.param(
            f"""static long visit(struct bpf_map *map, u32 *key, u64 *value, void *context) {{
	return *(u64 *)bpf_map_lookup_elem(&counts, key); // here
}}
{TRACEPOINT} {{
	return bpf_for_each_map_elem(&counts, visit, 0, 0);
}}""",
            "invalid mem access 'map_value_or_null'",
            "test it first",
            id="in a callback",
        ),
        pytest.param(
            # Since Linux 6.13, programs of tracepoints have a stack for each function.
            """static __attribute__((noinline)) int deep(int at) {
	volatile char bytes[400];
	bytes[at & 255] = 1;
	return bytes[at & 127];
}
SEC("xdp") int run(struct xdp_md *ctx) {
	volatile char bytes[400];
	u32 at = bpf_get_prandom_u32();
	bytes[at & 255] = 2;
	return deep(at) + bytes[at & 127];
}""",
            "combined stack size",
            "512 bytes of stack together",
            id="too much stack",
        ),
        pytest.param(
            f"""static long (*no_such_helper)(void) = (void *)300;
{TRACEPOINT} {{
	return no_such_helper(); // here
}}""",
            "invalid func unknown#300",
            "no kernel has that helper",
            id="an unknown helper",
        ),
    ],
)
def test_a_program_that_the_verifier_refuses(build: Ecli, code: str, reason: str, hint: str) -> None:
    said, line = refused(build, code)
    first, *rest = said.splitlines()
    assert first.startswith("error: run: ")
    assert reason in first
    assert re.search(r" \(\d+ lines? omitted; --verbose shows all\)$", first), first
    if line:
        assert f" at tool.bpf.c:{line} " in first
        assert "// here" in said  # the line itself is shown
        assert any(each.startswith("  instruction ") for each in rest)
    assert hint in rest[-1]


def test_registers_that_matter_are_shown(build: Ecli) -> None:
    said, _line = refused(build, f"{TRACEPOINT} {{ u64 *n = bpf_map_lookup_elem(&counts, &zero); return *n; }}")
    assert re.search(r"^  instruction \d+: r\d = \*\(u64 \*\)\(r0 \+0\); R0=map_value_or_null\(id=\d+,[^;]*$", said, re.MULTILINE)


def test_what_was_acquired_is_named_with_its_line(build: Ecli) -> None:
    code = f"{TRACEPOINT} {{\n\tchar *p = bpf_ringbuf_reserve(&ring, 8, 0); // here\n\tif (p)\n\t\tp[0] = 1;\n\treturn 0;\n}}"
    said, line = refused(build, code)
    assert f"what bpf_ringbuf_reserve returns at tool.bpf.c:{line} must be given back" in said


def test_a_program_that_is_too_large(build: Ecli) -> None:
    """Its log has tens of megabytes, and the reason is at the end."""
    loop = "for (u32 i = 0; i < 10000000; i++)\n\t\tsum += bpf_ktime_get_ns();"
    code = f"{TRACEPOINT} {{\n\tu64 sum = 0;\n\t{loop}\n\treturn sum;\n}}"
    said, _line = refused(build, code)
    assert "argument list too long: BPF program is too large. Processed 1000001 insn at tool.bpf.c:" in said
    assert "at most 1,000,000 instructions" in said


def test_a_licence_that_is_none(build: Ecli) -> None:
    code = f"{TRACEPOINT} {{\n\tchar b[8];\n\tbpf_probe_read_kernel(b, 8, ctx); // here\n\treturn b[0];\n}}"
    said, line = refused(build, code, licence='\nchar LICENSE[] SEC("license") = "MIT";\n')
    assert f"GPL-restricted function from non-GPL compatible program at tool.bpf.c:{line} " in said
    assert '"Dual MIT/GPL"' in said


@pytest.mark.parametrize(
    ("declaration", "read", "problem", "hint"),
    [
        (
            "struct task_struct___x { int pidd; } __attribute__((preserve_access_index));",
            "BPF_CORE_READ((struct task_struct___x *)bpf_get_current_task(), pidd)",
            "this kernel's struct task_struct has no member pidd, which tool.bpf.c:",
            "did you mean pid",
        ),
        (
            """struct signal_struct___x { int no; } __attribute__((preserve_access_index));
struct task_struct___x { struct signal_struct___x *signal; } __attribute__((preserve_access_index));""",
            "BPF_CORE_READ((struct task_struct___x *)bpf_get_current_task(), signal, no)",
            "this kernel's struct signal_struct has no member no, which tool.bpf.c:",
            "bpf_core_field_exists()",
        ),
        (
            "struct no_such_struct { int x; } __attribute__((preserve_access_index));",
            "BPF_CORE_READ((struct no_such_struct *)bpf_get_current_task(), x)",
            "this kernel has no struct no_such_struct, which tool.bpf.c:",
            "bpf_core_field_exists()",
        ),
        (
            "enum pid_type___x { PIDTYPE_NONSENSE = 77 };",
            "bpf_core_enum_value(enum pid_type___x, PIDTYPE_NONSENSE)",
            "this kernel's enum pid_type has no PIDTYPE_NONSENSE, which tool.bpf.c:",
            "bpf_core_enum_value_exists()",
        ),
    ],
)
def test_types_that_the_kernel_has_not(build: Ecli, declaration: str, read: str, problem: str, hint: str) -> None:
    said, _line = refused(build, f"{declaration}\n{TRACEPOINT} {{\n\treturn {read};\n}}")
    assert f"error: run: {problem}" in said
    assert hint in said


@pytest.mark.parametrize(
    ("members", "problem", "hint"),
    [
        ("__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 0);", "broken (array)", "it has no max_entries"),
        ("__uint(type, 99); __uint(max_entries, 1);", "broken (type 99)", "this kernel has no maps of that type"),
        (
            "__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1 << 30); __uint(value_size, 2048);",
            "broken (array) cannot be created: Cannot allocate memory",
            "it would take about 2,199,023.3 MB for 1,073,741,824 entries",
        ),
        ("__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 9); __uint(map_flags, 1 << 30);", "broken (hash)", "9 entries"),
    ],
)
def test_maps_that_cannot_be_created(build: Ecli, members: str, problem: str, hint: str) -> None:
    value = "" if "value_size" in members else "__type(value, u64); "
    code = f'struct {{ {members} __type(key, u32); {value}}} broken SEC(".maps");\n'
    said, _line = refused(build, f"{code}{TRACEPOINT} {{\n\treturn !!bpf_map_lookup_elem(&broken, &zero);\n}}")
    assert f"error: map {problem}" in said
    assert hint in said


@pytest.mark.parametrize(
    ("declaration", "use", "problem"),
    [
        ("extern int bpf_task_from_pidd(void) __ksym;", "bpf_task_from_pidd()", "no kfunc bpf_task_from_pidd"),
        ("extern const int no_such_variable __ksym;", "(long)&no_such_variable", "no variable no_such_variable"),
    ],
)
def test_what_the_kernel_does_not_export(build: Ecli, declaration: str, use: str, problem: str) -> None:
    said, _line = refused(build, f"{declaration}\n{TRACEPOINT} {{\n\treturn {use};\n}}")
    assert f"error: this kernel has {problem}, which the package needs" in said
    assert "declared __weak" in said


def test_verbose_shows_the_whole_log(build: Ecli) -> None:
    refused(build, f"{TRACEPOINT} {{ u64 *n = bpf_map_lookup_elem(&counts, &zero); return *n; }}")
    said = build("run", "tool.json", "--verbose").stderr
    assert said.index("BEGIN PROG LOAD LOG") < said.index("END PROG LOAD LOG") < said.index("error: run: permission denied: ")


def test_lines_are_those_that_the_kernel_names(build: Ecli) -> None:
    """Newer kernels write file and line into the log; what is read from the object agrees, however the functions are laid out."""
    from ecli_runtime.line_info import SourceLines
    from ecli_schemas.read import read_package

    code = f"""
static __attribute__((noinline)) u64 first(u64 x) {{ return x * bpf_get_prandom_u32(); }}
static __attribute__((noinline)) u64 second(u64 x) {{
	u64 sum = first(x);
	return sum + bpf_ktime_get_ns();
}}
static long visit(u32 index, u64 *sum) {{
	*sum += second(index);
	return 0;
}}
{TRACEPOINT} {{
	u64 sum = first(3);
	bpf_loop(10, visit, &sum, 0);
	sum += second(sum);
	return *(u64 *)bpf_map_lookup_elem(&counts, &zero) + sum;
}}"""
    refused(build, code)
    log = build("run", "tool.json", "--verbose").stderr
    package = read_package((build.directory / "tool.json").read_bytes())
    lines = SourceLines(package.object).of_program("tp/sched/sched_switch", "run")
    assert lines is not None
    said, compared = "", set()
    for line in log.splitlines():
        found = re.fullmatch(r"; .* @ (\S+:\d+)", line)
        said = found[1] if found else said
        if (found := re.match(r"(\d+): \(", line)) and said:
            assert str(lines.at(int(found[1]))) == said, line
            compared.add(said)
    if not compared:
        pytest.skip("this kernel does not write lines into the verifier's log (Linux 6.9 does)")
    assert len(compared) > 5
