"""Bad packages and bad arguments, as far as they are noticed before the kernel is asked: an error, a hint, and no traceback."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Ecli
from tests.conftest import DATA

# Of upstream's dialect; its object has program on_exec, map out, struct evt, and option only_pid (int).
SMALL = DATA / "upstream-minimal.json"

# Fields of an ELF header, include/uapi/linux/elf.h
EI_CLASS, EI_DATA, E_MACHINE = 4, 5, 18


def document() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(SMALL.read_text(encoding="utf-8"))
    return parsed


def with_object(data: bytes) -> dict[str, Any]:
    """Return a package with another object, and all that belongs to it right."""
    text = base64.b64encode(zlib.compress(data)).decode()
    return {**document(), "bpf_object": text, "bpf_object_size": len(data)}


def elf() -> bytes:
    return zlib.decompress(base64.b64decode(document()["bpf_object"]))


def changed(byte_offset: int, *values: int) -> bytes:
    data = bytearray(elf())
    data[byte_offset : byte_offset + len(values)] = values
    return bytes(data)


def in_compressed(change: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Return a package whose compressed object is changed."""
    found = document()
    found["bpf_object"] = base64.b64encode(change(base64.b64decode(found["bpf_object"]))).decode()
    return found


def with_skeleton(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    found = document()
    change(found["meta"]["bpf_skel"])
    return found


def with_meta(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    found = document()
    change(found["meta"])
    return found


def bomb() -> dict[str, Any]:
    """Return a package whose object says that it is small, and is 256 MiB."""
    compressor = zlib.compressobj()
    zeros = bytes(1 << 20)
    data = compressor.compress(b"\x7fELF") + b"".join(compressor.compress(zeros) for _ in range(256)) + compressor.flush()
    return {**document(), "bpf_object": base64.b64encode(data).decode()}


def other_byte_order() -> bytes:
    order, machine = (2, (0, 247)) if sys.byteorder == "little" else (1, (247, 0))
    data = bytearray(changed(EI_DATA, order))
    data[E_MACHINE : E_MACHINE + 2] = machine
    return bytes(data)


def rodata_of(size_bytes: int) -> bytes:
    """Return the object with another size of the only variable in ``.rodata`` (struct btf_var_secinfo, type 14)."""
    before, after = struct.pack("<III", 14, 0, 4), struct.pack("<III", 14, 0, size_bytes)
    assert elf().count(before) == 1
    return elf().replace(before, after)


NO_PACKAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "text": (b"int main(void)\n", "not JSON"),
    "binary": (bytes(range(256)), "not"),
    "JSON cut short": (SMALL.read_bytes()[:1000], "not JSON"),
    "nested without end": (b"[" * 100_000, "nested too deeply"),
    "a list": (b"[1, 2]", "a package"),
    "a number": (b"17", "a package"),
    "JSON of another kind": (b'{"name": "left-pad", "version": "1.0.0"}', "neither a package"),
    "an ELF file": (b"\x7fELF" + bytes(100), "an ELF file"),
    "a gzip file": (b"\x1f\x8b" + bytes(100), "a gzip file"),
    "upstream's metadata alone": (json.dumps(document()["meta"]).encode(), "without its object"),
    "a newer format": (json.dumps({**document(), "ecli": {"format": 2}}).encode(), "$.ecli.format"),
}

BAD_PACKAGES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "wrong base64": (lambda: {**document(), "bpf_object": "not~base64!"}, "$.bpf_object: not base64"),
    "truncated zlib": (lambda: in_compressed(lambda data: data[: len(data) // 2]), "truncated zlib stream"),
    "corrupt zlib": (lambda: in_compressed(lambda data: data[:2] + data[3:]), "corrupt zlib stream"),
    "no zlib": (lambda: in_compressed(lambda data: b"no zlib"), "corrupt zlib stream"),
    "size too large": (lambda: {**document(), "bpf_object_size": len(elf()) + 1}, "size mismatch"),
    "size too small": (lambda: {**document(), "bpf_object_size": len(elf()) - 1}, "size mismatch"),
    "zlib bomb": (bomb, "size mismatch"),
    "zlib bomb that says so": (lambda: {**bomb(), "bpf_object_size": 4 + (256 << 20)}, "$.bpf_object_size"),
    "no ELF": (lambda: with_object(b"#!/bin/sh\n"), "not an ELF file"),
    "ELF of another machine": (lambda: with_object(changed(E_MACHINE, 62, 0)), "for machine x86-64, not for eBPF"),
    "ELF of 32 bits": (lambda: with_object(changed(EI_CLASS, 1)), "32-bit"),
    "object for the other byte order": (lambda: with_object(other_byte_order()), "-endian, this machine is"),
    "ELF cut after its header": (lambda: with_object(elf()[:64]), "cannot open the package's object"),
    "ELF cut in its header": (lambda: with_object(elf()[:32]), "truncated ELF file"),
    "ELF cut in the middle": (lambda: with_object(elf()[:1500]), "cannot open the package's object"),
    "garbage sections": (lambda: with_object(elf()[:64] + bytes(255 - i % 256 for i in range(len(elf()) - 64))), "cannot open"),
    "no BTF": (lambda: with_object(elf().replace(b".BTF", b".XYZ")), "has no BTF"),
    "garbage BTF": (lambda: with_object(elf().replace(b"\x9f\xeb", b"\xeb\x9f")), "BTF"),
    "unknown map": (
        lambda: with_skeleton(lambda skeleton: skeleton["maps"].append({"name": "gone", "ident": "gone"})),
        "$.meta.bpf_skel.maps[3].name: the object has no map 'gone'",
    ),
    "unknown program": (
        lambda: with_skeleton(lambda skeleton: skeleton["progs"].append({"name": "gone", "attach": "tp/a/b", "link": True})),
        "$.meta.bpf_skel.progs[1].name: the object has no program 'gone'",
    ),
    "unknown variable": (
        lambda: with_skeleton(lambda skeleton: skeleton["data_sections"][0]["variables"][0].update(name="gone")),
        "option 'gone': the object has no such variable",
    ),
    "unknown struct": (
        lambda: with_meta(lambda meta: meta["export_types"][0].update(name="gone")),
        "$.meta.export_types: the object has no struct 'gone'",
    ),
    "default of the wrong type": (
        lambda: with_skeleton(lambda skeleton: skeleton["data_sections"][0]["variables"][0].update(value="many")),
        "option only_pid: expected an integer, got 'many'",
    ),
    "variable that its section has too small": (
        lambda: with_object(rodata_of(2)),
        "variable 'only_pid' has 2 bytes in its section and 4 by its type",
    ),
    "no maps": (lambda: with_skeleton(lambda skeleton: skeleton.update(maps="none")), "$.meta.bpf_skel.maps"),
}


@pytest.mark.parametrize("name", NO_PACKAGES)
def test_what_is_no_package(ecli: Ecli, name: str) -> None:
    data, text = NO_PACKAGES[name]
    (ecli.directory / "x.json").write_bytes(data)
    ecli("run", "x.json").fails(text)
    ecli("run", "-", stdin=data).fails(text)


@pytest.mark.parametrize("name", BAD_PACKAGES)
def test_bad_package(ecli: Ecli, name: str) -> None:
    make, text = BAD_PACKAGES[name]
    (ecli.directory / "x.json").write_text(json.dumps(make()), encoding="utf-8")
    ecli("run", "x.json").fails(text)


def test_missing_file(ecli: Ecli) -> None:
    ecli("run", "gone.json").fails("cannot read gone.json: No such file or directory")


def test_a_directory(ecli: Ecli) -> None:
    ecli("run", ".").fails("cannot read .: Is a directory")


def test_missing_object(ecli: Ecli) -> None:
    (ecli.directory / "meta.json").write_text(json.dumps(document()["meta"]), encoding="utf-8")
    ecli("run", "--object", "gone.o", "meta.json").fails("cannot read gone.o: No such file or directory")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--only_pid", "many"], "--only_pid: expected an integer, got 'many'"),
        (["--only-pid=1.5"], "--only_pid: expected an integer, got '1.5'"),
        (["--only_pid="], "--only_pid: expected an integer, got ''"),
        (["--only_pid", "2147483648"], "--only_pid: expected an integer from -2147483648 to 2147483647, got 2147483648"),
        (["--only_pid=-2147483649"], "--only_pid: expected an integer from -2147483648 to 2147483647, got -2147483649"),
        (["--only_pid=" + "9" * 5000], "--only_pid: expected an integer"),
        (["--only_pid=1\udc80"], "--only_pid: expected an integer"),
        (["--duration", "soon"], "--duration: expected a time, got 'soon'"),
        (["--duration", "0"], "--duration: expected a time, got '0'"),
        (["--duration=-5"], "--duration: expected a time, got '-5'"),
        (["--duration", "nan"], "--duration: expected a time, got 'nan'"),
        (["--duration", "1e300"], "--duration: expected a time, got '1e300'"),
        (["--count", "0"], "--count: expected a number of events (at least 1), got '0'"),
        (["--count=-1"], "--count: expected a number of events (at least 1), got '-1'"),
        (["--count", "²"], "--count: expected a number of events (at least 1), got '²'"),
        (["--count=" + "9" * 5000], "--count: expected a number of events"),
        (["--count=99999999999999999999"], "--count: expected a number of events"),
    ],
)
def test_bad_value_of_an_option(ecli: Ecli, words: list[str], text: str) -> None:
    ecli("run", SMALL, *words).fails(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "PACKAGE"),
        ([SMALL, "--colour"], "--colour"),
        ([SMALL, "--only_pid"], "expected one argument"),
        ([SMALL, "more"], "more"),
        (["--colour", SMALL], "--colour"),
    ],
)
def test_wrong_usage_of_run(ecli: Ecli, words: list[str | Path], text: str) -> None:
    outcome = ecli("run", *words)
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert text in outcome.stderr
    assert "\nhint: ecli-py run" in outcome.stderr


