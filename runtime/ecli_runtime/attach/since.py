"""Which Linux has a type of programs first: older ones refuse it with EINVAL, and the verifier says nothing."""

from __future__ import annotations

# First part of the section → version, from the commits that added the types.
SINCE = {
    "cgroup/sysctl": "5.2",
    "cgroup/getsockopt": "5.3",
    "cgroup/setsockopt": "5.3",
    "fentry": "5.5",
    "fexit": "5.5",
    "tp_btf": "5.5",
    "freplace": "5.6",
    "struct_ops": "5.6",
    "fmod_ret": "5.7",
    "lsm": "5.7",
    "iter": "5.8",
    "kprobe.multi": "5.18",
    "kretprobe.multi": "5.18",
    "kprobe.session": "6.10",
    "uprobe.multi": "6.6",
    "uretprobe.multi": "6.6",
    "uprobe.session": "6.13",
    "sk_lookup": "5.9",
    "syscall": "5.14",
    "xdp.frags": "5.18",
    "lsm_cgroup": "6.0",
    "netfilter": "6.4",
}


# Likewise → option that the kernel must be built with.
OPTION = {
    "lsm": "CONFIG_BPF_LSM",
    "lsm_cgroup": "CONFIG_BPF_LSM",
    "netfilter": "CONFIG_NETFILTER_BPF_LINK",
    **dict.fromkeys(("fentry", "fexit", "fmod_ret", "struct_ops"), "CONFIG_BPF_JIT"),
    **dict.fromkeys(("cgroup", "cgroup_skb", "sockops"), "CONFIG_CGROUP_BPF"),
    **dict.fromkeys(("kprobe", "kretprobe", "ksyscall", "uprobe", "uretprobe", "usdt", "tp", "perf_event"), "CONFIG_BPF_EVENTS"),
}


def hint_for_old_kernel(section: str) -> str:
    """Return what a kernel may be too old for, or built without, or nothing."""
    kind = section.partition("/")[0].removesuffix(".s")
    since = SINCE.get(section) or SINCE.get(kind)
    option = OPTION.get(kind)
    needs = [f"Linux {since}"] * bool(since) + [f"a kernel that is built with {option}"] * bool(option)
    return f'SEC("{section}") needs {" and ".join(needs)}; `ecli-py doctor` shows what this kernel takes' if needs else ""
