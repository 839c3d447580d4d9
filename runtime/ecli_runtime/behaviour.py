"""What an object can do: read from its byte code and its sections, whatever its package says.

The answer does not depend on the machine, and says more rather than less where the code does not tell: "can" is meant.
"""

from __future__ import annotations

import struct

from ecli_runtime.code import code_sections, instruction_layout, section_bytes
from ecli_runtime.helpers import helper_name
from ecli_runtime.libbpf.object import OpenObject
from ecli_schemas.model import FACTS, Behaviour, MapBehaviour, ProgramBehaviour
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from ecli_runtime.code import CodeSection
    from ecli_runtime.libbpf.object import OpenMap, Program

    Evidence: TypeAlias = dict[str, dict[str, None]]  # fact → what shows it, in order

# --- helpers and kernel functions ---


def _table(**facts: str) -> dict[str, list[str]]:
    """Return function → facts that a call of it shows."""
    table: dict[str, list[str]] = {}
    for fact, names in facts.items():
        for name in names.split():
            table.setdefault(f"bpf_{name}", []).append(fact)
    return table


_HELPER_FACTS = _table(
    writes_user_memory="probe_write_user",
    sends_signals="send_signal send_signal_thread",
    overrides_returns="override_return",
    drops_or_redirects_packets="clone_redirect redirect redirect_map redirect_neigh redirect_peer sk_redirect_map "
    "sk_redirect_hash msg_redirect_map msg_redirect_hash lwt_seg6_action",
    modifies_packets="skb_store_bytes l3_csum_replace l4_csum_replace skb_vlan_push skb_vlan_pop skb_set_tunnel_key "
    "skb_set_tunnel_opt skb_change_proto skb_change_type skb_change_tail skb_change_head skb_adjust_room csum_update csum_level "
    "set_hash xdp_adjust_head xdp_adjust_tail xdp_adjust_meta xdp_store_bytes msg_push_data msg_pop_data lwt_push_encap "
    "lwt_seg6_store_bytes lwt_seg6_adjust_srh skb_ecn_set_ce store_hdr_opt skb_set_tstamp",
    denies_operations="set_retval sysctl_set_new_value",
    changes_sockets="setsockopt bind sk_assign sk_select_reuseport sock_map_update sock_hash_update tcp_send_ack msg_apply_bytes "
    "msg_cork_bytes",
    other_effects="rc_repeat rc_keydown rc_pointer_rel bprm_opts_set sys_bpf sys_close",
    reads_user_memory="probe_read probe_read_str probe_read_user probe_read_user_str copy_from_user copy_from_user_task",
    reads_kernel_memory="probe_read probe_read_str probe_read_kernel probe_read_kernel_str snprintf_btf seq_printf_btf "
    "get_current_task_btf",
)
_KFUNC_FACTS = _table(
    sends_signals="send_signal_task",
    modifies_packets="dynptr_slice_rdwr skb_set_fou_encap skb_set_xfrm_info",
    changes_sockets="sock_destroy sock_addr_set_sun_path",
    reads_user_memory="copy_from_user_str copy_from_user_task_str copy_from_user_dynptr copy_from_user_str_dynptr "
    "copy_from_user_task_dynptr copy_from_user_task_str_dynptr probe_read_user_dynptr probe_read_user_str_dynptr",
    reads_kernel_memory="probe_read_kernel_dynptr probe_read_kernel_str_dynptr rdonly_cast",
)
# Kernel functions that change nothing outside of the program and its maps. Any other is an effect that is not described here.
_HARMLESS_KFUNCS = (
    *("bpf_iter_", "bpf_task_", "bpf_cgroup_", "bpf_cpumask_", "bpf_rcu_", "bpf_dynptr_", "bpf_obj_", "bpf_percpu_obj_"),
    *("bpf_list_", "bpf_rbtree_", "bpf_refcount_", "bpf_cast_to_kern_ctx", "bpf_str", "bpf_get_", "bpf_put_", "bpf_path_d_path"),
    *("bpf_map_", "bpf_preempt_", "bpf_local_irq_", "bpf_res_spin_", "bpf_throw", "bpf_session_", "bpf_xdp_metadata_rx_"),
    *("bpf_skb_get_", "bpf_arena_", "bpf_wq_", "bpf_crypto_", "bpf_lookup_", "bpf_key_put", "bpf_verify_", "bpf_percpu_"),
    *("bpf_rdonly_cast", "bpf_stream_", "bpf_this_cpu_", "bpf_per_cpu_", "bpf_cpu_", "bpf_ct_release", "bpf_sock_from_"),
)
# A dynptr of a packet that is written through.
_PACKET_DYNPTRS = frozenset(("bpf_dynptr_from_skb", "bpf_dynptr_from_xdp", "bpf_dynptr_from_skb_meta"))
_DYNPTR_WRITES = frozenset(
    (
        *("bpf_dynptr_write", "bpf_dynptr_copy", "bpf_dynptr_memset", "bpf_dynptr_slice_rdwr"),
        *("bpf_crypto_encrypt", "bpf_crypto_decrypt"),
        *(name for name in _KFUNC_FACTS if name.endswith("_dynptr")),  # what they read goes into one
    )
)

