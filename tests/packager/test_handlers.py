"""Event handlers as an author builds them: in C, into a package or alone, and the header that they include."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecli_runtime.read.run import Run
from ecli_runtime.wasm.handler.filter import EventKind, Handler, Settings
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_schemas.read import read_package
from tests.btf_builder import BtfBuilder
from tests.cli import Ecli
from tests.conftest import DATA, ROOT
from tests.handler_modules import handler, records, results

pytestmark = pytest.mark.compiler

EXECSNOOP = ROOT / "samples" / "execsnoop" / "execsnoop.bpf.c"
TREE = ROOT / "samples" / "handlers" / "tree.c"
SHAPES = (DATA / "shapes.bpf.c", "--export", "numbers=u64")

SMALL = """#include "ecli_handler.h"
#include "ecli_events.h"
ECLI_HANDLER(sizeof(struct event))
int ecli_event(int type, void *data, ecli_u32 size)
{
	(void)type, (void)data, (void)size;
	return ECLI_KEEP;
}
"""


def succeed(build: Ecli, *words: str | Path) -> str:
    outcome = build(*words)
    assert outcome.status == 0, outcome.stderr
    assert "warning" not in outcome.stderr
    return outcome.stdout


def test_a_package_with_a_handler(build: Ecli) -> None:
    succeed(build, "build", EXECSNOOP, "--wasm", TREE, "-o", "tool.json")
    package = read_package((build.directory / "tool.json").read_bytes())
    (module,) = package.wasm
    assert (module.name, module.kind, module.writes, module.wasi) == ("tree", "handler", (), False)
    assert len(module.code) < 4096
    assert package.build is not None
    assert package.build.sources["tree.c"].startswith("sha256:")
    document = json.loads(succeed(build, "inspect", "tool.json", "--json"))
    (shown,) = document["wasm"]
    assert (shown["name"], shown["size"], shown["problem"]) == ("tree", len(module.code), "")
    assert (shown["asks"]["reads"], shown["asks"]["writes"], shown["asks"]["wasi"]) == ([], [], [])
    assert "asks for: " in succeed(build, "inspect", "tool.json")


def test_equal_sources_give_equal_bytes(build: Ecli, tmp_path: Path) -> None:
    found = []
    for name in ("one", "a/longer/path"):
        directory = tmp_path / name
        directory.mkdir(parents=True)
        for source in (EXECSNOOP, TREE):
            (directory / source.name).write_bytes(source.read_bytes())
        succeed(build, "build", directory / EXECSNOOP.name, "--wasm", directory / TREE.name)
        found.append((directory / "execsnoop.json").read_bytes())
    assert found[0] == found[1]


def test_a_module_alone(build: Ecli) -> None:
    succeed(build, "build", EXECSNOOP, "-o", "tool.json")
    (build.directory / "ecli_events.h").write_text(succeed(build, "schema", "tool.json", "--as", "c"))
    (build.directory / "small.c").write_text(SMALL)
    succeed(build, "build", "--wasm", "small.c")
    alone = (build.directory / "small.wasm").read_bytes()
    assert alone.startswith(b"\0asm")
    succeed(build, "build", EXECSNOOP, "--wasm", "small.wasm", "--wasm", TREE, "-o", "tool.json", "--handler-limit", "memory=2M")
    package = read_package((build.directory / "tool.json").read_bytes())
    assert [module.name for module in package.wasm] == ["small", "tree"]
    assert package.wasm[0].code == alone
    assert package.wasm[0].limits.memory_bytes == 2 << 20


def test_functions_have_names_and_the_machine_none(build: Ecli) -> None:
    (build.directory / "small.c").write_text(SMALL.replace('#include "ecli_events.h"', "struct event { char data[8]; };"))
    succeed(build, "build", "--wasm", "small.c")
    code = (build.directory / "small.wasm").read_bytes()
    assert b"ecli_event" in code
    assert str(build.directory).encode() not in code
    assert b"producers" not in code


def test_every_shape_of_c(build: Ecli) -> None:
    """That the header compiles means that its assertions hold; the kernel's tests read each member."""
    succeed(build, "build", *SHAPES, "--wasm", DATA / "shapes.c", "-o", "shapes.json")
    header = succeed(build, "schema", "shapes.json", "--as", "c")
    assert "_Static_assert(sizeof(struct shapes) == 240" in header
    assert "\tecli_u32 three : 3;\n\tecli_u8 : 5;\n\tecli_u32 nine : 9;\n" in header


def test_names_that_are_no_c(build: Ecli) -> None:
    from ecli_packager.handler.header import events_header
    from ecli_runtime.btf import Btf
    from ecli_runtime.stream import TypeRef, make_source

    builder = BtfBuilder()
    u32 = builder.integer("unsigned int", 4)
    event = builder.struct('x; }; #include "/etc/passwd"', 12, ("int", u32, 0), ("a\nb", u32, 32), ("9", u32, 64))
    again = builder.struct("while", 4, ("x", u32, 0))
    btf = Btf(builder.section())
    source = make_source(btf, "events", (TypeRef(event), TypeRef(again)))
    header = events_header('a" */ #error', btf, [source])
    assert header.count("#include") == 1
    (build.directory / "ecli_events.h").write_text(header)
    (build.directory / "odd.c").write_text(SMALL.replace("struct event", "struct while_"))
    succeed(build, "build", "--wasm", "odd.c")


