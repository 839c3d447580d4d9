"""What packages may do: refused with the instruction, the line and the option, before anything is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ecli_py.trust.admit import Terms, admit_behaviour
from ecli_py.trust.places import TrustError
from ecli_py.trust.policy import Limits, Policy
from ecli_schemas.model import Package
from tests.cli import Ecli
from tests.conftest import ROOT
from tests.corpus_programs import CORPUS, built

pytestmark = pytest.mark.compiler

# Programs of the corpus that act, and what they must be allowed for that. All others only observe.
ACTING = {
    "ccfixed": {"replace"},
    "cgconnect": {"network"},
    "cgpolicy": {"network", "enforce"},
    "cgsocket": {"network", "enforce"},
    "cgsysctl": {"enforce"},
    "cgtraffic": {"network"},
    "lsmguard": {"enforce", "override"},
    "nfdrop": {"network"},
    "sockbypass": {"network"},
    "steer": {"network"},
    "tcxchain": {"network"},  # its verdict is computed in a way that cannot be followed
    "xdpguard": {"network"},
    "xdpspread": {"network"},
}

GUARD = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp") int filter(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 16 > end)
		return XDP_PASS;
	if (data[12] == 8)
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""
POKE = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

static __noinline int poke(int value)
{
	return bpf_probe_write_user((void *)16, &value, sizeof(value));
}

SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	return poke(bpf_get_current_pid_tgid());
}

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1 << 20); __type(key, __u64); __type(value, __u64); }
	many SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
"""


def make(build: Ecli, name: str, text: str) -> Path:
    (build.directory / f"{name}.bpf.c").write_text(text)
    outcome = build("build", f"{name}.bpf.c")
    assert outcome.status == 0, outcome.stderr
    return build.directory / f"{name}.json"


def admit(package: Package, *allow: str, remote: bool = True, limits: Limits | None = None) -> None:
    terms = Terms((), (limits,) if limits else (), remote)
    admit_behaviour(package.name, package.object, package.object_name, terms, allow or None)


@pytest.mark.parametrize("name", CORPUS)
def test_what_only_observes_is_allowed_and_nothing_else(name: str) -> None:
    package = built(name).package
    admit(package, remote=False)
    admit(package, "all")
    if name not in ACTING:
        admit(package)
        admit(package, "observe")
        return
    with pytest.raises(TrustError) as caught:
        admit(package)
    option = re.search(r"--allow (\S+) lets it run", caught.value.hint)
    assert option is not None
    assert set(option[1].split(",")) == ACTING[name]
    admit(package, *option[1].split(","))


def test_the_samples_are_allowed(packages: Path, ecli: Ecli) -> None:
    samples = sorted(packages.glob("*.json"))
    assert len(samples) == len(list(ROOT.glob("samples/*/*.bpf.c")))
    for sample in samples:
        # The argument is wrong, which is found out behind what is asked here and before anything is loaded.
        ecli("run", "--allow", "observe", sample, "--count", "none").fails("--count")


def test_an_xdp_program_that_drops_is_refused_with_the_line(build: Ecli) -> None:
    make(build, "guard", GUARD)
    build("run", "guard.json", "--allow", "observe").fails(
        "guard.json may not do all that it can do:\n  it can drop or redirect packets (--allow network): filter, instruction ",
        "(guard.bpf.c:10: if (data[12] == 8))\n",  # where the compiler sets the value that is returned
        "hint: --allow network lets it run",
    )
    build("run", "--allow", "network", "guard.json", "--count", "none").fails("--count")


def test_a_write_to_user_memory_is_refused_with_the_helper(build: Ecli) -> None:
    make(build, "poke", POKE)
    text = build("run", "poke.json", "--allow", "network").fails(
        "it can write to the memory of processes (--allow user-memory): poke, instruction ",
        " calls bpf_probe_write_user (poke.bpf.c:6: return bpf_probe_write_user((void *)16, &value, sizeof(value));)\n",
        "hint: --allow network,user-memory lets it run",
    )
    # The instruction is counted as the verifier does it, here in a subprogram: the call is before its last one, the exit.
    assert int(re.findall(r"instruction (\d+) calls", text)[0]) < 16
    build("run", "poke.json", "--allow", "poking").fails("--allow: there is no 'poking'", "user-memory")


def test_an_object_without_lines() -> None:
    package = built("xdpguard").package
    stripped = package.object.replace(b".BTF.ext\0", b".BTF.exx\0")
    assert stripped != package.object
    with pytest.raises(TrustError, match=r"(?s)xdpguard.*instruction \d+$") as caught:
        admit(package.replace(object=stripped))
    assert ".bpf.c:" not in str(caught.value)


