"""Snapshots of kernels: what is written is read again, and what is damaged is refused with a word of advice."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import jsonschema
import pytest

import ecli_schemas
from ecli_runtime.errors import SnapshotError
from ecli_runtime.portability import snapshot as module
from ecli_runtime.portability.kernel import KernelView
from ecli_runtime.portability.snapshot import Snapshot, parse_config, parse_symbols, read_snapshot, write_snapshot

SCHEMA = json.loads((Path(ecli_schemas.__file__).parent / "snapshot.schema.json").read_text())
FULL = Snapshot(
    "6.1.0-9-amd64",
    "#1 SMP Debian 6.1.27-1 (2023-05-08)",
    "x86_64",
    "running",
    btf=b"\x9f\xeb\x01\x00",
    config={"CONFIG_BPF": "y", "CONFIG_LSM": '"lockdown,bpf"', "CONFIG_HZ": "250"},
    symbols={"vfs_read": "T", "twice": "Tt", "jiffies": "D"},
    traceable=frozenset(("vfs_read", "vfs_write")),
    tracepoints=frozenset(("sched:sched_switch",)),
    lsm=("lockdown", "bpf"),
    program_types={1: True, 29: False},
    map_types={27: True},
    helpers={1: frozenset((1, 2, 5))},
)
BARE = Snapshot("6.1.0", "", "aarch64", "image")


@pytest.mark.parametrize("snapshot", [FULL, BARE])
def test_what_is_written_is_read_again(snapshot: Snapshot) -> None:
    data = write_snapshot(snapshot)
    assert read_snapshot(data, "x") == snapshot
    jsonschema.validate(json.loads(data), SCHEMA)


def test_the_bytes_do_not_depend_on_the_order_in_which_things_were_found() -> None:
    turned = FULL.replace(symbols=dict(reversed(list(FULL.symbols.items()))), config=dict(reversed(list(FULL.config.items()))))  # type: ignore[union-attr]
    assert write_snapshot(turned) == write_snapshot(FULL)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def damaged(**changes: object) -> bytes:
    return json.dumps({**json.loads(write_snapshot(FULL)), **changes}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no snapshot"),
        (b"[" * 100_000, "is no snapshot"),
        (b"[1]", "is no snapshot"),
        (b"\xff\xfe", "is no snapshot"),
        (b'{"release": "6.1"}', "is no snapshot"),
        (damaged(ecli_snapshot=2), "format that is not known"),
        (damaged(release=None), "is damaged"),
        (damaged(release="6.1\x1b[2J"), "is damaged"),
        (damaged(btf=17), "is damaged"),
        (damaged(btf="%%%"), "is damaged"),
        (damaged(symbols=packed(b"x" * 1000)[:-8]), "is damaged"),
        (damaged(config=packed(b"x")[:8]), "is damaged"),
        (damaged(helpers=[1]), "is damaged"),
        (damaged(helpers={"1": "xy"}), "is damaged"),
        (damaged(program_types={"one": True}), "is damaged"),
        (damaged(lsm="bpf"), "is damaged"),
        (b'{"ecli_snapshot": 1}', "is damaged: no 'release'"),
    ],
)
def test_what_is_none_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(SnapshotError, match=message) as caught:
        read_snapshot(data, "some.json")
    assert str(caught.value).startswith("some.json ")
    assert caught.value.hint


def test_a_part_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PART_SIZE_BYTES", 1 << 16)
    with pytest.raises(SnapshotError, match="too large"):
        read_snapshot(damaged(btf=packed(bytes(1 << 20))), "x")


def test_configurations() -> None:
    text = '# CONFIG_X is not set\nCONFIG_BPF=y\nCONFIG_NAME="a=b"\n\nCONFIG_HZ=250\n'
    assert parse_config(text) == {"CONFIG_BPF": "y", "CONFIG_NAME": '"a=b"', "CONFIG_HZ": "250"}


def test_symbols_of_modules_count_and_those_of_programs_do_not() -> None:
    lines = [
        "0000000000000000 T vfs_read",
        "0000000000000000 t vfs_read",
        "0000000000000000 t helper\t[nf_tables]",
        "0000000000000000 t bpf_prog_6deef7357e7b4530\t[bpf]",
        "nonsense",
    ]
    assert parse_symbols(lines) == {"vfs_read": "Tt", "helper": "t"}


@pytest.mark.parametrize(
    ("release", "version", "numbers"),
    [
        ("6.18.44-fc", "#1 SMP", (6, 18, 44)),
        ("5.10.0-32-cloud-amd64", "#1 SMP Debian 5.10.223-1 (2024-08-10)", (5, 10, 223)),
        ("7.0-rc3", "", (7, 0, 0)),
        ("mine", "", ()),
    ],
)
def test_versions(release: str, version: str, numbers: tuple[int, ...]) -> None:
    view = KernelView(BARE.replace(release=release, version=version))
    assert view.version == numbers
    assert view.is_at_least("5.10") == bool(numbers)
