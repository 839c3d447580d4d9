"""What built programs are found to be able to do: each fact in a program that shows it, and not in one that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ecli_packager.build import Request, build
from ecli_runtime.behaviour import analyse
from ecli_schemas.model import FACTS, READING_FACTS, Behaviour

pytestmark = pytest.mark.compiler

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
"""

Look = Callable[[str], Behaviour]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Return what a program can do, from its C source; its package must say the same."""

    def look_at(text: str) -> Behaviour:
        source = tmp_path / "tool.bpf.c"
        source.write_text(HEAD + text)
        package = build(Request((source,))).package
        behaviour = analyse(package.object, package.object_name)
        assert package.behaviour == behaviour
        return behaviour

    return look_at


XDP, SKB = "struct xdp_md", "struct __sk_buff"


def program(section: str, body: str, context: str = "void", before: str = "") -> str:
    return f'{before}\nSEC("{section}") int run({context} *ctx)\n{{\n\t{body}\n}}\n'


def packet(section: str, body: str, context: str = XDP) -> str:
    """Return a program that begins by looking at the first bytes of a packet."""
    passing = 2 if context == XDP else 0
    start = "unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n\t"
    start += f"if (data + 16 > end) return {passing};\n\t"
    return program(section, start + body, context)


TP = "tp/sched/sched_process_exec"
MAP = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); }
    counts SEC(".maps");
"""

