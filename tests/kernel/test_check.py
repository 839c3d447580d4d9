"""``ecli-py check`` and ``ecli-py snapshot``: verdicts against what really happens when the running kernel is given a package."""

from __future__ import annotations

import base64
import json
import re
import threading
import zlib
from collections.abc import Iterator
from functools import cache, partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ecli_packager.build import Request, build
from ecli_runtime.attach.options import AttachOptions, parse_targets
from ecli_runtime.errors import LibbpfError, TargetError
from ecli_runtime.opening import OpenSession
from ecli_runtime.portability.capture import take_snapshot
from ecli_runtime.portability.snapshot import Snapshot, write_snapshot
from ecli_runtime.portability.verdict import Verdict, check_package
from ecli_schemas.model import Kernel, KernelBtf, Package
from ecli_schemas.write import write_package
from tests.cli import Ecli
from tests.conftest import DATA
from tests.corpus_programs import CORPUS, built
from tests.kernel.test_corpus import TARGETS

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

_TEXT = (DATA / "questions.c").read_text()
PREAMBLE, *_PARTS = re.split(r"^// --- ", _TEXT, flags=re.MULTILINE)
# Name → source, and a part of the reason if it cannot run here; empty: it can.
QUESTIONS = {
    heading.partition(" -> ")[0]: (source, heading.partition(" -> ")[2])
    for heading, _newline, source in (part.partition("\n") for part in _PARTS)
}


@cache
def here() -> Snapshot:
    return take_snapshot()


def really_runs(package: Package) -> str:
    """Return why a package does not run here; empty: it does."""
    try:
        OpenSession(package).load().start().close()
    except (LibbpfError, TargetError) as error:
        return str(error)
    return ""


def reasons(verdict: Verdict) -> str:
    return "\n".join(problem.text for _program, problem in verdict.reasons()) if verdict.outcome == "fails" else ""


@pytest.mark.parametrize("name", CORPUS)
def test_verdicts_on_the_corpus_are_what_happens(name: str) -> None:
    words = list(TARGETS.get(name, ()))
    targets = [words[index + 1] for index, word in enumerate(words) if word == "--attach"]
    disabled = [words[index + 1] for index, word in enumerate(words) if word == "--disable"]
    options = AttachOptions(parse_targets(targets), tuple(disabled))
    package = built(name).package
    verdict = check_package(package, here(), options)
    if name in TARGETS:  # test_corpus.py: they run
        assert reasons(verdict) == ""
    else:
        problem = really_runs(package)
        assert bool(reasons(verdict)) == bool(problem), f"verdict: {reasons(verdict)}\nreality: {problem}"


@pytest.mark.parametrize("name", QUESTIONS)
def test_verdicts_on_each_kind_of_question_are_what_happens(name: str, tmp_path: Path) -> None:
    source, reason = QUESTIONS[name]
    path = tmp_path / "tool.bpf.c"
    path.write_text(PREAMBLE + source)
    package = build(Request((path,))).package
    verdict = check_package(package, here())
    assert reason in reasons(verdict)
    problem = really_runs(package)
    assert bool(reasons(verdict)) == bool(problem) == bool(reason), f"verdict: {reasons(verdict)}\nreality: {problem}"


def test_a_kernel_without_types_and_what_a_package_brings_for_it() -> None:
    package, kernel = built("execpath").package, here()
    bare = kernel.replace(btf=None)
    assert kernel.btf is not None
    assert "this kernel has no BTF" in reasons(check_package(package, bare))
    brought = KernelBtf(
        kernel.machine, (Kernel(kernel.release, kernel.version),), base64.b64encode(zlib.compress(kernel.btf)).decode()
    )
    assert check_package(package.replace(kernel_btf=(brought,)), bare).outcome == "runs"
    other = KernelBtf(kernel.machine, (Kernel(kernel.release, "#2"),), brought.btf)
    assert check_package(package.replace(kernel_btf=(other,)), bare).outcome == "fails"


