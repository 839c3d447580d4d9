"""Which Linux has a type of programs first: older ones refuse it with EINVAL, and the verifier says nothing."""

from __future__ import annotations

# First part of the section → version, from the commits that added the types.
_SINCE = {
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
    "sk_lookup": "5.9",
    "syscall": "5.14",
    "xdp.frags": "5.18",
    "lsm_cgroup": "6.0",
    "netfilter": "6.4",
}


def hint_for_old_kernel(section: str) -> str:
    """Return what a kernel may be too old for, or nothing."""
    kind = section.partition("/")[0].removesuffix(".s")
    since = _SINCE.get(section) or _SINCE.get(kind)
    return f'SEC("{section}") needs Linux {since}; `--verbose` shows libbpf\'s whole log' if since else ""
