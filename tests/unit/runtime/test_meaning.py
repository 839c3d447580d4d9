"""What members mean: by idioms of tracing programs, by what the author says, and how JSON and the API show it."""

from __future__ import annotations

import re
import struct
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ecli_runtime.btf import Btf
from ecli_runtime.decode.addresses import ipv6_text
from ecli_runtime.decode.meaning import MEANINGS, STACK_KINDS, STACK_MEANINGS, misfits, with_meanings
from ecli_runtime.decode.names import names_of
from ecli_runtime.decode.plan import Plan, make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.schema import plan_schema
from ecli_runtime.decode.symbols import KernelSymbols
from tests.btf_builder import BtfBuilder
from tests.conftest import ROOT


class Types:
    """Types of tracing programs by their C names."""

    def __init__(self, byteorder: str = "little") -> None:
        self.builder = builder = BtfBuilder(byteorder)
        u8, u16 = builder.integer("unsigned char", 1), builder.integer("unsigned short", 2)
        u32, u64 = builder.integer("unsigned int", 4), builder.integer("unsigned long long", 8)
        self.known = {
            "u8": (u8, 1),
            "u16": (u16, 2),
            "u32": (u32, 4),
            "u64": (u64, 8),
            "int": (builder.integer("int", 4, signed=True), 4),
            "long": (builder.integer("long", 8, signed=True), 8),
            "u128": (builder.integer("unsigned __int128", 16), 16),
            "char": (builder.integer("char", 1, signed=True), 1),
            "void*": (builder.pointer(0), 8),
            "__be16": (builder.typedef("__be16", u16), 2),
            "__be32": (builder.typedef("__be32", u32), 4),
            "uid_t": (builder.typedef("uid_t", builder.typedef("__kernel_uid32_t", u32)), 4),
            "dev_t": (builder.typedef("dev_t", u32), 4),
        }
        be32, bytes16 = self.known["__be32"][0], builder.array(u8, 16)
        self.known["in_addr"] = builder.struct("in_addr", 4, ("s_addr", be32, 0)), 4
        union = builder.union("", 16, ("u6_addr8", bytes16, 0), ("u6_addr32", builder.array(be32, 4), 0))
        self.known["in6_addr"] = builder.struct("in6_addr", 16, ("in6_u", union, 0)), 16

    def one(self, c_type: str) -> tuple[int, int]:
        """Return type id and size of ``u32`` or ``u8[16]``."""
        element, _, dimensions = c_type.partition("[")
        type_id, size = self.known[element]
        for dimension in reversed(dimensions.rstrip("]").split("][") if dimensions else []):
            type_id, size = self.builder.array(type_id, int(dimension)), size * int(dimension)
        return type_id, size

    def struct(self, members: dict[str, str]) -> Plan:
        placed, at = [], 0
        for name, c_type in members.items():
            type_id, size = self.one(c_type)
            placed.append((name, type_id, at * 8))
            at += size
        event = self.builder.struct("event", at, *placed)
        return make_plan(Btf(self.builder.section()), event)


def meaning(c_type: str, name: str) -> str:
    return with_meanings(Types().struct({name: c_type})).ops[0].meaning