# Programs, and all facts that hold of them.
PROGRAMS: dict[str, tuple[str, set[str]]] = {
    "nothing": (program(TP, "return 0;"), set()),
    "write user": (program(TP, "int v = 1; bpf_probe_write_user((void *)16, &v, 4); return 0;"), {"writes_user_memory"}),
    "signal": (program(TP, "bpf_send_signal(9); return 0;"), {"sends_signals"}),
    "signal a thread": (program(TP, "bpf_send_signal_thread(9); return 0;"), {"sends_signals"}),
    "in a subprogram": (
        program(TP, "return kill(1);", before="static __noinline int kill(int n) { return bpf_send_signal(8 + n); }"),
        {"sends_signals"},
    ),
    "override": (
        program("kprobe/do_unlinkat", "bpf_override_return(ctx, -1); return 0;", "struct pt_regs"),
        {"overrides_returns"},
    ),
    "fmod_ret": (program("fmod_ret/security_file_open", "return -1;"), {"overrides_returns"}),
    "fmod_ret that lets pass": (program("fmod_ret/security_file_open", "return 0;"), set()),
    "registers": (program("uprobe", "ctx->ip = 16; return 0;", "struct pt_regs"), {"overrides_returns"}),
    "fentry": (program("fentry/do_unlinkat", "return 0;"), set()),
    "xdp that drops": (packet("xdp", "return data[12] == 8 ? XDP_DROP : XDP_PASS;"), {"drops_or_redirects_packets"}),
    "xdp that passes": (packet("xdp", "return XDP_PASS;"), set()),
    "xdp that counts": (
        packet(
            "xdp", "__u32 k = data[0] & 7; __u64 *n = bpf_map_lookup_elem(&counts, &k); if (n) *n += 1; return XDP_PASS;"
        ).replace('SEC("xdp")', MAP + 'SEC("xdp")'),
        set(),
    ),
    "xdp that redirects": (program("xdp", "return bpf_redirect(2, 0);", XDP), {"drops_or_redirects_packets"}),
    "xdp that writes": (packet("xdp", "data[0] = 1; return XDP_PASS;"), {"modifies_packets"}),
    "xdp that writes in a subprogram": (
        packet("xdp", "mark(data, end); return XDP_PASS;").replace(
            'SEC("xdp")',
            "static __noinline int mark(unsigned char *p, unsigned char *end) { if (p + 4 > end) return 0; *p = 1; return 1; }\n"
            'SEC("xdp")',
        ),
        {"modifies_packets"},
    ),
    "xdp that adjusts": (program("xdp", "bpf_xdp_adjust_head(ctx, 4); return XDP_PASS;", XDP), {"modifies_packets"}),
    "xdp that has a packet written by a helper": (
        packet("xdp", "bpf_fib_lookup(ctx, (void *)data, 64, 0); return XDP_PASS;").replace("data + 16", "data + 64"),
        {"modifies_packets"},
    ),
    "xdp that looks up a route": (
        program("xdp", "struct bpf_fib_lookup p = {}; bpf_fib_lookup(ctx, &p, sizeof(p), 0); return XDP_PASS;", XDP),
        set(),
    ),
    "xdp that has a packet written by a kernel function": (
        packet("xdp", "bpf_xdp_metadata_rx_timestamp(ctx, (void *)data); return XDP_PASS;"),
        {"modifies_packets"},
    ),
    "xdp that asks for a timestamp": (
        program("xdp", "__u64 at; bpf_xdp_metadata_rx_timestamp(ctx, &at); return XDP_PASS;", XDP),
        set(),
    ),
    "tc that drops": (program("tc", "return ctx->len > 99 ? 2 : 0;", SKB), {"drops_or_redirects_packets"}),
    "tc that looks": (program("tc", "return ctx->len > 99 ? 0 : -1;", SKB), set()),
    "tcx that writes": (packet("tcx/egress", "data[1] = 2; return 0;", SKB), {"modifies_packets"}),
    "tc that marks": (program("tc", "ctx->mark = 7; return 0;", SKB), {"modifies_packets"}),
    "tc that stores": (program("tc", "bpf_skb_store_bytes(ctx, 0, &ctx->len, 2, 0); return 0;", SKB), {"modifies_packets"}),
    "netfilter": (program("netfilter", "return 0;", "struct bpf_nf_ctx"), {"drops_or_redirects_packets"}),
    "netfilter that accepts": (program("netfilter", "return 1;", "struct bpf_nf_ctx"), set()),
    "cgroup_skb": (program("cgroup_skb/egress", "return ctx->len < 99;", SKB), {"drops_or_redirects_packets"}),
    "sk_skb": (program("sk_skb/stream_verdict", "return 0;", SKB), {"drops_or_redirects_packets"}),
    "socket filter": (program("socket", "return ctx->len;", SKB), set()),
    "lsm": (program("lsm/file_open", "return -1;"), {"denies_operations"}),
    "lsm that allows": (program("lsm/file_open", "return 0;"), set()),
    "cgroup socket": (program("cgroup/sock_create", "return 0;", "struct bpf_sock"), {"denies_operations"}),
    "cgroup device": (
        program("cgroup/dev", "return ctx->major == 1;", "struct bpf_cgroup_dev_ctx"),
        {"denies_operations"},
    ),
    "cgroup sysctl": (program("cgroup/sysctl", "return !ctx->write;", "struct bpf_sysctl"), {"denies_operations"}),
    "cgroup sysctl that allows": (program("cgroup/sysctl", "return 1;", "struct bpf_sysctl"), set()),
    "connect": (program("cgroup/connect4", "return 0;", "struct bpf_sock_addr"), {"denies_operations"}),
    "connect elsewhere": (
        program("cgroup/connect4", "ctx->user_port = 1; return 1;", "struct bpf_sock_addr"),
        {"changes_sockets"},
    ),
    "set option": (
        program("sockops", "int v = 1; bpf_setsockopt(ctx, 1, 2, &v, 4); return 1;", "struct bpf_sock_ops"),
        {"changes_sockets"},
    ),
    "sockops": (program("sockops", "return 1;", "struct bpf_sock_ops"), set()),
    "freplace": (program("freplace/other", "return 0;"), {"replaces_kernel_functions"}),
    "struct_ops": (
        """
SEC("struct_ops/undo") __u32 undo(void *ctx) { return 2; }
SEC(".struct_ops") struct tcp_congestion_ops tool = { .undo_cwnd = (void *)undo, .name = "tool" };
""",
        {"replaces_kernel_functions"},
    ),
    "remote control": (program("lirc_mode2", "return 0;", "unsigned int"), {"other_effects"}),
    "unknown helper": (program(TP, "((int (*)(void))4000)(); return 0;"), {"other_effects"}),
    "kernel function": (
        program(TP, "return bpf_frobnicate(1);", before="extern int bpf_frobnicate(int) __ksym __weak;"),
        {"other_effects"},
    ),
    "map of others": (
        MAP.replace("__type(key", "__uint(pinning, LIBBPF_PIN_BY_NAME); __type(key") + program(TP, "return 0;"),
        {"other_effects"},
    ),
    "harmless kernel function": (
        program(TP, "bpf_rcu_read_lock(); bpf_rcu_read_unlock(); return 0;", before=""),
        set(),
    ),
    "read user": (program(TP, "int v; return bpf_probe_read_user(&v, 4, (void *)16);"), {"reads_user_memory"}),
    "read kernel": (program(TP, "int v; return bpf_probe_read_kernel(&v, 4, (void *)16);"), {"reads_kernel_memory"}),
    "read either": (
        program(TP, "int v; return bpf_probe_read(&v, 4, (void *)16);"),
        {"reads_user_memory", "reads_kernel_memory"},
    ),
    "read arguments": (
        'SEC("tp_btf/sched_process_exit") int BPF_PROG(run, struct task_struct *task) { return task->pid; }\n',
        {"reads_kernel_memory"},
    ),
    "arguments": ('SEC("fentry/do_unlinkat") int BPF_PROG(run, int dfd) { return dfd == 3; }\n', set()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_facts(look: Look, name: str) -> None:
    text, facts = PROGRAMS[name]
    behaviour = look(text)
    assert set(behaviour.facts) == facts
    assert behaviour.only_observes == (facts <= READING_FACTS)


def test_each_fact_is_shown_by_a_program() -> None:
    assert {fact for _text, facts in PROGRAMS.values() for fact in facts} == set(FACTS)


def test_what_shows_a_fact_is_named(look: Look) -> None:
    behaviour = look(PROGRAMS["xdp that redirects"][0] + 'SEC("xdp") int other(void *ctx) { return 2; }\n')
    assert behaviour.facts == {"drops_or_redirects_packets": ("bpf_redirect", "run")}
    assert behaviour.helpers == ("bpf_redirect",)
    assert [(each.name, each.type, each.section) for each in behaviour.programs] == [
        ("run", "xdp", "xdp"),
        ("other", "xdp", "xdp"),
    ]


def test_helpers_and_kernel_functions(look: Look) -> None:
    assert look(PROGRAMS["unknown helper"][0]).helpers == ("helper#4000",)
    assert look(PROGRAMS["kernel function"][0]).kfuncs == ("bpf_frobnicate",)


def test_a_callback_writes_no_packet(look: Look) -> None:
    text = (
        "static int add(__u32 i, long *sum) { *sum += i; return 0; }\n"
        'SEC("xdp") int run(struct xdp_md *ctx) { long sum = 0; bpf_loop(9, add, &sum, 0); return XDP_PASS; }\n'
    )
    assert look(text).facts == {}


def test_a_spilled_pointer_is_followed(look: Look) -> None:
    calls = "bpf_get_prandom_u32() + " * 8
    text = packet("xdp", f"volatile unsigned char *p = data; if ({calls} 0 == 7) return XDP_PASS; *p = 1; return XDP_PASS;")
    assert set(look(text).facts) == {"modifies_packets"}


MAPS = """
#define MAP(name, kind, entries, k, v) struct { __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, entries); \\
    __uint(key_size, k); __uint(value_size, v); } name SEC(".maps")
MAP(array, ARRAY, 10, 4, 12);
MAP(per_cpu, PERCPU_ARRAY, 10, 4, 12);
MAP(hash, HASH, 1000, 4, 8);
MAP(per_cpu_hash, PERCPU_HASH, 1000, 4, 8);
MAP(lru, LRU_HASH, 1024, 16, 20);
MAP(programs, PROG_ARRAY, 5, 4, 4);
MAP(perf, PERF_EVENT_ARRAY, 0, 4, 4);
MAP(jobs, QUEUE, 7, 0, 8);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, long); }
    tasks SEC(".maps");
"""


def test_maps_and_their_memory(look: Look) -> None:
    maps = {each.name: each for each in look(MAPS + program(TP, "return 0;")).maps}
    memory = {name: (each.type, each.memory_bytes, each.memory_per_cpu_bytes) for name, each in maps.items()}
    assert memory == {
        "array": ("array", 10 * 16, 0),
        "per_cpu": ("percpu_array", 10 * 8, 10 * 16),
        "hash": ("hash", 1024 * 16 + 1000 * (48 + 8 + 8), 0),
        "per_cpu_hash": ("percpu_hash", 1024 * 16 + 1000 * (48 + 8 + 8), 1000 * 8),
        "lru": ("lru_hash", 1024 * (16 + 48 + 16 + 24), 0),
        "programs": ("prog_array", 40, 0),
        "perf": ("perf_event_array", 0, 8),
        "jobs": ("queue", 64, 0),
        "ring": ("ringbuf", 1 << 18, 0),
        "tasks": ("task_storage", None, 0),
    }
    hashed = maps["hash"]
    assert (hashed.key_size_bytes, hashed.value_size_bytes, hashed.max_entries) == (4, 8, 1000)


# What libbpf writes into the code when it loads it: the compiler leaves the number there that its own types give, here XDP_PASS.
RELOCATED = """
enum verdict_of_kernel { FIRST, SECOND, THIRD };
SEC("xdp") int run(struct xdp_md *ctx) { return bpf_core_enum_value(enum verdict_of_kernel, THIRD); }
"""
FIELD = """
struct laid_out { __u16 first; char second; } __attribute__((preserve_access_index));
SEC("xdp") int run(struct xdp_md *ctx) { return bpf_core_field_offset(struct laid_out, second); }
"""


@pytest.mark.parametrize("text", [RELOCATED, FIELD])
def test_a_number_that_loading_changes_is_no_verdict_that_passes(look: Look, text: str) -> None:
    assert set(look(text).facts) == {"drops_or_redirects_packets"}
