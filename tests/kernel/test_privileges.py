"""Rights: what a run takes to start, and that it has none when it has started."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf import BPF_SYSCALL
from tests.cli import Ecli, Running, wait_until
from tests.conftest import DATA, ROOT
from tests.corpus_programs import CORPUS
from tests.kernel.conftest import Attaching, Cgroup, Network
from tests.kernel.test_profile import OPTIONS as CLOCK
from tests.machine import NOBODY, hiding, missing, mounting, system_libbpf

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
CAP_DAC_READ_SEARCH, CAP_NET_ADMIN = 1 << 2, 1 << 12
READ_PROCESSES = CAP_DAC_READ_SEARCH | 1 << 19 | 1 << 40  # CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE


def sets_of_threads(pid: int) -> list[dict[str, int]]:
    """Return the sets of capabilities of each thread, and whether it can get new ones."""
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        values = dict(re.findall(r"^(\w+):\t(\w+)$", status.read_text(), re.MULTILINE))
        found.append({**{name: int(values[name], 16) for name in SETS}, "NoNewPrivs": int(values["NoNewPrivs"])})
    return found


# What the documents say that CapEff may be, but for sums.
DOCUMENTED = {int(number, 16) for number in re.findall(r"\| `([0-9a-f]+)` \|", (ROOT / "docs" / "privileges.md").read_text())}

NOTHING = {**dict.fromkeys(SETS, 0), "NoNewPrivs": 1}


def has_only(running: Running, rights: int = 0) -> bool:
    """Whether all threads of a run have some rights, a bit each, and no others: those that are documented."""
    assert rights in DOCUMENTED
    threads = sets_of_threads(running.pid)
    assert threads, "the run has ended"
    return all(each == {**NOTHING, "CapPrm": rights, "CapEff": rights} for each in threads)


def test_no_thread_keeps_a_right(attaching: Attaching, tmp_path: Path) -> None:
    # So many events that threads are made to render them, where there is WebAssembly.
    with attaching.started("on_raw_tracepoint=sys_enter", words=("--record", str(tmp_path / "x.rec"))) as running:
        wait_until(lambda: running.stdout.count("\n") > 20_000, "events")
        assert has_only(running)
        assert running.end().status == 0


def test_what_is_needed_to_remove_a_filter_is_kept(networked: Attaching, network: Network) -> None:
    before = network.run("tc", "qdisc", "show", "dev", "inside")
    with networked.started("on_tc=inside:clsact", "on_xdp=inside") as running:
        assert has_only(running, CAP_NET_ADMIN)
        assert running.end().status == 0
    assert network.run("tc", "qdisc", "show", "dev", "inside") == before


def test_all_else_is_detached_by_descriptors(networked: Attaching, network: Network, cgroup: Cgroup) -> None:
    """:meth:`Attaching.started` sees that nothing is left."""
    targets = ["on_xdp=inside", "on_connect4=" + str(cgroup.path), "on_uprobe=libc:getpgid", "on_perf_event", "on_sk_lookup"]
    targets += ["on_netfilter=ipv4:input", "on_socket_filter=inside", "on_tp_btf=sched_switch", "on_tc=inside"]
    with networked.started(*targets) as running:
        assert has_only(running)
        assert running.end(signal.SIGTERM).status == 0
    assert '"xdp"' not in network.run("ip", "-j", "link", "show", "dev", "inside")


def test_what_takes_a_program_out_of_a_map_of_sockets_is_kept(attaching: Attaching) -> None:
    old = replace(attaching, ecli=replace(attaching.ecli, environment={"ECLI_LIBBPF": system_libbpf()}))
    with old.started("on_message=sockets") as running:
        if has_only(running):
            pytest.skip("the system's libbpf attaches it by a link")
        assert has_only(running, CAP_NET_ADMIN)
        assert running.end().status == 0


# As Linux before 5.19, where bpf(2) asks for CAP_BPF; a filter of system calls cannot ask, so it always refuses. Each step is a
# struct sock_filter: load the number of the call, then the low half of its first argument; BPF_MAP_GET_NEXT_KEY gets EPERM.
AS_OLD_KERNELS = """
import ctypes, struct, sys
from ecli_runtime.privileges import give_up
number, low = int(sys.argv[1]), 16 if sys.byteorder == "little" else 20
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, low), (0x15, 0, 1, 4), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = struct.pack("@HP", len(steps), ctypes.addressof(code))
assert ctypes.CDLL(None, use_errno=True).prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
give_up(())
with open("/proc/thread-self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("CapEff")))
"""


def test_what_old_kernels_ask_for_is_kept() -> None:
    words = [sys.executable, "-c", AS_OLD_KERNELS, str(BPF_SYSCALL)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0000008000000000\n", "")


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A package with maps that are read again and again, two of which are emptied by that."""
    directory = tmp_path_factory.mktemp("counters")
    outcome = Ecli(directory, environment=caches)("build", DATA / "maps.bpf.c", "-o", "maps.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "maps.json"


CALLER = "import os, sys\nsys.stdin.readline()\nfor _ in range(5000):\n    os.getppid()\n"


def test_maps_are_read_and_emptied(ecli: Ecli, counters: Path) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE)
    with caller, ecli.start("run", counters, "--json", f"--only-pid={caller.pid}", "--stats=100ms") as running:
        assert has_only(running)
        caller.communicate(b"\n")
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    taken = [event["key"] for event in outcome.events if event["@map"] == "once"]
    assert sorted(taken) == list(range(5000))
    # What the kernel has measured is still told.
    assert sum(each["runs"] for each in outcome.marks("@stats")[-1]["programs"]) >= 5000


READ_IN_BATCHES = """
import sys
from ecli_runtime.libbpf.batch import EntryReader
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.privileges import give_up
from ecli_schemas.read import read_package
with open(sys.argv[1], "rb") as file:
    package = read_package(file.read())
with OpenObject.open(package.object, package.object_name) as opened, opened.load() as loaded:
    give_up(())
    for each in loaded.maps:
        if each.name in ("hash", "lru_hash", "percpu_hash", "array", "percpu_array"):
            reader = EntryReader(each, clear="hash" in each.name)
            print(each.name, len(reader.read()), reader.batched)
"""


def test_batches_need_no_right(counters: Path) -> None:
    done = subprocess.run([sys.executable, "-c", READ_IN_BATCHES, counters], capture_output=True, text=True, check=False)
    lines = [f"{name} 0 True" for name in ("hash", "lru_hash", "percpu_hash")]
    assert done.stdout.splitlines() == [*lines, "array 300 True", "percpu_array 300 True"], done.stderr


def test_a_limit_detaches_programs(attaching: Attaching) -> None:
    with attaching.started("on_raw_tracepoint=sys_enter", words=("--max-overhead", "0.001%")) as running:
        assert has_only(running)
        wait_until(lambda: "of --max-overhead: on_raw_tracepoint is detached" in running.stderr, "the limit")


def test_what_the_run_mounts_for_itself_takes_no_right_later(attaching: Attaching, cgroup: Cgroup) -> None:
    """tracefs and control groups are mounted in a thread of its own, which has ended."""
    hidden = replace(attaching.ecli, prefix=hiding("/sys/kernel/tracing", "/sys/kernel/debug", "/sys/fs/cgroup"))
    path = f"/sys/fs/cgroup/{cgroup.path.name}"
    targets = ("on_tracepoint=syscalls:sys_enter_getpgid", f"on_connect4={path}")
    with replace(attaching, ecli=hidden).started(*targets) as running:
        assert has_only(running)
        os.getpgid(0)
        wait_until(lambda: '"TRACEPOINT"' in running.stdout, "the event")
        assert running.end().status == 0


def test_profiles_may_look_at_processes(build: Ecli) -> None:
    """Their stack traces are named from what /proc says of whoever ran."""
    assert build("build", CORPUS["offcpu"], "-o", "offcpu.json").status == 0
    with build.start("run", "offcpu.json", "--json") as running:
        assert has_only(running, READ_PROCESSES)


def test_so_may_events_with_stack_traces(build: Ecli) -> None:
    assert build("build", DATA / "stacks.bpf.c", "-o", "stacks.json").status == 0
    for words, rights in (((), READ_PROCESSES), (("--raw",), 0)):
        with build.start("run", "stacks.json", "--json", *words) as running:
            wait_until(lambda: has_only(running, rights), "the thread that has loaded it ending")  # noqa: B023  called at once


READ_MAPS = """
import sys
from ecli_runtime.privileges import TO_READ_PROCESSES, give_up
give_up(TO_READ_PROCESSES)
with open(f"/proc/{sys.argv[1]}/maps") as maps:
    address = next(line.split()[0] for line in maps if " r-xp " in line and "/" in line)
start, _, end = address.partition("-")
with open(f"/proc/{sys.argv[1]}/map_files/{int(start, 16):x}-{int(end, 16):x}", "rb") as file:
    print(file.read(4))
"""


def test_what_is_kept_for_profiles_is_enough() -> None:
    with subprocess.Popen(["sleep", "60"], cwd="/", user=NOBODY, group=NOBODY, extra_groups=()) as process:
        try:
            words = [sys.executable, "-c", READ_MAPS, str(process.pid)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        finally:
            process.kill()
    assert (done.stdout, done.stderr) == ("b'\\x7fELF'\n", "")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of somebody else, where only he may look."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def test_a_profile_of_somebody_else(ecli: Ecli, profile: Path, loop_binary: Path, home: Path) -> None:
    """His program is read by a right that is kept; the flame graph, in his directory, is opened before."""
    program = home / "busyloop"
    shutil.copy(loop_binary, program)
    os.chown(program, NOBODY, NOBODY)
    program.chmod(0o700)
    words = (*CLOCK, "--duration", "1s", "--folded", "--flamegraph", home / "loop.svg")
    with subprocess.Popen([program], stdout=subprocess.PIPE, user=NOBODY, group=NOBODY, extra_groups=()) as process:
        assert process.stdout is not None
        process.stdout.read(5)
        try:
            with ecli.start("run", profile, "--only-pid", str(process.pid), *words) as running:
                assert has_only(running, READ_PROCESSES)
                outcome = running.wait()
        finally:
            process.kill()
    assert outcome.status == 0, outcome.stderr
    assert ";main;spin_outside;spin_inside" in outcome.stdout
    assert "spin_inside (" in (home / "loop.svg").read_text()


def test_an_installation_in_a_home_directory(ordinary_user: Ecli, attaching: Attaching) -> None:
    """Root without rights may not look there, and there are modules that are imported when they are needed."""
    home = ordinary_user.directory
    for each in (home, *home.rglob("*")):
        os.chown(each, NOBODY, NOBODY)
    home.chmod(0o700)
    environment = {**ordinary_user.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    own = replace(attaching.ecli, environment=environment)
    with replace(attaching, ecli=own).started("on_raw_tracepoint=sys_enter", words=("--stats",)) as running:
        wait_until(lambda: running.stdout.count("\n") > 1000, "events")
        assert has_only(running, CAP_DAC_READ_SEARCH)
        outcome = running.end()
    assert (outcome.status, "Traceback" in outcome.stderr) == (0, False), outcome.stderr


def test_rights_may_be_kept(attaching: Attaching) -> None:
    with attaching.started("on_raw_tracepoint=sys_enter", words=("--keep-privileges",)) as running:
        own = sets_of_threads(os.getpid())[0]
        assert all(each == own for each in sets_of_threads(running.pid))


def test_a_recording_where_only_root_may_write(ecli: Ecli, packages: Path, home: Path) -> None:
    """It is opened while that is permitted."""
    with ecli.start("run", packages / "execsnoop.json", "--json", "--record", home / "x.rec") as running:
        subprocess.run(["true"], check=True)
        wait_until(lambda: '"true"' in running.stdout, "the event")
        assert running.end().status == 0
    assert '"true"' in ecli("replay", home / "x.rec", "--json").stdout


SYMBOLS = """
import sys
from ecli_runtime.decode.symbols import KernelSymbols
from ecli_runtime.privileges import give_up
if sys.argv[1] == "give up":
    give_up(())
print(len(KernelSymbols()) > 1000)
"""


def test_kernel_symbols_are_still_read() -> None:
    def known(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", SYMBOLS, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    if known("as root") != "True":
        pytest.skip("this kernel shows nobody its symbols")
    assert known("give up") == "True"


def with_rights(user: Ecli, *names: str) -> Ecli:
    """Return the command line for an ordinary user with some capabilities."""
    listed = ",".join(f"+{name}" for name in names) or "-all"
    words = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    return replace(user, user=None, prefix=[*words, "--inh-caps", listed, "--ambient-caps", listed])


@pytest.fixture
def hooks_for_anybody(ordinary_user: Ecli, hooks: Path) -> Path:
    """The package of hooks without its maps of sockets, which take CAP_NET_ADMIN, where an ordinary user can read it."""
    copy = ordinary_user.directory / "hooks.json"
    copy.write_bytes(hooks.read_bytes())
    copy.chmod(0o644)
    return copy


@pytest.mark.parametrize(
    ("target", "rights", "lacking"),
    [
        ("on_raw_tracepoint=sys_enter", ("bpf", "perfmon", "net_admin"), "perfmon"),
        ("on_tp_btf=sched_switch", ("bpf", "perfmon", "net_admin"), "perfmon"),
        ("on_uprobe=libc:getpgid", ("bpf", "perfmon", "net_admin", "sys_admin"), "sys_admin"),
        ("on_uprobe_multi=libc:getpg*", ("bpf", "perfmon", "net_admin"), "perfmon"),
        ("on_perf_event", ("bpf", "perfmon", "net_admin"), "perfmon"),
        ("on_xdp=lo", ("bpf", "net_admin"), "net_admin"),
        ("on_tc=lo", ("bpf", "net_admin"), "net_admin"),
        ("on_tc=lo:clsact", ("bpf", "net_admin"), "bpf"),
        ("on_netfilter=ipv4:input", ("bpf", "net_admin"), "bpf"),
        ("on_sk_lookup", ("bpf", "net_admin"), "bpf"),
        ("on_connect4=CGROUP", ("bpf", "net_admin"), "bpf"),
        ("on_socket_filter=lo", ("bpf", "net_admin", "net_raw"), "net_raw"),
        ("on_run", ("bpf", "net_admin"), "bpf"),
    ],
)
def test_rights_instead_of_root(
    ordinary_user: Ecli,
    hooks_for_anybody: Path,
    network: Network,
    cgroup: Cgroup,
    target: str,
    rights: tuple[str, ...],
    lacking: str,
) -> None:
    """The package has maps of sockets, which take CAP_NET_ADMIN whatever is attached."""
    attach = ("--attach", target.replace("CGROUP", str(cgroup.path)))
    words = ("run", hooks_for_anybody, *attach, "--duration", "10ms")
    able = with_rights(ordinary_user, *rights)
    outcome = replace(able, prefix=[*network.prefix, *able.prefix])(*words)
    if "needs Linux" in outcome.stderr:
        pytest.skip(f"this kernel is too old: {outcome.stderr}")
    assert outcome.status == 0, outcome.stderr
    unable = with_rights(ordinary_user, *(set(rights) - {lacking}))
    replace(unable, prefix=[*network.prefix, *unable.prefix])(*words).fails("error: ", f"CAP_{lacking.upper()}", "ecli-py doctor")
    assert f"CAP_{lacking.upper()}" in unable("doctor").stdout


def test_a_tracepoint_needs_a_readable_tracefs(ordinary_user: Ecli, hooks_for_anybody: Path) -> None:
    user = with_rights(ordinary_user, "bpf", "perfmon", "net_admin")
    mounted = mounting(tracefs="/sys/kernel/tracing")
    words = ("run", hooks_for_anybody, "--attach", "on_tracepoint=syscalls:sys_enter_getpgid", "--duration", "10ms")
    replace(user, prefix=[*mounted, *user.prefix])(*words).fails(
        "error: tracefs cannot be read at /sys/kernel/tracing: Permission denied", "mount -o remount,mode=750,gid=GROUP"
    )
    # A remount would change it for everybody: there is one tracefs.
    able = with_rights(ordinary_user, "bpf", "perfmon", "net_admin", "dac_read_search")
    outcome = replace(able, prefix=[*mounted, *able.prefix])(*words)
    assert outcome.status == 0, outcome.stderr


def test_an_alternative_to_a_tracepoint_where_tracefs_cannot_be_read(build: Ecli, ordinary_user: Ecli) -> None:
    programs = [
        f'// @alternative call\nSEC("{section}") int way{number}(void *ctx) {{ return 0; }}\n'
        for number, section in enumerate(("tp/syscalls/sys_enter_getpgid", "raw_tp/sys_enter"))
    ]
    head = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "GPL";\n'
    (build.directory / "tool.bpf.c").write_text(head + "".join(programs))
    assert build("build", "tool.bpf.c").status == 0
    copy = ordinary_user.directory / "tool.json"
    copy.write_bytes((build.directory / "tool.json").read_bytes())
    copy.chmod(0o644)
    user = with_rights(ordinary_user, "bpf", "perfmon")
    mounted = mounting(tracefs="/sys/kernel/tracing")
    outcome = replace(user, prefix=[*mounted, *user.prefix])("run", copy, "--duration", "10ms", "--verbose")
    assert outcome.status == 0, outcome.stderr
    assert "way0 (tp/syscalls/sys_enter_getpgid) is passed over: tracefs cannot be read at /sys/kernel/tracing" in outcome.stderr
    assert "hook call: way1 (raw_tp/sys_enter)\n" in outcome.stderr


def test_measuring_takes_a_right_of_its_own(ordinary_user: Ecli, hooks_for_anybody: Path) -> None:
    user = with_rights(ordinary_user, "bpf", "perfmon", "net_admin")
    words = ("run", hooks_for_anybody, "--attach", "on_raw_tracepoint=sys_enter", "--stats")
    said = user(*words).fails("error: cannot measure programs", "hint: run it as root (sudo), or with CAP_SYS_ADMIN; ")
    assert "it is not the lack of privileges" not in said
    assert "CAP_SYS_ADMIN                       without it no uprobes" in user("doctor").stdout


def test_doctor_names_the_same_rights(ordinary_user: Ecli) -> None:
    said = with_rights(ordinary_user, "bpf")("doctor").stdout
    assert "without CAP_PERFMON: probes, tracepoints" in said
    assert "run it as root (sudo), or with CAP_PERFMON and CAP_NET_ADMIN" in said
    if "kernel.perf_event_paranoid" not in said:
        missing("kernel.perf_event_paranoid")


DELEGATED = [sys.executable, "-I", str(ROOT / "tests" / "delegated.py")]


def need_delegation() -> None:
    done = subprocess.run([*DELEGATED, "true"], capture_output=True, text=True, check=False)
    if "OSError: [Errno " in done.stderr:
        missing(f"BPF file system that delegates (Linux 6.9): {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def test_a_token_instead_of_rights(ecli: Ecli, hooks: Path) -> None:
    need_delegation()
    contained = replace(ecli, prefix=DELEGATED)
    words = ("run", hooks, "--attach", "on_raw_tracepoint=sys_enter", "--json", "--count", "3")
    contained(*words).fails("error: no permission to load eBPF programs", "--token PATH")
    outcome = contained(*words, "--token", "/mnt")
    assert (outcome.status, len(outcome.events)) == (0, 3), outcome.stderr
    contained(*words, "--token", "/tmp").fails("error: --token: /tmp gives no BPF token: Invalid argument")


TOKEN_FROM_PYTHON = """
import sys
import ecli_py
with ecli_py.open(sys.argv[1], attach={"on_raw_tracepoint": "sys_enter"}, token="/mnt") as tool:
    print(len(list(tool.events(count=3))))
"""


def test_a_token_from_python(hooks: Path) -> None:
    need_delegation()
    done = subprocess.run(
        [*DELEGATED, sys.executable, "-c", TOKEN_FROM_PYTHON, hooks], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_token_that_is_none(ecli: Ecli, hooks: Path) -> None:
    words = ("run", hooks, "--attach", "on_raw_tracepoint=sys_enter")
    ecli(*words, "--token", "/nowhere").fails("error: --token: /nowhere gives no BPF token", "there is no such file or directory")
    outside = replace(ecli, prefix=mounting(bpf="/sys/fs/bpf"))
    outside(*words, "--token", "/sys/fs/bpf").fails("error: --token: /sys/fs/bpf gives no BPF token", "hint: ")


def test_a_libbpf_that_knows_no_tokens(ecli: Ecli, hooks: Path) -> None:
    old = replace(ecli, environment={"ECLI_LIBBPF": system_libbpf()})
    said = old("run", hooks, "--attach", "on_raw_tracepoint=sys_enter", "--duration", "10ms", "--token", "/mnt")
    assert said.status == 1
    if "libbpf 1.5" not in said.stderr:
        pytest.skip("the system's libbpf knows tokens")
    said.fails("error: --token needs libbpf 1.5; this is libbpf 1.", "use the bundled libbpf")