@pytest.mark.parametrize(
    ("c_type", "name", "expected"),
    [
        # libbpf-tools: tcpconnect, tcplife, tcpconnlat, tcptracer
        ("u32", "saddr_v4", "ipv4"),
        ("u128", "daddr_v6", "ipv6"),
        ("u8[16]", "saddr_v6", "ipv6"),
        ("u64", "ts_us", "time_us"),
        ("u64", "delta_us", "duration_us"),
        ("u64", "span_us", "duration_us"),
        ("__be16", "dport", "port_be"),
        ("u16", "dport", ""),  # some programs swap it
        ("u16", "lport", ""),
        ("u128", "saddr", ""),  # tcpstates: IPv4 in the first bytes
        ("u8[16]", "saddr", ""),
        # the kernel's structs
        ("__be32", "skc_rcv_saddr", "ipv4"),
        ("__be32", "s_addr", "ipv4"),
        ("u32[4]", "src_ip6", "ipv6"),
        ("u32", "remote_ip4", "ipv4"),
        ("__be16", "sin_port", "port_be"),
        ("__be16", "source", "port_be"),
        ("__be16", "h_proto", ""),
        ("__be32", "ack_seq", ""),
        ("u32", "saddr", ""),
        ("u8[6]", "h_dest", "mac"),
        ("u8[6]", "data", ""),
        ("dev_t", "dev", "dev"),
        ("u32", "dev", ""),  # may be an interface
        ("u32", "s_dev", "dev"),
        ("uid_t", "who", "uid"),
        ("u32", "uid", "uid"),
        ("u64", "uid", ""),  # both ids in one
        ("u32", "flow_uid", ""),
        ("u32", "gid", "gid"),
        # times and durations
        ("u64", "duration_ns", "duration_ns"),
        ("u32", "lat_ms", "duration_ms"),
        ("u64", "total_us", "duration_us"),
        ("u64", "offcpu_ns", "duration_ns"),
        ("long", "delta_ns", "duration_ns"),
        ("u64", "start_latency_ns", "duration_ns"),
        ("u64", "timeout_s", "duration_s"),
        ("u64", "time_ns", "time_ns"),
        ("u64", "start_time_ns", "time_ns"),
        ("u64", "event_ts_ns", "time_ns"),
        ("u64", "boottime_ns", "boottime_ns"),
        ("u32", "ts_us", ""),  # has wrapped since
        ("u64", "ts", ""),
        ("u64", "timestamp", ""),
        ("u64", "latency", ""),
        ("u64", "cpu_time_ns", ""),
        ("u64", "last_ns", ""),
        ("u64", "real_ts_ns", ""),
        ("u32", "pid_ns", ""),
        ("u64", "mnt_ns", ""),
        ("u32", "srtt_us", ""),
        ("u64", "ns", ""),
        ("u64", "is_s", ""),
        # the rest
        ("int", "errno", "errno"),
        ("int", "err", "errno"),
        ("u32", "error", ""),
        ("int", "ret", ""),  # may be a file descriptor
        ("int", "sig", "signal"),
        ("u64", "sig", ""),
        ("u32", "syscall_nr", "syscall"),
        ("u32", "nr", ""),
        ("u64", "rx_bytes", "bytes"),
        ("u32", "bytes_read", "bytes"),
        ("u32", "len", ""),
        ("u32[4]", "bytes", ""),
        ("void*", "call_site", "ksym"),
        ("void*", "sk", ""),
        ("u64", "caller_ip", "ksym"),
        ("u64", "ip", ""),
    ],
)
def test_names_and_typedefs_give_meanings(c_type: str, name: str, expected: str) -> None:
    assert meaning(c_type, name) == expected


def test_values_in_network_order_are_text_and_host_numbers_in_either_byte_order() -> None:
    v6 = IPv6Address("2001:db8::1")
    for byteorder in ("little", "big"):
        plan = with_meanings(
            Types(byteorder).struct(
                {"saddr": "__be32", "dport": "__be16", "src_mac": "u8[6]", "ip6": "u32[4]", "a": "in_addr", "b": "in6_addr"}
            )
        )
        sample = bytes([10, 0, 0, 1]) + struct.pack(">H", 443) + bytes(range(6)) + v6.packed + bytes([127, 0, 0, 1]) + v6.packed
        assert make_decoder(plan)(sample) == {
            "saddr": "10.0.0.1",
            "dport": 443,
            "src_mac": "00:01:02:03:04:05",
            "ip6": "2001:db8::1",
            "a": "127.0.0.1",
            "b": "2001:db8::1",
        }


def test_exact_numbers_stay_where_only_people_see_a_meaning() -> None:
    plan = Types().struct({"ts_us": "u64", "sig": "int", "call_site": "void*", "rx_bytes": "u64"})
    sample = struct.pack("<QiQQ", 5_000_001, 9, 0xFFFF, 4096)
    assert make_decoder(with_meanings(plan))(sample) == make_decoder(plan)(sample)


