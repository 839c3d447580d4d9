"""The rows of the matrix: what is run, what makes it report, and what it must then say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.matrix import triggers as t


@dataclass(frozen=True)
class Row:
    """A package, or one program of it.

    Attributes:
        name: The row's.
        package: File name of the package, without ``.json``.
        words: Words of the command line after the package. ``{cgroup}``, ``{pid}`` and ``{shop}`` are filled in: a control
            group and a process that triggers are in, and the program ``shop``.
        trigger: What makes the program report; done again until it does.
        event: Members that one event must have.
        runs: Being attached is all that can be asked for, because somebody would have to fill a map first.
    """

    name: str
    package: str
    words: tuple[str, ...] = ()
    trigger: Callable[[], None] = t.nothing
    event: Mapping[str, object] = field(default_factory=dict)
    runs: bool = False


def _sample(name: str, trigger: Callable[[], None], /, *words: str, **event: object) -> Row:
    return Row(name, name, words, trigger, event)


def _only_runs(name: str, *words: str, trigger: Callable[[], None] = t.nothing) -> Row:
    return Row(name, name, words, trigger, runs=True)


def _hook(kind: str, target: str, hook: str, trigger: Callable[[], None], *words: str, value: int | None = None) -> Row:
    event = {"hook": hook} if value is None else {"hook": hook, "value": value}
    return Row(f"hook {kind}", "hooks", ("--attach", target, *words), trigger, event)


_PROCESS = ("--only_pid", "{pid}")
_CGROUP = ("--cgroup", "{cgroup}")
_LO = ("--iface", "lo")
_OFTEN = ("--interval", "100ms")

SAMPLES = [
    _sample("execsnoop", t.execute, comm="true"),
    _sample("opensnoop", t.open_file, path="/etc/passwd"),
    _sample("runqlat", t.sleep, *_OFTEN),
]

CORPUS = [
    _only_runs("bashread", "--attach", "anything=libc:getpgid", trigger=t.call),
    _sample("bits", t.execute),
    _sample("blockio", t.read_block_device),
    _sample("callbacks", t.open_file, "--period", "64"),
    _only_runs("ccfixed", trigger=t.connect_with_fixed_window),
    _sample("cgconnect", t.connect_over_ipv6, *_CGROUP),
    _sample("cgfilter", t.change_directory),
    _sample("cgpolicy", t.open_device, "--refuse_all", "true", *_CGROUP, major=1, minor=5),
    _only_runs("cgsocket", *_CGROUP, trigger=t.connect),
    _sample("cgsysctl", t.read_sysctl, *_CGROUP, name="kernel/hostname"),
    _only_runs("cgtraffic", *_CGROUP, trigger=t.send_datagram),
    _only_runs("commands", trigger=t.call),
    _sample("connects", t.connect),
    _sample("disklat", t.read_block_device, *_OFTEN),
    _sample("dynargs", t.execute, filename="/bin/true"),
    _sample("execargs", t.execute),
    _sample("execpath", t.execute),
    _sample("exitcount", t.execute, *_OFTEN),
    _sample("filelog", t.make_and_remove),
    _sample("forktree", t.execute),
    _sample("heartbeat", t.nothing, "--interval_ns", "10000000", number=2),
    _sample("inflight", t.open_file),
    _sample("jobqueue", t.execute),
    _sample("killsnoop", t.send_signal, signal=0, ret=0),
    _sample("lifecycle", t.execute),
    _only_runs("lsmguard", trigger=t.open_file),
    _sample("mapiter", t.nothing, "--attach", "dump_elements=template"),
    _sample("mountsnoop", t.mount),
    _sample("multiprobe", t.open_file, "--threshold_ns", "0"),
    _sample("nfdrop", t.send_datagram, "--attach", "on_packet=ipv4:output", "--drop_port", "4242", dport=4242),
    _sample("numbers", t.sleep),
    _sample("offcpu", t.sleep, *_OFTEN),
    _sample("ontask", t.sleep, "--min_us", "0"),
    _sample("openlines", t.open_file),
    _sample("ownnames", t.execute),
    _sample("parents", t.execute),
    _sample("percpulast", t.sleep),
    _sample("percpurings", t.touch_pages, "--sample_every", "1"),
    _sample("profile", t.busy),
    _only_runs("pygc"),
    _sample("removals", t.make_and_remove, *_PROCESS),
    _sample("sections", t.call),
    _sample("sockbypass", t.connect, *_CGROUP),
    _sample("sockfilter", t.connect, *_LO),
    _only_runs("steer", "--disable", "spread", trigger=t.connect),
    _sample("submaps", t.execute),
    _sample("taskiter", t.nothing),
    _sample("tcdns", t.ask_for_a_name, *_LO),
    _sample("tcpstates", t.connect),
    _sample("tcxchain", t.send_datagram, *_LO),
    _sample("tracebuf", t.execute),
    _sample("unlinksnoop", t.make_and_remove),
    _sample("vfslat", t.open_file, *_OFTEN),
    _sample("walkers", t.execute),
    _sample("writelog", t.write_to_stdout),
    _only_runs("xdpguard", *_LO, trigger=t.send_datagram),
    _only_runs("xdpspread", *_LO, trigger=t.send_datagram),
]

_MINUS_ONE = 2**32 - 1

HOOKS = [
    _hook("tracepoint", "on_tracepoint=syscalls:sys_enter_getpgid", "TRACEPOINT", t.call, *_PROCESS, value=t.NOBODY_HAS),
    _hook("raw tracepoint", "on_raw_tracepoint=sys_enter", "RAW_TRACEPOINT", t.call, *_PROCESS),
    _hook("tp_btf", "on_tp_btf=sched_process_exec", "TP_BTF", t.execute),
    _hook("kprobe", "on_kprobe=vfs_read", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("kretprobe", "on_kretprobe=vfs_read", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("kprobe.multi", "on_kprobe_multi=vfs_rea*", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("kprobe.session", "on_kprobe_session=vfs_rea*", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("ksyscall", "on_ksyscall=getpgid", "TRACEPOINT", t.call, *_PROCESS),
    _hook("fentry", "on_fentry=vfs_read", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("fexit", "on_fexit=vfs_read", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("fmod_ret", "on_fmod_ret=security_file_open", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("lsm", "on_lsm=file_open", "TRACEPOINT", t.open_file, *_PROCESS),
    _hook("lsm_cgroup", "on_lsm_cgroup={cgroup}", "SOCK_CREATE", t.set_option),
    _hook("uprobe", "on_uprobe=libc:getpgid", "UPROBE", t.call, *_PROCESS, value=t.NOBODY_HAS),
    _hook("uretprobe", "on_uretprobe=libc:getpgid", "URETPROBE", t.call, *_PROCESS, value=_MINUS_ONE),
    _hook("uprobe.multi", "on_uprobe_multi=libc:getpgi*", "UPROBE_MULTI", t.call, *_PROCESS, value=t.NOBODY_HAS),
    _hook("USDT", "on_usdt={shop}:shop:sale", "USDT", t.Shop.sell, value=17),
    _hook("perf_event", "on_perf_event=software:cpu-clock@10000000", "PERF_EVENT", t.busy, *_PROCESS),
    _hook("perf_event Hz", "on_perf_event=99Hz", "PERF_EVENT", t.busy, *_PROCESS),
    _hook("syscall", "on_run", "SYSCALL", t.nothing),
    _hook("XDP", "on_xdp=lo", "XDP", t.send_datagram),
    _hook("tc", "on_tc=lo:egress:clsact", "TC", t.send_datagram),
    _hook("tcx ingress", "on_tcx_ingress=lo", "TCX_INGRESS", t.send_datagram),
    _hook("tcx egress", "on_tcx_egress=lo", "TCX_EGRESS", t.send_datagram),
    _hook("netfilter", "on_netfilter=ipv4:output", "NETFILTER", t.send_datagram),
    _hook("sk_lookup", "on_sk_lookup", "SK_LOOKUP", t.connect),
    _hook("socket filter", "on_socket_filter=lo", "SOCKET_FILTER", t.send_datagram),
    _hook("cgroup_skb ingress", "on_ingress={cgroup}", "CGROUP_INGRESS", t.connect),
    _hook("cgroup_skb egress", "on_packets={cgroup}:egress", "CGROUP_EGRESS", t.connect),
    _hook("cgroup sock_create", "on_sock_create={cgroup}", "SOCK_CREATE", t.set_option),
    _hook("cgroup connect4", "on_connect4={cgroup}", "CONNECT4", t.connect),
    _hook("cgroup getsockopt", "on_getsockopt={cgroup}", "GETSOCKOPT", t.set_option),
    _hook("cgroup setsockopt", "on_setsockopt={cgroup}", "SETSOCKOPT", t.set_option),
    _hook("cgroup sysctl", "on_sysctl={cgroup}", "SYSCTL", t.read_sysctl),
    _hook("cgroup dev", "on_device={cgroup}", "DEVICE", t.open_device),
    _hook("sockops", "on_sockops={cgroup}", "SOCKOPS", t.connect),
]

OTHERS = [
    _sample("flood", t.ask_for_priority),
    _sample("globals", t.ask_for_priority),
    _sample("maps", t.ask_for_parent, *_OFTEN),
]

ROWS = [*SAMPLES, *CORPUS, *HOOKS, *OTHERS]
