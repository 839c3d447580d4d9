"""Maps: what is read of them is what is in them, by every way of reading."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecli_py
from ecli_runtime.libbpf import batch
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.batch import EntryReader
from ecli_runtime.libbpf.object import LoadedMap, LoadedObject, OpenObject
from ecli_schemas.read import read_package
from tests.bpf import held_by
from tests.cli import Ecli
from tests.conftest import DATA
from tests.machine import missing, need_compiler, need_kernel

pytestmark = pytest.mark.kernel

CALLS = 20_000
CALLER = f"import os, sys\nsys.stdin.readline()\nfor _ in range({CALLS}):\n    os.getppid()\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("maps")
    outcome = Ecli(directory, environment=caches)("build", DATA / "maps.bpf.c", "-o", "maps.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "maps.json"


@pytest.fixture
def loaded(package: Path) -> Iterator[LoadedObject]:
    content = read_package(package.read_bytes())
    with OpenObject.open(content.object, content.object_name) as opened, opened.load() as made:
        yield made


def c_compiler() -> str:
    return next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None) or missing("C compiler (apt-get install gcc)")


def named(loaded: LoadedObject, name: str) -> LoadedMap:
    return next(each for each in loaded.maps if each.name == name)


def fill(its_map: LoadedMap, count: int) -> None:
    for number in range(count):
        key = number.to_bytes(4, sys.byteorder).ljust(its_map.key_size_bytes, b"k")
        value = number.to_bytes(8, sys.byteorder) * (its_map.lookup_size_bytes // 8)
        lib.bpf_map_update_elem(its_map.fd, key, ctypes.create_string_buffer(value), 0)


@pytest.mark.parametrize("name", ["hash", "lru_hash", "percpu_hash", "array", "percpu_array"])
@pytest.mark.parametrize("batch_size", [1 << 20, 1000, 1])
def test_batches_are_what_the_key_loop_finds(
    loaded: LoadedObject, name: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_BATCH_SIZE_BYTES", batch_size)  # 1: room for one entry, and buckets have several
    its_map = named(loaded, name)
    fill(its_map, 250)
    reader = EntryReader(its_map)
    for _ in range(2):
        assert sorted(reader.read()) == sorted(its_map.entries())
    assert reader.batched, "Linux has batches for these types"
    assert len(reader.read()) >= 250


@pytest.mark.parametrize("name", ["hash", "lru_hash", "percpu_hash"])
@pytest.mark.parametrize("batched", [True, False])
def test_clearing_gives_each_entry_once(loaded: LoadedObject, name: str, batched: bool) -> None:
    its_map = named(loaded, name)
    fill(its_map, 250)
    before = sorted(its_map.entries())
    reader = EntryReader(its_map, clear=True)
    reader.batched = batched
    assert sorted(reader.read()) == before
    assert reader.read() == []


def test_what_is_added_while_a_map_is_cleared_is_in_one_reading(package: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE) as process:
        keys, hits, most = [], 0, set()
        with ecli_py.open(package, {"only_pid": process.pid}) as tool:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.close()
            for event in tool.events():
                if event.source.name == "once":
                    keys.append(event["key"])
                elif event.source.name == "grown" and event["key"] < 3:
                    hits += event["value"]["hits"]
                    assert event["value"]["total_ns"] == 10 * event["value"]["hits"]
                    most.add(event["value"]["max_ns"])
                if process.poll() is not None:
                    tool.stop()
    assert sorted(keys) == list(range(CALLS))
    assert hits == CALLS  # an array, which is not emptied: what its counters have grown by
    assert most <= {0, 7}


# Reads a map by its id with the system call alone, and prints the slots of each histogram.
READER = r"""
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof(*attr)); }

int main(int argc, char **argv)
{
	union bpf_attr by_id, attr;
	uint32_t key = 0, next, slots[32];
	int fd;

	memset(&by_id, 0, sizeof(by_id));
	by_id.map_id = atoi(argv[1]);
	fd = call(BPF_MAP_GET_FD_BY_ID, &by_id);
	if (fd < 0)
		return 1;
	for (int first = 1;; first = 0) {
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = fd;
		attr.key = first ? 0 : (uint64_t)(uintptr_t)&key;
		attr.next_key = (uint64_t)(uintptr_t)&next;
		if (call(BPF_MAP_GET_NEXT_KEY, &attr))
			return 0;
		key = next;
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = fd;
		attr.key = (uint64_t)(uintptr_t)&key;
		attr.value = (uint64_t)(uintptr_t)slots;
		if (call(BPF_MAP_LOOKUP_ELEM, &attr))
			return 1;
		printf("%u", key);
		for (int slot = 0; slot < 32; slot++)
			printf(" %u", slots[slot]);
		printf("\n");
	}
}
"""


def test_histograms_agree_with_a_c_program_on_the_same_map(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    (tmp_path / "reader.c").write_text(READER)
    subprocess.run([c_compiler(), "-o", tmp_path / "reader", tmp_path / "reader.c"], check=True)
    with (
        subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE) as process,
        ecli.start("run", package, "--only-pid", str(process.pid)) as running,
    ):
        process.communicate(b"\n")
        said = ""
        for number in held_by(running.pid)["map"]:
            fd = lib.bpf_map_get_fd_by_id(number)
            info = Path(f"/proc/self/fdinfo/{fd}").read_text()
            os.close(fd)
            if re.search(r"^value_size:\t128$", info, re.MULTILINE):  # only that map has histograms
                said = subprocess.run([tmp_path / "reader", str(number)], capture_output=True, text=True, check=True).stdout
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    wanted = {}
    for line in said.splitlines():
        key, *slots = map(int, line.split())
        wanted[key] = slots[: max(index for index, count in enumerate(slots) if count) + 1]
    assert sum(map(sum, wanted.values())) == CALLS
    shown = {}
    for block in outcome.stdout.split("\n\n"):
        title = re.match(r"(?:\d\d:\d\d:\d\d  )?sizes\[(\d)\]\n", block)
        if title:
            shown[int(title[1])] = [int(count) for count in re.findall(r"\) +: (\d+) +\|", block)]
    assert shown == wanted
    assert "[32 B, 64 B)" in outcome.stdout.replace("[ ", "[").replace("[ ", "[")