def test_meanings_are_found_in_nested_members_and_bodies_stay_whole() -> None:
    types = Types()
    inner = types.builder.struct("inner", 20, ("addr", types.known["in6_addr"][0], 0), ("saddr", types.known["__be32"][0], 128))
    event = types.builder.struct("event", 44, ("ends", types.builder.array(inner, 2), 0), ("pid", types.known["u32"][0], 320))
    plan = with_meanings(make_plan(Btf(types.builder.section()), event))
    end = bytes(15) + b"\1" + bytes([10, 0, 0, 1])
    shown = {"addr": "::1", "saddr": "10.0.0.1"}
    assert make_decoder(plan)(end + end + struct.pack("<I", 7)) == {"ends": [shown, shown], "pid": 7}
    assert [op.name for op in plan.top_level()] == ["ends", "pid"]


def test_what_the_author_says_comes_first() -> None:
    types = Types()
    plan = types.struct({"when": "u64", "saddr": "__be32", "peers": "u32[2]", "a": "in6_addr", "macs": "u8[2][6]"})
    said = {"when": "boottime_ns", "saddr": "plain", "peers": "ipv4", "a": "plain", "macs": "mac", "a.in6_u.u6_addr8": "ipv6"}
    assert misfits(plan, said) == {}
    sample = struct.pack("<Q", 5) + bytes([1, 0, 0, 0]) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + bytes(16) + bytes(12)
    event = make_decoder(with_meanings(plan, said))(sample)
    assert event["saddr"] == 1
    assert event["peers"] == ["10.0.0.1", "10.0.0.2"]
    assert event["a"]["in6_u"] == {"u6_addr8": "::", "u6_addr32": [0, 0, 0, 0]}
    assert event["macs"] == ["00:00:00:00:00:00"] * 2
    assert with_meanings(plan, said).ops[0].meaning == "boottime_ns"


def test_what_does_not_fit_is_as_if_it_had_not_been_said() -> None:
    plan = Types().struct({"ts_us": "u64", "dport": "u16"})
    said = {"ts_us": "mac", "dport": "from the future", "nothing": "mac"}
    found = misfits(plan, said)
    assert list(found) == ["dport", "nothing", "ts_us"]
    assert "port_be" in found["dport"]
    assert "ipv4" not in found["dport"]
    assert "time_us" in found["ts_us"]
    assert found["nothing"] == []
    assert with_meanings(plan, said) == with_meanings(plan)


@pytest.mark.parametrize(
    ("member", "c_type", "meaning", "kind"),
    [
        ("kern_stack_id", "int", "kernel_stack", "id"),
        ("stack_id", "u32", "kernel_stack", "id"),
        ("ustack_id", "long", "user_stack", "id"),
        ("kstack", "u64[8]", "kernel_stack", "array"),
        ("user_stack", "u64[1]", "user_stack", "array"),
    ],
)
def test_stack_traces_where_there_are_some(member: str, c_type: str, meaning: str, kind: str) -> None:
    plan = Types().struct({member: c_type})
    other = "array" if kind == "id" else "id"
    assert with_meanings(plan, {}, STACK_KINDS).ops[0].meaning == meaning
    assert with_meanings(plan, {}, (kind,)).ops[0].meaning == meaning
    assert with_meanings(plan, {}, (other,)).ops[0].meaning == ""
    assert with_meanings(plan, {member: meaning}, (other,)).ops[0].meaning == ""
    assert with_meanings(plan, {member: "plain"}, STACK_KINDS).ops[0].meaning == ""


@pytest.mark.parametrize(
    ("member", "c_type"), [("stack", "u64[8]"), ("stack_sz", "int"), ("kstack", "u32[8]"), ("stacks", "u32")]
)
def test_what_is_no_stack_trace(member: str, c_type: str) -> None:
    assert with_meanings(Types().struct({member: c_type}), {}, STACK_KINDS).ops[0].meaning == ""


def test_any_member_may_be_said_to_be_a_stack_trace() -> None:
    plan = Types().struct({"where": "u64[8]", "origin": "u32", "many": "u64[2][8]"})
    said = {"where": "user_stack", "origin": "kernel_stack", "many": "user_stack"}
    assert misfits(plan, said) == {}
    found = with_meanings(plan, said, STACK_KINDS)
    assert [op.meaning for op in found.top_level()] == ["user_stack", "kernel_stack", ""]  # in arrays they stay numbers
    assert not any(op.meaning for op in found.ops[-3:])