_CALL, _PSEUDO_CALL, _PSEUDO_KFUNC_CALL = 0x85, 1, 2

# --- program types: enum bpf_prog_type and enum bpf_attach_type, include/uapi/linux/bpf.h ---

_KPROBE, _SCHED_CLS, _SCHED_ACT, _XDP, _CGROUP_SKB, _CGROUP_SOCK = 2, 3, 4, 6, 8, 9
_LWT_IN, _LWT_OUT, _LWT_XMIT, _SOCK_OPS, _SK_SKB, _CGROUP_DEVICE, _SK_MSG = 10, 11, 12, 13, 14, 15, 16
_CGROUP_SOCK_ADDR, _LWT_SEG6LOCAL, _SK_REUSEPORT, _CGROUP_SYSCTL, _CGROUP_SOCKOPT = 18, 19, 21, 23, 25
_TRACING, _STRUCT_OPS, _EXT, _LSM, _SK_LOOKUP, _NETFILTER = 26, 27, 28, 29, 30, 32
_MODIFY_RETURN, _LSM_CGROUP = 26, 43

# What a program does by its verdict, and the verdicts that leave things as they are. No entry: its verdict has no effect.
_VERDICTS: dict[int, tuple[str, frozenset[int]]] = {
    **dict.fromkeys((_SCHED_CLS, _SCHED_ACT), ("drops_or_redirects_packets", frozenset((-1, 0, 3)))),  # UNSPEC, OK, PIPE
    _XDP: ("drops_or_redirects_packets", frozenset((2,))),  # XDP_PASS
    _NETFILTER: ("drops_or_redirects_packets", frozenset((1,))),  # NF_ACCEPT
    **dict.fromkeys((_LWT_IN, _LWT_OUT, _LWT_XMIT, _LWT_SEG6LOCAL), ("drops_or_redirects_packets", frozenset((0,)))),  # BPF_OK
    **dict.fromkeys((_CGROUP_SKB, _SK_SKB, _SK_MSG, _SK_LOOKUP, _SK_REUSEPORT), ("drops_or_redirects_packets", frozenset((1,)))),
    **dict.fromkeys(
        (_CGROUP_SOCK, _CGROUP_DEVICE, _CGROUP_SOCK_ADDR, _CGROUP_SYSCTL, _CGROUP_SOCKOPT), ("denies_operations", frozenset((1,)))
    ),
    _LSM: ("denies_operations", frozenset((0,))),
}
# What a store into the context changes.
_CONTEXT_WRITES = {
    _KPROBE: "overrides_returns",  # registers of a traced process (uprobes, since Linux 6.18)
    **dict.fromkeys((_SCHED_CLS, _SCHED_ACT, _CGROUP_SKB, _SK_SKB, _LWT_IN, _LWT_OUT, _LWT_XMIT), "modifies_packets"),
    **dict.fromkeys((_CGROUP_SOCK, _CGROUP_SOCK_ADDR, _CGROUP_SOCKOPT, _SOCK_OPS), "changes_sockets"),
    _CGROUP_SYSCTL: "denies_operations",
}
# What a store through a pointer from the context changes (may_access_direct_pkt_data, kernel/bpf/verifier.c).
_PACKET_WRITES = {
    **dict.fromkeys((_SCHED_CLS, _SCHED_ACT, _XDP, _LWT_XMIT, _SK_SKB, _SK_MSG), "modifies_packets"),
    _CGROUP_SOCKOPT: "changes_sockets",
}
# Programs to which the kernel passes pointers to its own structs.
_KERNEL_ARGUMENTS = frozenset((_TRACING, _STRUCT_OPS, _EXT, _LSM))
# Whatever else they do: unspec, lirc_mode2, flow_dissector, raw_tracepoint_writable.
_OTHER_TYPES = frozenset((0, 20, 22, 24))
_LAST_TYPE = _NETFILTER