def test_alternatives() -> None:
    """Where nothing but the tracepoints is possible those serve, and where nothing is, all reasons are told."""
    package, kernel = built("removals").package, here()
    program_types = {**(kernel.program_types or {}), 26: False}
    without = kernel.replace(program_types=program_types, config={}, symbols={"vfs_read": "T"})
    verdict = check_package(package, without)
    assert (verdict.outcome, [each.alternative for each in verdict.hooks]) == ("alternative", ["tracepoint"])
    nothing = without.replace(tracepoints=frozenset())
    verdict = check_package(package, nothing)
    assert verdict.outcome == "fails"
    for text in ("refuses programs of fentry", "no kprobes", "no tracepoint syscalls:sys_enter_unlinkat"):
        assert text in reasons(verdict)
    everything = kernel.replace(
        program_types=None,
        config={"CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "y", "CONFIG_KPROBES": "y"},
        traceable=None,
    )
    hooks = check_package(package, everything).hooks
    assert [each.alternative for each in hooks] == ["fentry"]


# --- the commands ---


@pytest.fixture(scope="module")
def snapshot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshots") / "here.snapshot.json"
    path.write_bytes(write_snapshot(here()))
    return path


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    (tmp_path / "tool.json").write_bytes(write_package(built("execpath").package))
    return tmp_path / "tool.json"


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    (tmp_path / "failing.json").write_bytes(write_package(built("vfslat").package))
    return tmp_path / "failing.json"


def test_the_running_kernel(ecli: Ecli, tool: Path) -> None:
    outcome = ecli("check", tool)
    release = here().release
    assert (outcome.stdout, outcome.stderr, outcome.status) == (f"{release} ({here().machine}): runs\n", "", 0)


def test_anybody_may_check(ordinary_user: Ecli) -> None:
    (ordinary_user.directory / "tool.json").write_bytes(write_package(built("execpath").package))
    outcome = ordinary_user("check", "tool.json")
    assert (outcome.stderr, outcome.status) == ("", 0)
    assert outcome.stdout.endswith(": runs\n")


def test_a_snapshot_says_what_the_kernel_itself_says(ecli: Ecli, failing: Path, tmp_path: Path) -> None:
    taken = ecli("snapshot", "-o", tmp_path)
    assert taken.status == 0
    (path,) = tmp_path.glob("*.snapshot.json")
    assert path.name == f"{here().release}.{here().machine}.snapshot.json"
    assert taken.stderr.startswith(f"{path}: ")
    same = ecli("check", failing, "--against", path, "--json")
    live = ecli("check", failing, "--json")
    assert (same.stdout, same.status) == (live.stdout, live.status)
    again = ecli("snapshot", "-o", tmp_path / "again.json")
    assert again.status == 0


def test_a_directory_with_kernels(ecli: Ecli, tool: Path, failing: Path, snapshot_file: Path) -> None:
    other = here().replace(release="4.1.0", btf=None, tracepoints=frozenset(), symbols=None)
    directory = tool.parent / "kernels" / "deeper"
    directory.mkdir(parents=True)
    (directory / "a.snapshot.json").write_bytes(write_snapshot(other))
    (directory / "b.snapshot.json").write_bytes(snapshot_file.read_bytes())
    (directory / "notes.json").write_text("{}")
    outcome = ecli("check", tool, "--against", tool.parent / "kernels")
    assert outcome.status == 1
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("4.1.0 (")
    assert lines[0].endswith(": fails")
    assert lines[-1] == f"{here().release} ({here().machine}): runs"
    said: dict[str, Any] = json.loads(ecli("check", tool, "--against", tool.parent / "kernels", "--json").stdout)
    assert (said["runs"], [each["verdict"] for each in said["kernels"]]) == (False, ["fails", "runs"])
    assert said["kernels"][0]["reasons"][0].keys() == {"topic", "text", "hint"}
    assert all(each["runs"] for each in said["kernels"][1]["programs"])


@pytest.fixture
def served(snapshot_file: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(snapshot_file.parent))
    handler.func.log_message = lambda *_arguments: None  # type: ignore[attr-defined]
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_address(ecli: Ecli, tool: Path, served: str, tmp_path: Path) -> None:
    ecli.environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    outcome = ecli("check", tool, "--against", f"{served}/here.snapshot.json")
    assert (outcome.status, outcome.stdout) == (0, f"{here().release} ({here().machine}): runs\n")
    ecli("check", tool, "--against", f"{served}/other.json").fails("other.json: the server answered 404", "nothing of that name")
    bad = ecli("check", tool, "--against", f"{served}/")  # a list of files, in HTML
    bad.fails("is no snapshot")
    assert "<html" not in bad.stderr


def test_what_is_no_snapshot(ecli: Ecli, tool: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("{}")
    ecli("check", tool, "--against", "nowhere").fails("cannot read nowhere")
    ecli("check", tool, "--against", "empty").fails("has neither a snapshot nor a kernel")
    ecli("check", tool, "--against", "text.json").fails("text.json is no snapshot of a kernel")
    ecli("check", tool, "--against", tool).fails("is no snapshot of a kernel")
    ecli("check", tool, "--attach", "nobody=x").fails("there is no program 'nobody'")
    assert ecli("snapshot", "--config", "x").status == 2


def test_control_characters_do_not_reach_the_terminal(ecli: Ecli, failing: Path, snapshot_file: Path) -> None:
    text = ecli("check", failing, "--against", snapshot_file, "-v").stdout
    assert "\x1b" not in text