@pytest.mark.parametrize("name", MEANINGS)
def test_the_schema_describes_values_of_each_meaning(name: str) -> None:
    for shape in MEANINGS[name]:
        c_type = {"s8": "char", "s32": "int", "s64": "long", "pointer": "void*", "u64[]": "u64[4]"}.get(shape, shape)
        if c_type.partition("[")[0] not in Types().known or c_type == "char":
            continue
        plan = Types().struct({"member": c_type})
        plan = with_meanings(plan, {"member": name}, STACK_KINDS)
        assert plan.ops[0].meaning == name
        schema = plan_schema(plan)
        Draft202012Validator.check_schema(schema)
        if name in STACK_MEANINGS:  # what decodes them knows no names
            for value in (None, [], ["main"]):
                Draft202012Validator(schema).validate({"member": value})
            continue
        for byte in (0, 1, 0x80, 0xFF):
            Draft202012Validator(schema).validate(make_decoder(plan)(bytes([byte]) * plan.size_bytes))


@given(
    st.lists(st.sampled_from([0, 0, 0, 1, 0x20, 0xFF]), min_size=16, max_size=16).map(bytes) | st.binary(min_size=16, max_size=16)
)
def test_ipv6_text_is_that_of_the_standard_library(raw: bytes) -> None:
    address = IPv6Address(raw)
    # Before 3.13 the library wrote mapped addresses in hexadecimal.
    assert ipv6_text(raw) == (f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address))


def test_names_of_numbers() -> None:
    errors = names_of("errno")
    assert (errors[2], errors[-2], errors[-11], errors[95]) == ("ENOENT", "ENOENT", "EAGAIN", "EOPNOTSUPP")
    assert errors[-512] == "ERESTARTSYS"
    assert 0 not in errors
    signals = names_of("signal")
    assert (signals[9], signals[31], len(signals)) == ("SIGKILL", "SIGSYS", 31)
    assert names_of("uid")[0] == names_of("gid")[0] == "root"
    assert names_of("ipv4") == names_of("syscall", "../../../etc/passwd") == names_of("syscall", "pdp11") == {}


@pytest.mark.parametrize(("arch", "number"), [("x86_64", 257), ("aarch64", 56), ("riscv64", 56), ("s390x", 288)])
def test_system_calls_have_the_names_of_their_machine(arch: str, number: int) -> None:
    assert names_of("syscall", arch)[number] == "openat"


def test_addresses_are_named_after_functions(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(
        "ffffffff81000000 T _stext\nffffffff81000000 t first\nffffffff81000010 T vfs_read\nffffffff81000020 D data\n"
        "ffffffffc0000000 t in_module\t[module]\nffffffffa0000000 t bpf_prog\t[bpf]\n"
    )
    symbols = KernelSymbols(str(path))
    assert len(symbols) == 5
    named: dict[int, Any] = {
        0xFFFFFFFF81000000: "_stext",
        0xFFFFFFFF81000010: "vfs_read",
        0xFFFFFFFF81000022: "vfs_read+0x12",
        0xFFFFFFFFC0000001: "in_module+0x1",
        0xFFFFFFFFA0000004: "bpf_prog+0x4",
        0xFFFFFFFF81100000: "",
        0xFFFFFFFFFFFFFFFF: "",
        0: "",
    }
    assert {address: symbols.text(address) for address in named} == named


def test_without_privilege_no_address_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T vfs_read\n0000000000000000 t vfs_write\n")
    assert KernelSymbols(str(path)).text(0x10) == ""
    assert len(KernelSymbols(str(tmp_path / "none"))) == 0
    path.write_text("nonsense\n")
    assert len(KernelSymbols(str(path))) == 0


def test_the_manual_lists_every_meaning() -> None:
    manual = (ROOT / "docs" / "events.md").read_text().partition("## By meaning")[2].partition("## How")[0]
    cells = [line.split("|")[1] for line in manual.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z0-9_]+)`", " ".join(cells))) == set(MEANINGS)