def analyse(data: bytes, object_name: str) -> Behaviour:
    """Return what an object can do.

    Args:
        data: The object.
        object_name: Name given to libbpf, from which internal maps have theirs.

    Raises:
        ObjectError: It is no eBPF object that libbpf can open.
    """
    with OpenObject.open(data, object_name) as opened:
        return analyse_open(opened, data)


def analyse_open(opened: OpenObject, data: bytes, follow: bool = True) -> Behaviour:
    """Return what an object that is open can do; errors as :func:`analyse`.

    Args:
        opened: The object.
        data: Its bytes.
        follow: Follow the programs: how they store and what they return. Otherwise what only that shows is missing.
    """
    sections = code_sections(data)
    layout = instruction_layout(data)
    helpers, kfuncs = _calls(sections, layout)
    evidence: Evidence = {}
    _add_calls(evidence, helpers, kfuncs)
    for program in opened.programs:
        _add_type(evidence, program)
    for each in opened.maps:
        if each.is_shared:  # with other programs, which may act on what is in it
            evidence.setdefault("other_effects", {})[each.name] = None
    if follow:
        for found in follow_programs(opened.programs, sections, layout, relocated_instructions(data, sections)):
            evidence.setdefault(found.fact, {})[found.program] = None
    return Behaviour(
        programs=tuple([ProgramBehaviour(each.name, each.type_name, each.section) for each in opened.programs]),
        maps=tuple([map_behaviour(each) for each in opened.maps]),
        helpers=tuple(sorted(helpers)),
        kfuncs=tuple(sorted(kfuncs)),
        facts={fact: tuple(evidence[fact]) for fact in FACTS if fact in evidence},
    )


class Call(Record):
    """An instruction that calls a helper or a kernel function.

    Attributes:
        section: Index of its section.
        index: Of the instruction in it.
        name: What is called.
        is_kfunc: It is a kernel function.
    """

    section: int
    index: int
    name: str
    is_kfunc: bool

    @property
    def facts(self) -> list[str]:
        """What it shows by itself."""
        return _kfunc_facts(self.name) if self.is_kfunc else _helper_facts(self.name)


def find_calls(sections: Mapping[int, CodeSection], layout: str) -> Iterator[Call]:
    """Yield the calls of helpers and kernel functions, in the order of the code."""
    swapped = layout[0] == ">"
    for section in sections.values():
        whole = len(section.code) & ~7
        for index, (opcode, registers, _offset, immediate) in enumerate(struct.iter_unpack(layout, section.code[:whole])):
            if opcode != _CALL:
                continue
            source = registers & 0xF if swapped else registers >> 4
            target = section.targets.get(index)
            if target is not None and not target.section:
                yield Call(section.index, index, target.name, True)
            elif source == _PSEUDO_KFUNC_CALL:  # by its id in the kernel's BTF; compilers do not write that
                yield Call(section.index, index, f"kfunc#{immediate}", True)
            elif source != _PSEUDO_CALL:
                yield Call(section.index, index, helper_name(immediate), False)