def test_a_missing_package_is_all_that_is_missing(ecli: Ecli) -> None:
    assert "rest" not in ecli("run", "--json").stderr


def test_formats_that_exclude_each_other(ecli: Ecli) -> None:
    outcome = ecli("replay", SMALL, "--json", "--csv")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr == "error: --json and --csv exclude each other\nhint: choose one\n"


@pytest.mark.parametrize("command", ["run", "replay", "inspect", "schema"])
def test_standard_input_that_is_closed(ecli: Ecli, command: str) -> None:
    replace(ecli, prefix=["sh", "-c", 'exec "$@" <&-', "sh"])(command, "-").fails("error: ")


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", SMALL],
        ["inspect", SMALL, "--json"],
        ["inspect", SMALL, "--object", "-"],
        ["schema", SMALL],
        ["init", "tool"],
        ["--version"],
        ["--help"],
        ["run", "--help"],
    ],
)
def test_a_result_that_cannot_be_written(ecli: Ecli, words: list[str | Path]) -> None:
    replace(ecli, prefix=["sh", "-c", 'exec "$@" > /dev/full', "sh"])(*words).fails("standard output", "No space left on device")


@pytest.mark.parametrize("words", [["jump"], ["--jump"], ["-x"], ["build"]])
def test_wrong_usage(ecli: Ecli, words: list[str]) -> None:
    outcome = ecli(*words)
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert "\nhint: ecli-py " in outcome.stderr


