"""Rights: what a run takes to start, and that it has none when it has started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli import Ecli, wait_until
from tests.kernel.conftest import Attaching, Cgroup, Network
from tests.machine import NOBODY, missing, mounting

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
CAP_NET_ADMIN, CAP_SYSLOG = 1 << 12, 1 << 34


def sets_of_threads(pid: int) -> list[dict[str, int]]:
    """Return the sets of capabilities of each thread, and whether it can get new ones."""
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        values = dict(re.findall(r"^(\w+):\t(\w+)$", status.read_text(), re.MULTILINE))
        found.append({**{name: int(values[name], 16) for name in SETS}, "NoNewPrivs": int(values["NoNewPrivs"])})
    return found


NOTHING = {**dict.fromkeys(SETS, 0), "NoNewPrivs": 1}


def test_no_thread_keeps_a_right(attaching: Attaching) -> None:
    # So many events that threads are made to render them, where there is WebAssembly.
    with attaching.started("on_raw_tracepoint=sys_enter", words=("--drop-privileges",)) as running:
        wait_until(lambda: running.stdout.count("\n") > 20_000, "events")
        threads = sets_of_threads(running.pid)
        outcome = running.end()
    assert threads
    assert all(each == NOTHING for each in threads), threads
    assert outcome.status == 0


def test_what_is_needed_to_remove_a_filter_is_kept(networked: Attaching, network: Network) -> None:
    before = network.run("tc", "qdisc", "show", "dev", "inside")
    with networked.started("on_tc=inside:clsact", "on_xdp=inside", words=("--drop-privileges",)) as running:
        for each in sets_of_threads(running.pid):
            assert each == {**NOTHING, "CapPrm": CAP_NET_ADMIN, "CapEff": CAP_NET_ADMIN}
        assert running.end().status == 0
    assert network.run("tc", "qdisc", "show", "dev", "inside") == before


def test_rights_are_kept_unless_that_is_asked_for(attaching: Attaching) -> None:
    with attaching.started("on_raw_tracepoint=sys_enter") as running:
        own = sets_of_threads(os.getpid())[0]
        assert all(each == own for each in sets_of_threads(running.pid))


def test_a_recording_where_only_root_may_write(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    """The directory is somebody else's: that is opened while it is permitted."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    with ecli.start("run", packages / "execsnoop.json", "--json", "--drop-privileges", "--record", theirs / "x.rec") as running:
        subprocess.run(["true"], check=True)
        wait_until(lambda: '"true"' in running.stdout, "the event")
        assert running.end().status == 0
    assert '"true"' in ecli("replay", theirs / "x.rec", "--json").stdout


def test_sampled_maps_are_still_read(ecli: Ecli, packages: Path) -> None:
    outcome = ecli("run", packages / "runqlat.json", "--duration", "1500ms", "--json", "--drop-privileges")
    assert (outcome.status, bool(outcome.events)) == (0, True), outcome.stderr


SYMBOLS = """
import sys
from ecli_runtime.decode.symbols import KernelSymbols
from ecli_runtime.privileges import give_up
if sys.argv[1] == "give up":
    give_up((), lambda: True)
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
    listed = ",".join(f"+{name}" for name in names)
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


def test_doctor_names_the_same_rights(ordinary_user: Ecli) -> None:
    said = with_rights(ordinary_user, "bpf")("doctor").stdout
    assert "without CAP_PERFMON: probes, tracepoints" in said
    assert "run it as root (sudo), or with CAP_PERFMON and CAP_NET_ADMIN" in said
    if "kernel.perf_event_paranoid" not in said:
        missing("kernel.perf_event_paranoid")
