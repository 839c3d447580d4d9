"""Tracepoints, probes, perf events, iterators and programs that are run: each is attached, triggered, and reports."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import ecli_py
from ecli_runtime.errors import TargetError
from tests.cli import Ecli
from tests.corpus_programs import CORPUS
from tests.kernel.conftest import Attaching, Cgroup
from tests.machine import missing, system_libbpf
from tests.programs import source

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

MAGIC = 1234567  # a process that there is not
GETPGID = 121  # __NR_getpgid on x86-64; 155 elsewhere


def call() -> None:
    """Call getpgid, which hardly anybody calls."""
    with pytest.raises(ProcessLookupError):
        os.getpgid(MAGIC)


ONLY_US = ("--only_pid", str(os.getpid()))


@pytest.mark.parametrize(
    ("target", "hit"),
    [
        ("on_tracepoint=syscalls:sys_enter_getpgid", ("TRACEPOINT", MAGIC)),
        ("on_uprobe=libc:getpgid", ("UPROBE", MAGIC)),
        (f"on_uprobe=libc.so.6:getpgid@{os.getpid()}", ("UPROBE", MAGIC)),
        ("on_uprobe_multi=libc:getpgi*", ("UPROBE_MULTI", MAGIC)),
        ("on_uretprobe=libc:getpgid", ("URETPROBE", 2**32 - 1)),
    ],
)
def test_a_call(attaching: Attaching, target: str, hit: tuple[str, int]) -> None:
    with attaching.started(target, words=ONLY_US) as running:
        call()
        assert hit in attaching.hits(running)


def test_raw_tracepoint(attaching: Attaching) -> None:
    with attaching.started("on_raw_tracepoint=sys_enter", words=ONLY_US) as running:
        call()
        assert {value for _hook, value in attaching.hits(running)} & {GETPGID, 155}


def test_typed_raw_tracepoint(attaching: Attaching) -> None:
    with attaching.started("on_tp_btf=sched_process_exec") as running:
        subprocess.run(["true"], check=True)
        assert ("TP_BTF", 0) in attaching.hits(running)


# --- a binary of our own ---

PROGRAM = r"""
#include <stdio.h>
__attribute__((noinline)) int twice(int x) { asm volatile(""); return 2 * x; }

/* A probe as <sys/sdt.h> describes it: a nop, and a note with its address and where its argument is. */
#define PROBE(x) asm volatile( \
	"990: nop\n" \
	".pushsection .note.stapsdt,\"?\",\"note\"\n" \
	".balign 4\n.4byte 992f-991f, 994f-993f, 3\n" \
	"991: .asciz \"stapsdt\"\n992: .balign 4\n" \
	"993: .8byte 990b, _.stapsdt.base, 0\n" \
	".asciz \"shop\"\n.asciz \"sale\"\n.asciz \"-4@%0\"\n" \
	"994: .balign 4\n.popsection\n" \
	".ifndef _.stapsdt.base\n" \
	".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n" \
	".endif\n" :: "r"(x))

int main(void)
{
	int x;

	while (scanf("%d", &x) == 1) {
		PROBE(x);
		printf("%d\n", twice(x));
		fflush(stdout);
	}
	return 0;
}
"""


class Shop:
    """A process that asks its function ``twice``, and passes its probe ``shop:sale``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def sell(self, number: int) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{2 * number}\n"

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cc = shutil.which("cc") or missing("C compiler (cc)")
    directory = tmp_path_factory.mktemp("shop")
    (directory / "shop.c").write_text(PROGRAM)
    subprocess.run([cc, "-O2", "-o", directory / "shop", directory / "shop.c"], check=True)
    return directory / "shop"


@pytest.fixture
def shops(program: Path) -> Iterator[tuple[Shop, Shop]]:
    both = Shop(program), Shop(program)
    yield both
    for shop in both:
        shop.close()


def test_usdt(attaching: Attaching, shops: tuple[Shop, Shop]) -> None:
    with attaching.started(f"on_usdt={shops[0].path}:shop:sale") as running:
        shops[0].sell(17)
        shops[1].sell(18)
        assert attaching.hits(running) == [("USDT", 17), ("USDT", 18)]


