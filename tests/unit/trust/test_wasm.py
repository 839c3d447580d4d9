"""What Wasm of another machine asks for: who confirms it, how often, and what policies say of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecli_py.handlers import Choice, load_modules
from ecli_py.trust.minisign import generate
from ecli_py.trust.places import TrustError
from ecli_py.trust.policy import Policy, WasmRights
from ecli_schemas.model import Package, WasmLimits, WasmModule
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.handler_modules import handler, wat
from tests.http_server import Server
from tests.site import ADMITTED, Site, answer

KEEP = "(i32.const 0)"
WRITE = '(import "ecli.update" "counts" (func (param i32 i32 i32 i32 i64) (result i32)))'
WASI = '(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))'
UNSIGNED = ("--allow-unsigned",)


def with_handler(package: bytes, *, limits: WasmLimits = WasmLimits(), writes: tuple[str, ...] = (), wasi: bool = False) -> bytes:  # noqa: B008
    code = handler(KEEP, "".join([*([WRITE] if writes else []), *([WASI] if wasi else [])]))
    module = WasmModule("quiet", code, writes=writes, wasi=wasi, limits=limits)
    return write_package(read_package(package).replace(wasm=(module,)))


@pytest.fixture
def site(tmp_path: Path, small_package: Path) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    with Server(directory=tmp_path / "site") as server:
        yield Site(tmp_path, server.url(""), small_package.read_bytes())


def test_a_handler_that_asks_for_nothing_needs_nobody(site: Site) -> None:
    site.publish(with_handler(site.package, limits=WasmLimits(memory_bytes=1 << 20)))
    site.admits(*UNSIGNED)


def test_what_a_handler_asks_for_is_refused_where_nobody_can_be_asked(site: Site) -> None:
    site.publish(with_handler(site.package, limits=WasmLimits(memory_bytes=64 << 20), writes=("counts",), wasi=True))
    site.refuses(
        "has Wasm event handlers, which ask for more than each has",
        "quiet: to change maps counts",
        "quiet: for WASI: clocks",
        "quiet: for memory of 64",
        "hint: --allow-wasm",
        options=UNSIGNED,
    )
    site.admits(*UNSIGNED, "--allow-wasm")
    site.admits(*UNSIGNED, "--no-wasm")
    site.ecli("run", *UNSIGNED, site.url, "--allow-wasm", "--count", "none").fails(ADMITTED)
    site.refuses("to change maps", options=UNSIGNED)  # what an option says is not kept


def test_a_trusted_signature_is_the_word_of_its_owner(site: Site) -> None:
    key = site.trust("acme")
    package = with_handler(site.package, writes=("counts",))
    site.publish(package, key.sign(package, "ours"))
    site.admits()


def test_a_file_is_the_word_of_its_owner(site: Site) -> None:
    (site.ecli.directory / "mine.json").write_bytes(with_handler(site.package, writes=("counts",)))
    site.policy('[wasm]\nrun = "handlers"\n')
    site.admits(reference="mine.json")


def test_an_answer_on_a_terminal_is_kept_by_the_digest(site: Site) -> None:
    site.publish(with_handler(site.package, writes=("counts",)))
    status, said = answer(site, "n", words=(*UNSIGNED, "--count", "none"))
    assert status == 1
    assert "to change maps counts" in said
    assert ADMITTED not in said
    _status, said = answer(site, "y", words=(*UNSIGNED, "--count", "none"))
    assert ADMITTED in said
    site.admits(*UNSIGNED)
    kept = site.settings / "confirmed-wasm"
    assert kept.stat().st_mode & 0o777 == 0o600
    # Another package asks again.
    site.publish(with_handler(site.package, writes=("counts",), wasi=True))
    site.refuses("for WASI", options=UNSIGNED)
    kept.chmod(0o666)
    site.refuses("decides what is trusted, and anybody may write to it", options=UNSIGNED)


def test_a_controller_is_confirmed_too(site: Site) -> None:
    module = wat(
        """(module (import "wasm_bpf" "wasm_load_bpf_object" (func (param i32 i32) (result i64)))
        (memory (export "memory") 1) (func (export "_start")))"""
    )
    site.publish(module)
    refused = site.ecli("run", *UNSIGNED, site.url).fails(
        "is a Wasm module that loads eBPF programs itself", "no eBPF object in it can be seen", "hint: --allow-wasm before"
    )
    assert "attached" not in refused.replace("are attached", "")
    site.ecli("run", site.url, "--help").fails("it is not signed")  # the word is the module's own
    assert site.ecli("run", *UNSIGNED, "--allow-wasm", site.url).status == 0
    site.policy('[wasm]\nrun = "handlers"\n')
    site.ecli("run", *UNSIGNED, "--allow-wasm", site.url).fails("allows event handlers only", 'run = "controllers" in [wasm]')
    site.policy('[wasm]\nrun = "none"\n')
    site.ecli("run", *UNSIGNED, "--allow-wasm", site.url).fails("allows no Wasm")
    (site.ecli.directory / "mine").write_bytes(module)
    site.ecli("run", "mine").fails("allows no Wasm")
    site.policy('[wasm]\nmemory = "32K"\n')
    site.ecli("run", "mine").fails("exceeds memory limits", hint=False)


# --- policies ---


def rights(text: str) -> WasmRights:
    return Policy("policy.toml", f"[wasm]\n{text}").wasm


def load(text: str, module: WasmModule, choice: Choice = Choice()) -> WasmLimits:  # noqa: B008
    package = Package("tool", "tool", b"", wasm=(module,))
    (loaded,) = load_modules(package, choice, [rights(""), rights(text)])
    return WasmLimits(memory_bytes=loaded.limits.memory_bytes, batch_ms=loaded.limits.batch_ms)


def test_a_policy_is_read() -> None:
    assert Policy("policy.toml", "").wasm == WasmRights("policy.toml")
    said = 'run = "handlers"\nmemory = "16M"\ntime = "500ms"\nwritable_maps = ["stats_*"]\nwasi = false\n'
    assert rights(said) == WasmRights("policy.toml", "handlers", 16 << 20, 500, ("stats_*",), False)
    assert rights('time = "2s"').batch_ms == 2000
    for line, problem in (
        ("memory = 3", 'wasm.memory: expected a size in bytes, such as "16M"'),
        ('time = "soon"', "wasm.time: expected a time"),
        ('run = "all"', 'wasm.run: expected "none", "handlers" or "controllers"'),
        ("wasi = 1", "wasm.wasi: expected true or false"),
        ("fuel = 1", "wasm.fuel: there is no such key"),
    ):
        with pytest.raises(TrustError) as caught:
            rights(line)
        assert problem in str(caught.value)


def test_limits_of_a_policy_cut_the_default_and_refuse_what_is_asked_for() -> None:
    plain = WasmModule("quiet", handler(KEEP))
    assert load('memory = "16M"\ntime = "500ms"', plain) == WasmLimits(memory_bytes=16 << 20, batch_ms=500)
    assert load('memory = "1G"', plain).memory_bytes == 32 << 20
    asking = plain.replace(limits=WasmLimits(memory_bytes=64 << 20, batch_ms=2000))
    with pytest.raises(TrustError) as caught:
        load('memory = "16M"\ntime = "1s"', asking)
    assert "64 MiB of memory, and 16 MiB are allowed (memory)" in str(caught.value)
    assert "2000 ms, and 1000 ms are allowed (time)" in str(caught.value)
    with pytest.raises(TrustError, match="are allowed"):
        load('memory = "16M"', plain, Choice(limits=WasmLimits(memory_bytes=17 << 20)))
    with pytest.raises(TrustError, match=r"it is Wasm \(run\)"):
        load('run = "none"', plain)


def test_maps_and_wasi_of_a_policy() -> None:
    module = WasmModule("quiet", handler(KEEP, WRITE + WASI), writes=("counts",), wasi=True)
    load('writable_maps = ["cou*"]', module)
    with pytest.raises(TrustError, match=r"it changes map counts \(writable_maps\)"):
        load("writable_maps = []", module)
    with pytest.raises(TrustError, match=r"it uses WASI \(wasi\)"):
        load("wasi = false", module)


# --- what is shown to those who run nothing ---


def test_help_of_what_is_not_signed(site: Site) -> None:
    outcome = site.ecli("run", site.url, "--help")
    assert outcome.status == 0
    assert "--duration" in outcome.stdout
    assert "tool.json: it is not signed; nothing of it is run to show its help" in outcome.stderr
    site.publish(site.package, generate().sign(b"another", "x"))
    assert site.ecli("run", site.url, "--help").status == 0
    key = site.trust("acme")
    site.publish(site.package, key.sign(b"another", "x"))
    site.ecli("run", site.url, "--help").fails("the content is not what was signed")


def test_inspect_says_who_has_signed(site: Site) -> None:
    assert "signature  none\n" in site.ecli("inspect", site.url).stdout
    stranger, key = generate(), site.trust("acme")
    site.publish(site.package, stranger.sign(site.package, "x"))
    assert "signed with the key" in site.ecli("inspect", site.url).stdout
    site.publish(site.package, key.sign(site.package, "version 7"))
    assert f"signature  by acme (key {key.public().name}), version 7\n" in site.ecli("inspect", site.url).stdout
    signature = json.loads(site.ecli("inspect", "--json", site.url).stdout)["signature"]
    assert signature == {
        "signed": True,
        "holds": True,
        "by": [{"name": "acme", "key": key.public().name, "comment": "version 7"}],
        "problem": "",
    }
    file = site.ecli.directory / "tool.json"
    file.write_bytes(site.package)
    assert "signature  none\n" in site.ecli("inspect", file).stdout
    file.with_name("tool.json.minisig").write_bytes(key.sign(b"another", "x"))
    outcome = site.ecli("inspect", file)
    assert outcome.status == 1
    assert "signature  does not hold: " in outcome.stdout
    assert "error: " in outcome.stderr


def test_any_trusted_signature_of_several_serves(site: Site) -> None:
    acme, ops, stranger = site.trust("acme"), site.trust("ops"), generate()
    broken = acme.sign(b"another", "replayed")
    several = [stranger.sign(site.package, "x"), broken, b"untrusted comment: x\nRWS=\ntrusted comment: y\nAA==\n"]
    site.publish(site.package, b"".join(several))
    site.refuses("the content is not what was signed")
    site.publish(site.package, b"".join([*several, ops.sign(site.package, "ours")]))
    site.admits()
    site.policy('[[source]]\nhost = "*"\nkeys = ["ops"]\n')
    site.admits()
    site.publish(site.package, acme.sign(site.package, "first") + ops.sign(site.package, "second"))
    site.admits()
    said = site.ecli("verify", site.url).stdout
    assert said.startswith("signed by acme (key ")
    assert "also signed by ops (key " in said
