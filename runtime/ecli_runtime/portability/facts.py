"""What kernels can do since which version, where their types do not show it. Distributions that backport features know better.

Sources are commits of Linux.
"""

from __future__ import annotations

from ecli_schemas.record import Record


class Fact(Record):
    """Something that kernels can since some version.

    Attributes:
        what: In words, for "needs Linux …: it …".
        since: The version.
        evidence: Function in the kernel's types that came with it; empty: the version alone tells.
    """

    what: str
    since: str
    evidence: str = ""


# Features of byte code, as reach.py notes them.
CODE = {
    "atomics": Fact("has atomic operations that give back what was there", "5.12"),  # 5ffa25502b5a
    "callbacks": Fact("passes functions to helpers", "5.13", "bpf_for_each_map_elem"),  # 69c087ba6225
    "sign_extension": Fact("has instructions that extend signs (-mcpu=v4)", "6.6"),  # 1f9a1ea821ff, 8100928c8814
    "signed_division": Fact("divides numbers with signs (-mcpu=v4)", "6.6"),  # ec0e2da95f72
    "byte_swaps": Fact("swaps bytes with one instruction (-mcpu=v4)", "6.6"),  # 0845c3db7bf5
    "long_jumps": Fact("has long jumps (-mcpu=v4)", "6.6"),  # 4cd58e9af8b9
    "may_goto": Fact("has loops that the kernel ends (may_goto)", "6.9"),  # 011832b97b31
    "address_spaces": Fact("has an arena", "6.9"),  # 142fd4d2dcf5
    "load_acquire": Fact("orders its loads and stores", "6.15"),  # 880442305a39
}

# Sleepable programs, by the first part of their section.
SLEEPABLE = {
    **dict.fromkeys(("fentry", "fexit", "fmod_ret", "lsm"), Fact("may sleep", "5.10")),  # 1e6c62a88215
    **dict.fromkeys(  # 8c7dcb84e3b7
        ("uprobe", "uretprobe", "usdt", "uprobe.multi", "uretprobe.multi"), Fact("is a probe that may sleep", "6.0")
    ),
    "struct_ops": Fact("is a callback that may sleep", "6.8"),  # 1e12d3ef47d2
}
# enum bpf_map_type → version from which on such programs may use them (check_map_prog_compatibility).
SLEEPABLE_MAPS = {
    **dict.fromkeys((1, 2, 9), "5.10"),  # hash, array, LRU hash
    **dict.fromkeys((5, 6, 10, 12, 13), "5.12"),  # per CPU, of maps: 638e4b825d52
    27: "5.12",  # ring buffer: ba90c2cc0231
    **dict.fromkeys((24, 28, 29), "5.17"),  # storage: 0fe4b381a59e
    31: "6.1",  # user ring buffer
    32: "6.2",  # storage of control groups
    **dict.fromkeys((22, 23), "6.5"),  # queue, stack
    33: "6.9",  # arena
    34: "6.19",  # instruction array
}
SPIN_LOCK_IN_SLEEPABLE = Fact("takes a spin lock in a program that may sleep", "6.6")  # 5861d1e8dbc4
# Seen in the kernels of the matrix: refused by 6.12, taken by 6.1 and 7.2. The check came with 5d99e198be27 (6.12), and looks at
# 64 bits of what is an int.
LSM_RESULTS = ("6.12", "7.2")
# Seen in 7.2: "slot poisoned by dead code elimination" where bpf_map_peek_elem reads a key of a Bloom filter from the stack.
BLOOM_FILTER_BROKEN = "7.2"
SLEEPABLE_LSM_HOOKS = Fact("may sleep in this hook", "5.11", "bpf_lsm_is_sleepable_hook")  # 423f16108c9d
SLEEPABLE_LSM_HOOKS_OF_5_10 = frozenset(("bprm_committed_creds",))  # 1e6c62a88215
# Programs at system calls may sleep, whether errors may be put into those or not. Seen in 7.2, not in 6.12.
SLEEPABLE_SYSTEM_CALLS = "7.2"
# Helpers that the verifier lets only programs of some types call, though their lists have them: bpf_get_func_ip, and those for
# arguments and results (check_get_func_ip, do_misc_fixups); trying them alone does not show that.
HELPER_TYPES = {173: frozenset((2, 26)), **dict.fromkeys((183, 184, 185), frozenset((26,)))}
# Where programs of fentry and fexit may call bpf_d_path (btf_allowlist_d_path, 6f100640ca5b).
D_PATH_FUNCTIONS = frozenset(
    (
        *("security_file_permission", "security_inode_getattr", "security_file_open", "security_path_truncate"),
        *("vfs_truncate", "vfs_fallocate", "dentry_open", "vfs_getattr", "filp_close"),
    )
)
# Kernel functions that are not for all programs (generic_btf_ids in kernel/bpf/helpers.c, cpumask_kfunc_btf_ids), and types of
# programs → version from which on those may call them; empty: none does. Types that are not here may, or are not known.
TRACING_KFUNCS = (
    *("bpf_task_", "bpf_cgroup_", "bpf_obj_new", "bpf_obj_drop", "bpf_refcount_", "bpf_list_", "bpf_rbtree_", "bpf_throw"),
    "bpf_cpumask_",
)
TRACING_KFUNC_TYPES = {2: "", 17: "", 30: "", **dict.fromkeys((5, 7), "6.12")}  # kprobe, raw_tp, sk_lookup; tp, perf_event
# enum bpf_attach_type, where the kernel refuses those that it does not know: what distinguishes programs of one type.
ATTACH_TYPES = {
    36: "5.9",  # sk_lookup
    42: "5.18",  # trace_kprobe_multi
    43: "6.0",  # lsm_cgroup
    45: "6.4",  # netfilter
    48: "6.6",  # trace_uprobe_multi
    56: "6.10",  # trace_kprobe_session
    57: "6.13",  # trace_uprobe_session
}