def test_libbpf_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "libbpf.so").write_bytes(b"nothing")
    Ecli(tmp_path, environment={"ECLI_LIBBPF": "./libbpf.so"})("run", SMALL).fails("cannot load libbpf", "libbpf.so")


def test_library_that_is_no_libbpf(tmp_path: Path) -> None:
    Ecli(tmp_path, environment={"ECLI_LIBBPF": "libc.so.6"})("run", SMALL).fails("libc.so.6 is no libbpf")


# --- packages that are odd, but good ---


def odd(ecli: Ecli, doc: dict[str, str] | None = None, **variable: object) -> str:
    """Return what help says of a package whose variable, and documentation, has something odd."""

    def change(skeleton: dict[str, Any]) -> None:
        skeleton["data_sections"][0]["variables"][0].update(variable)
        skeleton["doc"] = doc or {}

    (ecli.directory / "100%.json").write_text(json.dumps(with_skeleton(change)), encoding="utf-8")
    outcome = ecli("run", "100%.json", "-h" if variable.get("cmdarg") == {"long": "help"} else "--help")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr == ""
    return outcome.stdout


@pytest.mark.parametrize(
    ("cmdarg", "text"),
    [
        ({"long": "help"}, "--help N"),
        ({"long": "pid", "short": "h"}, "-h, --pid N"),
        ({"long": "json"}, "--json N"),
        ({"long": "no-json"}, "--no-json N"),
    ],
)
def test_an_option_may_be_named_like_ours(ecli: Ecli, cmdarg: dict[str, str], text: str) -> None:
    assert text in odd(ecli, cmdarg=cmdarg).replace("-h N, ", "-h, ")  # argparse says it once from Python 3.13 on


def test_options_whose_further_names_are_the_same(ecli: Ecli) -> None:
    def change(skeleton: dict[str, Any]) -> None:
        variable = skeleton["data_sections"][0]["variables"][0]
        skeleton["data_sections"][0]["variables"] = [
            {**variable, "cmdarg": {"long": name}} for name in ("only_pid", "only-pid", "enable-only_pid")
        ]

    (ecli.directory / "x.json").write_text(json.dumps(with_skeleton(change)), encoding="utf-8")
    assert ecli("run", "x.json", "--help").status == 0


@pytest.mark.parametrize("c_type", ["", "a  ( [b", "%d", "char[16]", "x" * 200])
def test_help_with_an_odd_type(ecli: Ecli, c_type: str) -> None:
    assert "only report this pid" in odd(ecli, type=c_type)


def test_texts_of_a_package_do_not_reach_the_terminal_as_they_are(ecli: Ecli) -> None:
    text = "\x1b[31m100% %(prog) %d %(x)s"
    said = odd(ecli, {"brief": text}, cmdarg={"help": text})
    assert said.count(r"\x1b[31m100% %(prog) %d %(x)s") == 2
    assert "\x1b" not in said