def _calls(sections: Mapping[int, CodeSection], layout: str) -> tuple[set[str], set[str]]:
    """Return the names of the helpers and of the kernel functions that are called."""
    names: tuple[set[str], set[str]] = (set(), set())
    for call in find_calls(sections, layout):
        names[call.is_kfunc].add(call.name)
    return names


def _helper_facts(name: str) -> list[str]:
    return ["other_effects"] if name.startswith("helper#") else _HELPER_FACTS.get(name, [])


def _kfunc_facts(name: str) -> list[str]:
    known = _KFUNC_FACTS.get(name.partition("___")[0], [])  # what follows ___ is a flavour, which libbpf drops
    return known or ([] if name.startswith(_HARMLESS_KFUNCS) else ["other_effects"])


def _add_calls(evidence: Evidence, helpers: set[str], kfuncs: set[str]) -> None:
    def add(name: str, facts: Iterable[str]) -> None:
        for fact in facts:
            evidence.setdefault(fact, {})[name] = None

    for name in sorted(helpers):
        add(name, _helper_facts(name))
    for name in sorted(kfuncs):
        add(name, _kfunc_facts(name))
        if name in _PACKET_DYNPTRS and not _DYNPTR_WRITES.isdisjoint(helpers | kfuncs):
            add(name, ["modifies_packets"])


def _add_type(evidence: Evidence, program: Program) -> None:
    """Add what the type of a program alone shows."""
    if program.type in _OTHER_TYPES or program.type > _LAST_TYPE:
        evidence.setdefault("other_effects", {})[program.name] = None
    if program.type in (_STRUCT_OPS, _EXT):
        evidence.setdefault("replaces_kernel_functions", {})[program.name] = None


class Found(Record):
    """What following a program has shown.

    Attributes:
        fact: The fact.
        program: Name of the program.
        place: Section and index of an instruction that shows it; ``None``: it cannot be told, or not be followed.
    """

    fact: str
    program: str
    place: tuple[int, int] | None


def follow_programs(
    programs: Iterable[Program], sections: Mapping[int, CodeSection], layout: str, relocated: Collection[tuple[int, int]]
) -> Iterator[Found]:
    """Yield what the programs do with their contexts, with packets, and by their verdicts."""
    from ecli_runtime.flow import MAX_STEP_COUNT, Flow  # a run does without

    budget = [MAX_STEP_COUNT]
    for program in programs:
        kind = program.type
        verdict, passing = _VERDICTS.get(kind, ("", frozenset()))
        if kind == _TRACING and program.expected_attach_type == _MODIFY_RETURN:
            verdict, passing = "overrides_returns", frozenset((0,))
        elif kind == _LSM and program.expected_attach_type == _LSM_CGROUP:
            passing = frozenset((1,))
        flow = Flow(sections, layout, passing, budget, relocated)
        place = _find(program, sections)
        if place is not None:
            flow.follow(*place)
        lost = place is None or not flow.complete
        shown = (
            (verdict, not flow.passes, flow.verdict_at),
            (_CONTEXT_WRITES.get(kind), flow.context_written_at is not None, flow.context_written_at),
            (_PACKET_WRITES.get(kind), flow.packet_written_at is not None, flow.packet_written_at),
            ("reads_kernel_memory" if kind in _KERNEL_ARGUMENTS else "", flow.loaded_read_at is not None, flow.loaded_read_at),
        )
        for fact, holds, at in shown:
            if fact and (lost or holds):
                yield Found(fact, program.name, None if lost else at)