def test_usdt_of_one_process(attaching: Attaching, shops: tuple[Shop, Shop]) -> None:
    with attaching.started(f"on_usdt={shops[0].path}:shop:sale@{shops[0].process.pid}") as running:
        shops[1].sell(18)
        shops[0].sell(17)
        assert attaching.hits(running) == [("USDT", 17)]


def test_usdt_with_a_libbpf_of_another_generation(attaching: Attaching, program: Path) -> None:
    older = replace(attaching.ecli, environment={"ECLI_LIBBPF": system_libbpf()})
    outcome = older("run", attaching.package, "--attach", f"on_usdt={program}:shop:sale")
    outcome.fails("was built with usdt.bpf.h of libbpf 1.7 or newer", "each argument would read 0", "use the bundled libbpf")


def test_uprobe_of_one_process_by_shortcuts(attaching: Attaching, shops: tuple[Shop, Shop]) -> None:
    words = ("--binary", str(shops[0].path), "--pid", str(shops[0].process.pid))
    with attaching.started("on_uprobe_in_some_binary", words=words) as running:
        shops[1].sell(18)
        shops[0].sell(17)
        assert attaching.hits(running) == [("UPROBE", 17)]


def test_uprobe_in_a_program_that_a_process_has_mapped(attaching: Attaching, shops: tuple[Shop, Shop]) -> None:
    with attaching.started(f"on_uprobe=shop:twice@{shops[1].process.pid}") as running:
        shops[1].sell(18)
        assert attaching.hits(running) == [("UPROBE", 18)]


def test_what_a_binary_has_not(attaching: Attaching, program: Path) -> None:
    attaching.fails(f"on_uprobe={program}:twcie", "cannot attach to twcie of ", "did you mean twice?")
    attaching.fails(f"on_usdt={program}:shop:sail", "cannot attach to USDT probe shop:sail", "probes there: shop:sale")
    attaching.fails("on_uprobe=libnothing:f", "there is no file 'libnothing' in PATH or among the libraries")
    attaching.fails(f"on_uprobe={__file__}:f", "is no ELF file")
    attaching.fails("on_uprobe=libc:getpgid@4194303", "there is no process 4194303")
    attaching.fails("on_uprobe=libc", "needs a function in a binary", "--binary PATH or --attach on_uprobe=libc:malloc[@PID]")


# --- perf events ---


def busy() -> None:
    """Use 0.3 s of a CPU."""
    deadline = time.process_time() + 0.3
    while time.process_time() < deadline:
        pass


@pytest.mark.parametrize("target", ["on_perf_event", "on_perf_event=99Hz", "on_perf_event=software:cpu-clock@10000000"])
def test_clock(attaching: Attaching, target: str) -> None:
    with attaching.started(target, words=ONLY_US) as running:
        busy()
        hits = attaching.hits(running)
    assert set(hits) == {("PERF_EVENT", os.getpid())}
    assert 3 <= len(hits) <= 60  # 30 at the full rate


def test_clock_of_one_process(attaching: Attaching) -> None:
    with attaching.started("on_perf_event", words=("--pid", str(os.getpid()))) as running:
        subprocess.run([sys.executable, "-c", "for _ in range(10**6): pass"], check=True)
        thread = threading.Thread(target=busy)  # made after attaching
        thread.start()
        thread.join()
        hits = attaching.hits(running)
    assert set(hits) == {("PERF_EVENT", os.getpid())}
    assert len(hits) >= 3


def test_page_faults(attaching: Attaching) -> None:
    with attaching.started("on_perf_event=software:page-faults", words=ONLY_US) as running:
        with mmap.mmap(-1, 256 * mmap.PAGESIZE) as pages:
            pages.madvise(mmap.MADV_NOHUGEPAGE)
            for page in range(256):
                pages[page * mmap.PAGESIZE] = 1
        assert len(attaching.hits(running)) >= 256


def test_perf_events_that_there_are_not(attaching: Attaching) -> None:
    attaching.fails("on_perf_event=software:cpu-clok", "no perf event", "software:cpu-clock")
    attaching.fails("on_perf_event=often", "no perf event")
    attaching.fails("on_perf_event=99Hz", "there is no process 4194303", words=("--pid", "4194303"))


