"""What goes wrong in building: an error, a hint or the compiler's diagnostics, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Ecli
from tests.programs import EVENT, RINGBUF, source

pytestmark = pytest.mark.compiler


def test_compile_error(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, body="return nothing;")
    said = build("build", path, "-o", "x.json").fails("tool.bpf.c: compilation failed", hint=False)
    assert "tool.bpf.c:9:9: error: use of undeclared identifier 'nothing'" in said
    assert "return nothing;" in said
    assert "^" in said
    assert not (tmp_path / "x.json").exists()


def test_missing_header(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, declarations='#include "gone.h"')
    build("build", path, "-o", "x.json").fails(
        "'gone.h' file not found", "hint: header 'gone.h' was not found; say where it is with -I DIR"
    )


def test_no_program(build: Ecli, tmp_path: Path) -> None:
    (tmp_path / "tool.bpf.c").write_text("int number = 1;\n")
    build("build", "tool.bpf.c").fails("it holds no eBPF program", "SEC(")
    assert [each.name for each in tmp_path.iterdir()] == ["tool.bpf.c"]


@pytest.mark.parametrize(
    ("declarations", "body"),
    [
        ('extern struct {\n\t__uint(type, BPF_MAP_TYPE_RINGBUF);\n} gone SEC(".maps");', "bpf_ringbuf_query(&gone, 0);"),
        ("int gone(int number);", "return gone(1);"),
        ("extern int gone;", "return gone;"),
    ],
    ids=["map", "function", "variable"],
)
def test_what_no_source_defines(build: Ecli, tmp_path: Path, declarations: str, body: str) -> None:
    path = source(tmp_path, declarations=declarations, body=body)
    build("build", path).fails("gone is declared, but not defined in ", "the source that defines it", "__ksym")


def test_empty_source(build: Ecli, tmp_path: Path) -> None:
    (tmp_path / "tool.bpf.c").touch()
    build("build", "tool.bpf.c").fails("error: ")


def test_missing_source(build: Ecli) -> None:
    build("build", "gone.bpf.c").fails("cannot read gone.bpf.c: No such file or directory")


def test_a_directory_as_source(build: Ecli) -> None:
    build("build", ".").fails(". is a directory")


@pytest.mark.parametrize("name", ["tool.json", "/dev/null", "-"])
def test_a_source_that_is_no_c_file(build: Ecli, tmp_path: Path, name: str) -> None:
    (tmp_path / "tool.json").write_text("{}")
    build("build", name).fails(f"error: {name} is no C file", "end in .c")
    assert (tmp_path / "tool.json").read_text() == "{}"


def test_a_package_does_not_replace_its_source(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path)
    text = path.read_text()
    build("build", "tool.bpf.c", "-o", path).fails("is a source, which the package would replace", "-o FILE")
    assert path.read_text() == text


def test_btf_of_a_machine_that_there_is_not(build: Ecli, tmp_path: Path) -> None:
    build("build", source(tmp_path), "--btf", "mips=gone").fails("architecture 'mips' is not supported", "x86_64, aarch64")


def test_source_that_is_no_text(build: Ecli, tmp_path: Path) -> None:
    (tmp_path / "tool.bpf.c").write_bytes(bytes(range(256)) * 4)
    build("build", "tool.bpf.c").fails("tool.bpf.c:1:2: error: ", "compilation failed", hint=False)


def test_output_in_no_directory(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path)
    build("build", path, "-o", "gone/x.json").fails("cannot write gone/x.json: No such file or directory", "-o FILE")


def test_output_that_cannot_be_written(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path)
    # /proc takes no files, not even root's.
    build("build", path, "-o", "/proc/x.json").fails("cannot write /proc/x.json", "-o FILE")


def test_output_that_is_a_directory(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path)
    (tmp_path / "x.json").mkdir()
    build("build", path, "-o", "x.json").fails("cannot write x.json: Is a directory")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tool.bpf.c", "x.json"]


def test_clang_that_does_not_exist(build: Ecli, tmp_path: Path) -> None:
    build("build", source(tmp_path), "--clang", "gone").fails("no such clang: gone")


def test_clang_that_is_none(build: Ecli, tmp_path: Path) -> None:
    build("build", source(tmp_path), "--clang", "true").fails("is no clang")


def test_a_home_that_cannot_be_written(build: Ecli, tmp_path: Path) -> None:
    build.environment = {**build.environment, "HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "TMPDIR": str(tmp_path)}
    outcome = build("build", source(tmp_path), "-o", "x.json")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert sorted(each.name for each in tmp_path.iterdir() if each.suffix) == ["tool.bpf.c", "x.json"]
    assert not list(tmp_path.glob("ecli-*"))


def test_kernel_btf_that_cannot_be_read(build: Ecli, tmp_path: Path) -> None:
    build("build", source(tmp_path), "--btf", "gone").fails("cannot read BTF file gone")
    (tmp_path / "garbage").write_bytes(b"garbage")
    build("build", source(tmp_path), "--btf", "garbage").fails("garbage holds no BTF that can be used: Invalid argument")


def test_export_of_a_type_that_is_not_declared(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, declarations=RINGBUF, body=EVENT)
    build("build", path, "--export", "events=struct gone").fails("the source declares no type 'struct gone'", "struct event")


def test_export_of_a_map_that_does_not_exist(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, declarations=RINGBUF, body=EVENT)
    build("build", path, "--export", "gone=struct event").fails("--export gone: there is no such event map", "events")


def test_export_without_a_type(build: Ecli, tmp_path: Path) -> None:
    build("build", source(tmp_path), "--export", "events").fails("--export events: expected MAP=TYPE")


def test_header_whose_struct_the_source_does_not_have(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, declarations=RINGBUF, body=EVENT)
    (tmp_path / "tool.h").write_text("struct gone {\n\tint pid;\n};\n")
    build("build", path, "tool.h").fails("tool.h: the source uses none of its structs (gone)", "include it")


def test_header_without_structs(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, declarations=RINGBUF, body=EVENT)
    (tmp_path / "tool.h").write_text("#define NUMBER 1\n")
    build("build", path, "tool.h").fails("tool.h: the source can use none of its structs: it defines none")


def test_missing_events_header(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, declarations=RINGBUF, body=EVENT)
    build("build", path, "gone.h").fails("cannot read gone.h: No such file or directory")


def test_clang_that_is_too_old(build: Ecli, tmp_path: Path) -> None:
    old = tmp_path / "clang"
    old.write_text("#!/bin/sh\necho 'Debian clang version 13.0.1-11'\n")
    old.chmod(0o755)
    build("build", source(tmp_path), "--clang", old).fails(f"{old} is clang 13; building needs 14 or newer", "--clang PATH")


def test_annotation_that_is_no_json(build: Ecli, tmp_path: Path) -> None:
    annotated = "// @cmdarg {short: 'p'}\nconst volatile int level = 1;"
    path = source(tmp_path, declarations=annotated, body="return level;")
    build("build", path).fails("tool.bpf.c:", "quote names and text")


@pytest.mark.parametrize(
    ("annotation", "message", "hint"),
    [
        ('@sample {"interval": "fast"}', '4:25: @sample: interval: expected milliseconds (integer ≥ 1), got "fast"', "@sample {"),
        ('@sample {"intervall": 5}', '4:26: @sample: intervall: there is no such key; did you mean "interval"?', "@sample {"),
        ("@sample {}", "4:12: @sample: interval: missing", "@sample {"),
        ('@sample {"interval": 5, "type": "hist"}', '4:36: @sample: type: expected "log2_hist" or', "@sample {"),
        ("@sample 5", "4:12: @sample: expected an object that describes how the map is sampled, got 5", "@sample {"),
        ('@intepreter {"stack_trace": {"field_map": {"kstac": "k"}}}', "4:56: @intepreter: kstac: there is no such key; did", ""),
    ],
)
def test_an_annotation_that_is_wrong(build: Ecli, tmp_path: Path, annotation: str, message: str, hint: str) -> None:
    path = source(tmp_path, declarations=f"// {annotation}\n{RINGBUF.partition('};')[2].strip()}")
    build("build", path).fails(f"error: tool.bpf.c:{message}", hint)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ('@cmdarg {"default": "fast"}', "4:24: @cmdarg: default: expected an integer, got 'fast'"),
        ("@value 1.5", "4:11: @value: expected an integer, got 1.5"),
        ('@cmdarg {"long": "other"}', "4:21: @cmdarg: long: level and other cannot both be the option other"),
        ('@cmdarg {"short": "pid"}', '4:22: @cmdarg: short: expected a short option name (one ASCII letter or digit), got "pid"'),
        ('@cmdarg {"sort": "p"}', '4:21: @cmdarg: sort: there is no such key; did you mean "short"?'),
    ],
)
def test_an_option_that_is_described_wrongly(build: Ecli, tmp_path: Path, annotation: str, message: str) -> None:
    declarations = f"// {annotation}\nconst volatile int level = 1;\nconst volatile int other = 1;"
    path = source(tmp_path, declarations=declarations, body="return level + other;")
    build("build", path).fails(f"error: tool.bpf.c:{message}")


def test_an_interface_that_is_no_number(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, section="xdp")
    path.write_text(path.read_text().replace("SEC", '// @ifindex "eth0"\nSEC', 1))
    build("build", path).fails('error: tool.bpf.c:6:13: @ifindex: expected an integer of 32 bits, got "eth0"', "@ifindex 1")


def test_the_same_source_twice(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path)
    build("build", "tool.bpf.c", "tool.bpf.c").fails("error: tool.bpf.c is given twice\n", "name it once")
    build("build", "tool.bpf.c", path).fails(f"error: {path} is given twice, also as tool.bpf.c\n")


def test_a_symbol_that_two_sources_define(build: Ecli, tmp_path: Path) -> None:
    other = source(tmp_path, declarations=RINGBUF).rename(tmp_path / "other.bpf.c")
    path = source(tmp_path, declarations=RINGBUF)
    build("build", path, other).fails(f"error: run is defined in both {path} and {other}")
    other.write_text(other.read_text().replace("int run", "int run_too"))
    build("build", path, other).fails(f"error: events is defined in both {path} and {other}", "make one of them static")


def test_two_sources_with_different_licenses(build: Ecli, tmp_path: Path) -> None:
    other = source(tmp_path).rename(tmp_path / "other.bpf.c")
    other.write_text(other.read_text().replace("int run", "int run_too").replace('"GPL"', '"MIT"'))
    path = source(tmp_path)
    build("build", path, other).fails(f"error: section license of {other} is not the same as that of {path}", "alike")