def relocated_instructions(data: bytes, sections: Mapping[int, CodeSection]) -> set[tuple[int, int]]:
    """Return section and index of the instructions whose numbers libbpf sets when it loads them (CO-RE).

    Raises:
        ObjectError: The section headers are damaged.
        BtfError: The relocations, or the types that they speak of, are.
    """
    from ecli_runtime.btf import Btf
    from ecli_runtime.core.records import relocations

    types = section_bytes(data, ".BTF")
    if types is None:
        return set()
    found: dict[str, set[int]] = {}
    for each in relocations(data, Btf(types)):
        found.setdefault(each.section, set()).add(each.byte_offset // 8)
    return {(section.index, index) for section in sections.values() for index in found.get(section.name, ())}


def _find(program: Program, sections: Mapping[int, CodeSection]) -> tuple[int, int] | None:
    """Return section and first instruction of a program; ``None`` if they cannot be told."""
    places = [
        (section.index, function.byte_offset // 8)
        for section in sections.values()
        if section.name.removeprefix("?") == program.section  # the mark of programs that are not loaded unasked
        for function in section.functions
        if function.name == program.name
    ]
    return places[0] if len(places) == 1 else None


# --- maps: enum bpf_map_type, include/uapi/linux/bpf.h ---

_HASHES = frozenset((1, 5, 9, 10, 13, 18, 25))  # also hash of maps, sockhash, devmap_hash: a pointer is the value
_PER_CPU_HASHES = frozenset((5, 10))
_POINTER_HASHES = frozenset((13, 18, 25))
_ARRAY, _PERF_EVENT_ARRAY, _PER_CPU_ARRAY, _STACK_TRACE, _LPM_TRIE, _STRUCT_OPS_MAP = 2, 4, 6, 7, 11, 26
_POINTER_ARRAYS = frozenset((3, 4, 8, 12, 14, 15, 16, 17, 20))  # of programs, events, cgroups, maps, devices, sockets
_QUEUES = frozenset((22, 23))
_RING_BUFFERS = frozenset((27, 31))
_BLOOM_FILTER, _ARENA = 30, 33
_PAGE_SIZE_BYTES = 4096  # of most machines: the estimate must not depend on the one that it is made on
_MOST = 2**53 - 1  # what JSON carries exactly


def map_behaviour(each: OpenMap) -> MapBehaviour:
    """Return what is known of a map, with an estimate of its memory.

    Estimated as the kernel accounts it (``map_mem_usage`` in kernel/bpf/, Linux 6.4), in full, without allocator overhead:

    * array: values, rounded up to 8 bytes each; per-CPU array: those for each CPU, and a pointer for each;
    * hash: buckets (16 bytes, a power of two), and 48 bytes, key and value for each entry, preallocated or not;
    * ring buffer: its size; arena: its pages; LPM trie, queue, stack, stack traces, Bloom filter: their nodes or slots;
    * maps of programs, sockets, devices, events and maps: a pointer for each entry, not what it points to;
    * with the sizes that a run gives to maps whose author says none;
    * storage that belongs to tasks, sockets, inodes and cgroups: unbounded, hence unknown.
    """
    entries, value_size_bytes = each.max_entries, each.value_size_bytes
    if each.lacks_sizes:
        from ecli_runtime.libbpf.map_sizes import assumed_sizes

        entries, value_size_bytes = assumed_sizes(each)
    fixed, per_cpu = _memory(each.type, each.key_size_bytes, value_size_bytes, entries)
    return MapBehaviour(
        each.name,
        each.type_name,
        each.key_size_bytes,
        each.value_size_bytes,
        each.max_entries,
        None if fixed is None else min(fixed, _MOST),
        min(per_cpu, _MOST),
    )


def _memory(kind: int, key_size: int, value_size: int, count: int) -> tuple[int | None, int]:
    """Return the bytes that a map takes: once, and for each possible CPU."""
    key, value = _round_up(key_size, 8), _round_up(value_size, 8)
    if kind in _HASHES:
        buckets = 16 * _power_of_two(count)
        if kind in _PER_CPU_HASHES:
            return buckets + (48 + key + 8) * count, value * count
        return buckets + (48 + key + (8 if kind in _POINTER_HASHES else value)) * count, 0
    if kind == _PER_CPU_ARRAY:
        return 8 * count, value * count
    fixed = {
        _ARRAY: value * count,
        _STRUCT_OPS_MAP: value,
        _STACK_TRACE: 8 * _power_of_two(count) + (16 + value) * count,
        _LPM_TRIE: 2 * (48 + key + value) * count,  # as many inner nodes at most
        _ARENA: _PAGE_SIZE_BYTES * count,
        _BLOOM_FILTER: _power_of_two(count * 7) // 8,  # 5 hash functions, 7 bits for 5 of them (bloom_filter.c)
    }
    if kind in fixed:
        return fixed[kind], 0
    if kind == _PERF_EVENT_ARRAY and not count:  # libbpf makes it one entry for each CPU
        return 0, 8
    if kind in _POINTER_ARRAYS:
        return 8 * count, 0
    if kind in _QUEUES:
        return value_size * (count + 1), 0
    return (count if kind in _RING_BUFFERS else None), 0


def _round_up(size: int, unit: int) -> int:
    return (size + unit - 1) // unit * unit


def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()


# --- claims ---

# What an object with a fact does.
_PHRASES = {
    "writes_user_memory": "writes to the memory of processes",
    "sends_signals": "sends signals to processes",
    "overrides_returns": "overrides what functions return",
    "drops_or_redirects_packets": "can drop or redirect packets",
    "modifies_packets": "modifies packets",
    "denies_operations": "can deny operations",
    "changes_sockets": "changes sockets",
    "replaces_kernel_functions": "replaces functions of the kernel",
    "other_effects": "has other effects",
    "reads_user_memory": "reads the memory of processes",
    "reads_kernel_memory": "reads the memory of the kernel",
}


def contradictions(claimed: Behaviour, found: Behaviour) -> list[str]:
    """Return where a package's claim about its object differs from what the object is, in words; empty if it is true.

    Estimates of memory, and the entries of ring buffers, which libbpf rounds up to pages, are not compared.
    """
    lines = [
        _differs(_PHRASES[fact], fact in claimed.facts) for fact in FACTS if (fact in claimed.facts) != (fact in found.facts)
    ]
    for word, said, shown in (("helper", claimed.helpers, found.helpers), ("kernel function", claimed.kfuncs, found.kfuncs)):
        lines += [_differs(f"calls the {word} {name}", name in said) for name in sorted({*said} ^ {*shown})]
    programs = {each.name: f"{each.type} at {each.section}" for each in claimed.programs}
    lines += _differences("program", programs, {each.name: f"{each.type} at {each.section}" for each in found.programs})
    lines += _differences("map", _shapes(claimed), _shapes(found))
    return [line.replace("\n", r"\n") for line in lines]  # a name from the object must not begin a line of its own


def undeclared_facts(claimed: Behaviour, found: Behaviour) -> list[str]:
    """Return the facts that hold of an object and that the package's claim lacks, in words.

    All that is asked of an object for another machine than the one that the claim speaks of: the code differs.
    """
    return contradictions(claimed, claimed.replace(facts={**claimed.facts, **found.facts}))


def _shapes(behaviour: Behaviour) -> dict[str, str]:
    return {
        each.name: f"{each.type}, key {each.key_size_bytes} and value {each.value_size_bytes} bytes"
        + ("" if each.type.endswith("ringbuf") else f", {each.max_entries} entries")
        for each in behaviour.maps
    }


def _differences(word: str, said: Mapping[str, str], shown: Mapping[str, str]) -> list[str]:
    lines = []
    for name in [*said, *(name for name in shown if name not in said)]:
        if name not in shown or name not in said:
            lines.append(_differs(f"has the {word} {name} ({said.get(name) or shown[name]})", name in said))
        elif said[name] != shown[name]:
            lines.append(f"the package says that the {word} {name} is {said[name]}; in the object it is {shown[name]}")
    return lines


def _differs(what: str, claimed: bool) -> str:
    if claimed:
        return f"the package says that the object {what}; it does not"
    return f"the object {what}; the package does not say so"