# --- iterators, programs that are run ---


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    for name in ("taskiter", "mapiter", "heartbeat"):
        outcome = Ecli(directory, environment=caches)("build", CORPUS[name], "-o", f"{name}.json")
        assert outcome.status == 0, outcome.stderr
    return directory


def test_iterators_end_by_themselves(ecli: Ecli, corpus: Path) -> None:
    outcome = ecli("run", corpus / "taskiter.json", "--disable", "dump_tasks", "--disable", "list_files")
    assert outcome.status == 0
    first, *lines = outcome.stdout.splitlines()
    assert first == f"{'PID':>8} {'TID':>8} COMM"
    assert f"{os.getpid():8} {os.getpid():8} {Path('/proc/self/comm').read_text().strip()}" in lines
    assert outcome.closing_line.startswith(f"{len(lines) + 1} events, 0 lost")


def test_iterators_as_json(ecli: Ecli, corpus: Path) -> None:
    outcome = ecli("run", corpus / "mapiter.json", "--json", "--disable", "dump_elements")
    assert {event["program"] for event in outcome.events} == {"dump_bpf_map"}
    assert outcome.events[-1]["line"].endswith(" maps")
    assert any(event["line"].split()[1:] == ["mapiter_.rodata", "1"] for event in outcome.events)


def test_an_iterator_over_one_process(ecli: Ecli, corpus: Path) -> None:
    words = ("--json", "--attach", "list_tasks", "--disable", "dump_tasks", "--disable", "list_files", "--pid", str(os.getpid()))
    lines = [event["line"].split()[0] for event in ecli("run", corpus / "taskiter.json", *words).events]
    assert set(lines) == {"PID", str(os.getpid())}


def test_an_iterator_needs_a_map(ecli: Ecli, corpus: Path) -> None:
    ecli("run", corpus / "mapiter.json").fails('dump_elements: SEC("iter/bpf_map_elem") needs a map to walk', "=MAP")
    outcome = ecli("run", corpus / "mapiter.json", "--json", "--attach", "dump_elements=template")
    assert {event["program"] for event in outcome.events} == {"dump_bpf_map"}  # that map is empty


def test_iterators_in_python(corpus: Path) -> None:
    with ecli_py.open(corpus / "taskiter.json", disable=["dump_tasks", "list_files"]) as tool:
        events = list(tool.events(count=3))
    assert [list(event) for event in events] == [["program", "line"]] * 3
    with pytest.raises(TargetError, match="no program 'list_taks'"):
        ecli_py.open(corpus / "taskiter.json", attach={"list_taks": ""})


def test_a_program_that_is_run(attaching: Attaching) -> None:
    with attaching.started("on_run") as running:
        assert attaching.hits(running) == [("SYSCALL", 0)]
    attaching.fails("on_run_that_fails", "it was run, and returned -95 (Operation not supported)", "--disable on_run_that_fails")


def test_a_timer_that_a_program_starts(ecli: Ecli, corpus: Path) -> None:
    outcome = ecli("run", corpus / "heartbeat.json", "--json", "--interval_ns", "1000000", "--count", "3")
    assert [event["number"] for event in outcome.events] == [1, 2, 3]


def test_a_program_that_is_run_and_has_nothing_to_say_ends(build: Ecli) -> None:
    source(build.directory, section="syscall")
    assert build("build", "tool.bpf.c").status == 0
    assert build("run", "tool.json").closing_line.startswith("0 events")


# --- what there is to say wrong ---