LIMITS = [
    ('allow = ["user-memory"]', "", ""),
    ('allow = ["observe", "network"]', "can write to the memory of processes", 'allow = ["user-memory"]'),
    ('program_types = ["tracepoint"]', "", ""),
    ('program_types = ["kprobe", "xdp"]', "on_exec is of type tracepoint", "program_types"),
    ('attach = ["tp/sched/*"]', "", ""),
    ('attach = ["kprobe/*"]', "on_exec is attached at tp/sched/sched_process_exec", "(attach)"),
    ('deny_attach = ["tp/*"]', "on_exec is attached at tp/sched/sched_process_exec", "(deny_attach)"),
    ('helpers = ["bpf_get_current_*", "bpf_probe_*"]', "", ""),
    ('helpers = ["bpf_get_current_*"]', "poke, instruction", "calls bpf_probe_write_user (poke.bpf.c:6"),
    ('deny_helpers = ["*_write_user"]', "calls bpf_probe_write_user (poke.bpf.c:6", "(deny_helpers)"),
    ('map_memory = "1G"', "", ""),
    ('map_memory = "64M"', "its maps can take 80 MiB, and 64 MiB are allowed", "(map_memory)"),
]


@pytest.mark.parametrize(("limit", "message", "where"), LIMITS)
def test_limits_hold_whatever_is_allowed(build: Ecli, limit: str, message: str, where: str) -> None:
    make(build, "poke", POKE)
    settings = build.directory / "ecli-py"
    settings.mkdir()
    (settings / "policy.toml").write_text(f"[limits]\n{limit}\n")
    limited = Ecli(build.directory, environment={"XDG_CONFIG_HOME": str(build.directory)})
    for more in ((), ("--allow", "all")):
        outcome = limited("run", "poke.json", "--count", "none", *more)
        if message:
            outcome.fails("poke.json is beyond the limits of ", message, where, "hint: [limits] of ")
        else:
            outcome.fails("--count")


@pytest.mark.parametrize("name", ["execargs", "lsmguard", "xdpguard"])
def test_a_limit_of_what_is_allowed_is_told(name: str) -> None:
    package = built(name).package
    admit(package, "all", limits=Policy("p", '[limits]\nallow = ["all"]').limits)
    limits = Policy("p", '[limits]\nallow = ["observe"]').limits
    if name not in ACTING:
        admit(package, "all", limits=limits)
        return
    with pytest.raises(TrustError, match=r"(?s)is beyond the limits of p:\n  it can .* \(allow = "):
        admit(package, "all", limits=limits)


def test_memory_without_bound_is_beyond_any_limit() -> None:
    limits = Policy("p", '[limits]\nmap_memory = "4G"').limits
    with pytest.raises(TrustError, match=r"the memory of map \w+ has no bound"):
        admit(built("ontask").package, limits=limits)


def test_a_size_that_the_user_wants_counts(build: Ecli, packages: Path) -> None:
    settings = build.directory / "ecli-py"
    settings.mkdir()
    (settings / "policy.toml").write_text('[limits]\nmap_memory = "8M"\n')
    limited = Ecli(build.directory, environment={"XDG_CONFIG_HOME": str(build.directory)})
    limited("run", packages / "execsnoop.json", "--count", "none").fails("--count")
    limited("run", packages / "execsnoop.json", "--count", "none", "--ring-size", "16M").fails("8 MiB are allowed (map_memory)")


def test_a_directory_may_have_rules(build: Ecli) -> None:
    make(build, "guard", GUARD)
    settings = build.directory / "ecli-py"
    settings.mkdir()
    (settings / "policy.toml").write_text(f'[[source]]\ndirectory = "{build.directory}"\nallow = ["observe"]\n')
    limited = Ecli(build.directory, environment={"XDG_CONFIG_HOME": str(build.directory)})
    limited("run", "guard.json").fails("can drop or redirect packets")
    limited("run", "guard.json", "--allow", "network", "--count", "none").fails("--count")
    (settings / "policy.toml").write_text(f'[[source]]\ndirectory = "{build.directory}"\nunsigned = "refuse"\n')
    limited("run", "guard.json").fails("guard.json must be signed (", "policy.toml:1): it is not signed")
    limited("run", "guard.json", "--allow-unsigned").fails("guard.json must be signed")
    assert limited("inspect", "guard.json").status == 0