def test_the_example_in_zig(build: Ecli, tmp_path: Path) -> None:
    """It is built by the command that it names."""
    source = ROOT / "samples" / "handlers" / "busy.zig"
    command = next(line for line in source.read_text().splitlines() if "ziglang build-exe" in line).removeprefix("//").split()
    assert command[:2] == ["python", "-m"]
    caches = {name: str(tmp_path / name) for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    words = [sys.executable, *(str(source) if word == source.name else word for word in command[1:])]
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, **caches}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    module = HandlerModule("busy", (tmp_path / "busy.wasm").read_bytes())
    assert module.exports == {"ecli_abi", "ecli_buffer", "ecli_event", "ecli_finish"}
    kind = EventKind("events", "event", 176)
    made = Handler(module, (kind,), Settings(), print)
    long, short = (duration_ns.to_bytes(8, "little") + bytes(12) + b"\1\0\0\0" + bytes(152) for duration_ns in (10**9, 10**6))
    assert results(made, Run.of([long, short, short])) == [(0, long)]
    assert records(made.finish()) == [(-1, b"2 events of short-lived processes")]


def test_the_page_for_authors(build: Ecli) -> None:
    """Its handler is built by the commands that it names, into the package that it names."""
    page = (ROOT / "docs" / "handlers.md").read_text()
    (build.directory / "quiet.c").write_text(page.partition("```c\n")[2].partition("```")[0])
    succeed(build, "init", "hello", "--kind", "exec")
    succeed(build, "build", "hello.bpf.c", "--wasm", "quiet.c")
    assert [module.name for module in read_package((build.directory / "hello.json").read_bytes()).wasm] == ["quiet"]


def test_what_is_wrong_is_told(build: Ecli) -> None:
    here = build.directory
    (here / "bad.c").write_text(SMALL.replace("return ECLI_KEEP;", "return nothing;"))
    error = build("build", EXECSNOOP, "--wasm", "bad.c", "-o", "x.json").fails("bad.c:7:9: error:", "bad.c could not be compiled")
    assert "ecli_handler.h" in error
    (here / "lacking.c").write_text('#include "ecli_handler.h"\nECLI_HANDLER(8)\n')
    build("build", "--wasm", "lacking.c").fails("handler lacking: the module is a handler and does not export ecli_event")
    (here / "calls.c").write_text(SMALL.replace("return ECLI_KEEP;", "int puts(const char *); return puts(data);"))
    build("build", EXECSNOOP, "--wasm", "calls.c", "-o", "x.json").fails("undefined symbol: puts")
    (here / "text.wasm").write_text("no module")
    build("build", EXECSNOOP, "--wasm", "text.wasm", "-o", "x.json").fails("text.wasm is neither C nor a Wasm module")
    (here / "maps.wasm").write_bytes(
        handler("(i32.const 0)", '(import "ecli.lookup" "stopped" (func (param i32 i32 i32 i32) (result i32)))')
    )
    build("build", EXECSNOOP, "--wasm", "maps.wasm", "-o", "x.json").fails(
        "handler maps asks for map stopped, which the package lacks", "hint: maps: started, events"
    )
    build("build", EXECSNOOP, "--wasm", TREE, "--wasm", TREE, "-o", "x.json").fails("two handlers are called tree")
    build("build", "--wasm", "absent.c").fails("cannot read absent.c")
    build("build", "--wasm", TREE, "--wasm", TREE).fails("expected one handler")
    build("build", EXECSNOOP, "--wasm", TREE, "--handler-limit", "memory").fails(
        "--handler-limit: expected a limit, got 'memory'"
    )
    build("build", EXECSNOOP, "--wasm", TREE, "--handler-limit", "memory=1", "-o", "x.json").fails("it begins with")
    assert not (here / "x.json").exists()


def test_what_it_asks_for_is_granted_to_the_packages_own(build: Ecli) -> None:
    (build.directory / "clear.c").write_text(
        SMALL.replace("ECLI_HANDLER", "ECLI_MAP(started)\nECLI_HANDLER").replace(
            "return ECLI_KEEP;", "return started_lookup(data, 4, data, 8) > 0 && started_delete(data, 4) < 0;"
        )
    )
    succeed(build, "build", EXECSNOOP, "--wasm", "clear.c", "-o", "tool.json")
    package = read_package((build.directory / "tool.json").read_bytes())
    assert package.wasm[0].writes == ("started",)
    text = succeed(build, "inspect", "tool.json")
    assert "reads map started; changes map started" in text
    assert "is granted: to change started" in text
