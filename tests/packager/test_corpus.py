"""Each program of the corpus becomes a complete package without a hint, and the corpus covers what programs are made of."""

from __future__ import annotations

import json

import pytest

from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.corpus_programs import CORPUS, Expected, built, expected

pytestmark = pytest.mark.compiler

# ELF sections, or what they begin with in front of a slash.
SECTIONS = """
tp tracepoint raw_tp raw_tracepoint tp_btf fentry fexit fmod_ret kprobe kretprobe kprobe.multi kretprobe.multi ksyscall uprobe
uretprobe usdt perf_event xdp xdp.frags tc tcx/ingress cgroup_skb/ingress cgroup_skb/egress cgroup/sock_create
cgroup/sock_release cgroup/connect4 cgroup/connect6 cgroup/sysctl cgroup/dev cgroup/setsockopt cgroup/getsockopt sockops sk_msg
lsm lsm.s iter/task iter/task_file iter/bpf_map iter/bpf_map_elem struct_ops socket sk_lookup sk_reuseport netfilter syscall
"""
MAPS = """
hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash lru_percpu_hash lpm_trie
array_of_maps hash_of_maps devmap devmap_hash cpumap xskmap sockmap sockhash cgroup_storage percpu_cgroup_storage
reuseport_sockarray queue stack sk_storage inode_storage task_storage cgrp_storage struct_ops ringbuf bloom_filter user_ringbuf
"""
# Idioms, by something that shows in the text of a program.
IDIOMS = """
bpf_core_type_exists(struct BPF_MAP_TYPE_PERCPU_ARRAY __noinline bpf_loop bpf_for_each_map_elem bpf_ringbuf_reserve_dynptr
__weak __ksym __kconfig LINUX_KERNEL_VERSION SEC(".rodata. SEC(".data. SEC(".bss. typedef bpf_tail_call bpf_timer_init
bpf_user_ringbuf_drain bpf_get_stackid <asm/errno.h> <linux/if_ether.h> <linux/ip.h> <bpf/bpf_endian.h> <bpf/usdt.bpf.h>
<stddef.h> <stdint.h> <errno.h> bpf_task_storage_get bpf_core_field_exists(
"""


@pytest.mark.parametrize("name", CORPUS)
def test_a_program_needs_no_hint(name: str) -> None:
    package, diagnostics = built(name).package, built(name).diagnostics
    assert diagnostics == ""
    exports = {each.map or "": sorted(event_type.name for event_type in each.types) for each in package.exports}
    options = sorted(option.name for option in package.options if option.section != ".kconfig")
    tags = {each.name: each.tag.values for export in package.exports for each in export.types if each.tag}
    assert Expected(exports, options, tags, sorted(package.results)) == expected(name)
    data = write_package(package)
    assert read_package(data) == package
    # Upstream ignores what is ours, and finds the same programs, maps and events.
    document = json.loads(data)
    del document["ecli"]
    upstream = read_package(json.dumps(document).encode())
    assert [(each.name, each.section) for each in upstream.programs] == [(each.name, each.section) for each in package.programs]
    assert [each.name for each in upstream.maps] == [each.name for each in package.maps]
    types = {each["name"] for each in document["meta"].get("export_types", [])}
    assert types == {each for names in exports.values() for each in names}


def test_every_type_of_program_is_there() -> None:
    sections = {each.section.lstrip("?") + "/" for name in CORPUS for each in built(name).package.programs}
    assert [each for each in SECTIONS.split() if not any(section.startswith(each + "/") for section in sections)] == []


def test_every_common_type_of_map_is_there() -> None:
    behaviours = [built(name).package.behaviour for name in CORPUS]
    found = {each.type for behaviour in behaviours if behaviour for each in behaviour.maps}
    assert sorted(set(MAPS.split()) - found) == []


def test_every_idiom_is_there() -> None:
    text = "\n".join(path.read_text() for path in CORPUS["execargs"].parent.iterdir())
    assert [each for each in IDIOMS.split() if each not in text] == []
    heads = [[line for line in path.read_text().splitlines() if line.startswith("#include <linux/")] for path in CORPUS.values()]
    assert ["#include <linux/bpf.h>"] in heads  # nothing else of the kernel's
    assert [] in heads