def test_targets_that_are_none(attaching: Attaching) -> None:
    attaching.fails("on_tracepiont=a:b", "there is no program 'on_tracepiont'", "did you mean on_tracepoint?")
    attaching.fails("on_tracepoint=", "expected PROG=TARGET")
    attaching.fails("on_tracepoint", 'on_tracepoint: SEC("tp") needs a tracepoint', "--attach on_tracepoint=CATEGORY:NAME")
    attaching.fails("on_tracepoint=sched:sched_swich", "No such file or directory", "did you mean sched:sched_switch")
    attaching.fails("on_raw_tracepoint=sched_swich", "did you mean sched_switch")
    attaching.fails("on_tp_btf=sched_swich", "this kernel has no such tracepoint", "did you mean sched_switch")
    attaching.fails("on_reuseport=x", "nothing to attach such a program to from here", "--disable on_reuseport")
    attaching.fails("on_run", "--iface: no program of this package needs it", words=("--iface", "lo"))
    attaching.fails("on_run", "--pid: expected the id of a process, got '-1'", words=("--pid=-1",))
    attaching.ecli("run", attaching.package).fails("nothing to attach: each program is optional", "on_run")
    attaching.fails("on_run", "is both attached and disabled", words=("--disable", "on_run"))


# Programs that not every kernel takes, and why then: one without CONFIG_KPROBES, CONFIG_FPROBE or CONFIG_BPF_LSM, one that lets
# nobody patch its functions (lockdown), one that is older.
NO_KPROBES = "this kernel has no kprobes (CONFIG_KPROBES)"
NO_FPROBE = "this kernel has no probes of many functions (CONFIG_FPROBE)"
REFUSED = "to load"  # "no permission to load", "permits nobody to load"
NOT_EVERYWHERE = {
    "on_kprobe=vfs_read": (NO_KPROBES,),
    "on_kretprobe=vfs_read": (NO_KPROBES,),
    "on_kprobe_multi=vfs_rea*": (NO_KPROBES, NO_FPROBE, "kprobe.multi needs Linux 5.18"),
    "on_kprobe_session=vfs_rea*": (NO_KPROBES, NO_FPROBE, "sessions 6.10"),
    "on_ksyscall=getpgid": (NO_KPROBES,),
    "on_fentry=vfs_read": (REFUSED,),
    "on_fexit=vfs_read": (REFUSED,),
    "on_fmod_ret=security_file_open": (REFUSED,),
    "on_lsm=file_open": (REFUSED,),
    "on_lsm_cgroup=CGROUP": (REFUSED, "Invalid argument"),
}


@pytest.mark.parametrize("target", NOT_EVERYWHERE)
def test_types_that_not_every_kernel_has(attaching: Attaching, cgroup: Cgroup, target: str) -> None:
    target = target.replace("CGROUP", str(cgroup.path))
    outcome = attaching.ecli("run", attaching.package, "--attach", target, "--duration", "1ms")
    if outcome.status:
        reasons = NOT_EVERYWHERE[target.replace(str(cgroup.path), "CGROUP")]
        assert any(reason in outcome.stderr for reason in reasons), outcome.stderr
        pytest.skip(outcome.stderr)
    with attaching.started(target) as running:
        call()
        cgroup.python("import socket; socket.socket().close()")
        assert attaching.hits(running)


@pytest.mark.parametrize(
    ("target", "where"), [("on_kprobe=do_exitt", "function do_exitt"), ("on_ksyscall=unlikat", "call unlikat")]
)
def test_a_function_that_cannot_be_probed(attaching: Attaching, target: str, where: str) -> None:
    said = attaching.fails(target, f"cannot attach to {'kernel' if 'function' in where else 'system'} {where}: ")
    assert NO_KPROBES in said or "did you mean " in said


def test_functions_that_the_kernel_has_not(attaching: Attaching) -> None:
    for name in ("on_fentry", "on_fexit", "on_fmod_ret"):
        attaching.fails(f"{name}=vfs_raed", "this kernel has no such function in its BTF", "did you mean vfs_read")
    attaching.fails("on_lsm=file_opn", "this kernel has no such hook")
    attaching.fails("on_kprobe", 'SEC("kprobe") needs a kernel function', "--attach on_kprobe=FUNCTION")
    attaching.fails("on_fentry", 'SEC("fentry") needs a kernel function')


def test_the_section_names_a_function_that_the_kernel_has_not(build: Ecli) -> None:
    source(build.directory, section="fentry/vfs_raed")
    assert build("build", "tool.bpf.c").status == 0
    build("run", "tool.json").fails("run: this kernel has no vfs_raed in its BTF", "did you mean vfs_read")
