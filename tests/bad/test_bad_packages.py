"""Documents with one defect each, and what the user is told about it."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from ecli_schemas.errors import PackageError, PackageVersionError
from ecli_schemas.read import MAX_DOCUMENT_SIZE_BYTES, MAX_OBJECT_SIZE_BYTES, read_package
from ecli_schemas.record import Record

if TYPE_CHECKING:
    pass

OBJECT = b"\x7fELF" + bytes(range(61))

HOOK = {"name": "exec", "alternatives": [{"name": "a", "programs": [{"name": "on_exec"}]}]}
NOT_A_PACKAGE = "a package is the JSON file that ecli-py build writes"
DAMAGED = "the file was damaged or edited; fetch or build it again"
REBUILD = "build the package again from its source with ecli-py build"


def encoded(data: bytes) -> str:
    """Return ``data`` in base64."""
    return base64.b64encode(data).decode()


def packed(data: bytes) -> str:
    """Return ``data`` as ``bpf_object`` holds it."""
    return encoded(zlib.compress(data, 9))


def good() -> dict[str, Any]:
    """Return a package with one of everything; ``test_the_good_package_is_good`` reads it."""
    return {
        "bpf_object": packed(OBJECT),
        "bpf_object_size": len(OBJECT),
        "meta": {
            "bpf_skel": {
                "obj_name": "tool_bpf",
                "data_sections": [
                    {
                        "name": ".rodata",
                        "variables": [
                            {"name": "pid", "type": "int", "cmdarg": {"long": "pid", "short": "p", "default": 0}},
                            {"name": "verbose", "type": "bool"},
                        ],
                    }
                ],
                "maps": [
                    {"name": "events", "ident": "events", "export_config": {"btf_type_id": 7}},
                    {"name": "stacks", "ident": "stacks", "intepreter": {"stack_trace": {}}},
                    {"name": "counts", "ident": "counts", "sample": {"interval": 1000, "type": "log2_hist"}},
                ],
                "progs": [{"name": "on_exec", "attach": "tp/sched/sched_process_exec", "link": True}],
            },
            "export_types": [{"name": "event", "size": 4, "type_id": 7, "members": [{"name": "pid", "type": "int"}]}],
        },
        "ecli": {
            "format": 1,
            "name": "tool",
            "exports": [{"map": "events", "types": [{"name": "event"}]}],
            "options": [{"name": "pid", "section": ".rodata", "type": "int", "long": "pid"}],
            "hooks": [{"name": "exec", "alternatives": [{"name": "a", "programs": [{"name": "on_exec", "targets": ["x"]}]}]}],
            "behaviour": {
                "programs": [{"name": "on_exec", "type": "tracepoint", "section": "tp/sched/sched_process_exec"}],
                "maps": [{"name": "events", "type": "ringbuf", "key_size": 0, "value_size": 0, "max_entries": 4096}],
                "helpers": ["bpf_send_signal"],
                "facts": {"sends_signals": ["bpf_send_signal"]},
            },
            "build": {"tools": {"clang": "18.1.8"}},
        },
    }


class Bad(Record):
    """One defect.

    Attributes:
        document: The document.
        message: What is wrong, without the path.
        path: Where.
        hint: What to do about it.
        kind: The error's class.
    """

    document: bytes | str
    message: str
    path: str = "$"
    hint: str = NOT_A_PACKAGE
    kind: type[PackageError] = PackageError


GONE = object()


def changed(at: str, value: object, message: str, **expected: Any) -> Bad:
    """Put ``value`` into the good package at ``at``: words with dots between; ``GONE`` deletes what is there."""
    document = good()
    target: Any = document
    *words, last = [int(word) if word.isdigit() else word for word in at.split(".")]
    for word in words:
        target = target[word]
    if value is GONE:
        del target[last]
    else:
        target[last] = value
    steps = [f"[{word}]" if isinstance(word, int) else f".{word}" for word in (*words, last)]
    return Bad(
        **{"document": json.dumps(document), "message": message, "path": "$" + "".join(steps), "hint": REBUILD, **expected}
    )


def damaged(text: str, message: str, size_bytes: int = len(OBJECT)) -> Bad:
    """Return a package whose ``bpf_object`` is ``text``."""
    document = {**good(), "bpf_object": text, "bpf_object_size": size_bytes}
    return Bad(document=json.dumps(document), message=message, path="$.bpf_object", hint=DAMAGED)


META = "meta.bpf_skel."
NAME = "expected a name (1 to 511 printable characters)"
WHOLE = packed(OBJECT)
STREAM = zlib.compress(OBJECT, 9)
NEITHER = "this JSON object is neither a package (bpf_object, bpf_object_size, meta) nor package metadata (bpf_skel)"
LEGACY = "this is a package of an old upstream format that nothing reads any more "

BAD: dict[str, Bad] = {
    # Not a document that could be a package.
    "empty": Bad("", "not JSON: Expecting value at line 1, column 1"),
    "not utf-8": Bad(b'{"bpf_object": "\xff"}', "not UTF-8 text (byte 16)"),
    "elf": Bad(OBJECT, "this is an ELF file, not a JSON document"),
    "wasm": Bad(b"\0asm\1\0\0\0", "this is a WebAssembly module, not a JSON document"),
    "gzip": Bad(b"\x1f\x8b\x08", "this is a gzip file, not a JSON document"),
    "c source": Bad('#include "vmlinux.h"\n', "not JSON: Expecting value at line 1, column 1"),
    "cut json": Bad('{\n "meta": {"a', "not JSON: Unterminated string starting at line 2, column 11"),
    "nan": Bad('{"ecli": NaN}', "NaN is not a number that JSON can carry", hint=DAMAGED),
    "infinity": Bad('{"ecli": -Infinity}', "-Infinity is not a number that JSON can carry", hint=DAMAGED),
    "too large a float": Bad('{"ecli": 1e999}', "1e999 is not a number that JSON can carry", hint=DAMAGED),
    "too many digits": Bad('{"ecli": ' + "9" * 5000 + "}", "a number has too many digits"),
    "nested": Bad("[" * 100_000, "lists or objects are nested too deeply"),
    "nested objects": Bad('{"meta":' * 100_000, "lists or objects are nested too deeply"),
    "too many values": Bad("[" + "0," * 1_000_001 + "0]", "the document has more than 1000000 values"),
    "too large": Bad(b" " * (MAX_DOCUMENT_SIZE_BYTES + 1), f"the document has more than {MAX_DOCUMENT_SIZE_BYTES} bytes"),
    "key twice": Bad('{"meta": {"a": 1, "a": 2}}', 'the key "a" appears twice in one object', hint=DAMAGED),
    "list": Bad("[1, 2]", "expected a package (a JSON object), got a list"),
    "number": Bad("42", "expected a package (a JSON object), got 42"),
    "null": Bad("null", "expected a package (a JSON object), got null"),
    "text": Bad('"package"', 'expected a package (a JSON object), got "package"'),
    "other object": Bad('{"name": "left-pad", "version": "1.0.0"}', NEITHER),
    # Of another kind or time.
    "metadata alone": Bad(
        json.dumps(good()["meta"]),
        "this is only the metadata of a package, without its object",
        hint="pass the object (upstream's compiler writes it beside this file, as *.bpf.o) with --object",
    ),
    "first generation": Bad(
        json.dumps({"name": "tool", "data": "f0VMRg==", "data_sz": 4, "maps": [], "progs": []}),
        LEGACY + "(flat keys, the object under `data`)",
        hint=REBUILD,
        kind=PackageVersionError,
    ),
    "second generation": Bad(
        json.dumps({"bpf_object": WHOLE, "meta": {"bpf_skel": {}, "export_types": {"export_btf": "", "structs": []}}}),
        LEGACY + "(`export_types` is an object, and `bpf_object_size` is not there)",
        hint=REBUILD,
        kind=PackageVersionError,
    ),
    "metadata of the second generation": Bad(
        json.dumps({"bpf_skel": {}, "export_types": {"export_btf": "", "structs": []}}),
        LEGACY + "(`export_types` is an object, and `bpf_object_size` is not there)",
        hint=REBUILD,
        kind=PackageVersionError,
    ),
    "newer format": Bad(
        '{"ecli": {"format": 2, "objects": {}}}',
        "the package has format 2; this version of ecli-py reads formats up to 1",
        "$.ecli.format",
        "upgrade ecli-py",
        PackageVersionError,
    ),
    "behaviour as text": changed("ecli.behaviour", "harmless", 'expected a behaviour (an object), got "harmless"'),
    "fact true": changed("ecli.behaviour.facts.sends_signals", True, "expected a list of names, got true"),
    "program without type": changed("ecli.behaviour.programs.0.type", GONE, "missing"),
    "memory negative": changed("ecli.behaviour.maps.0.memory", -1, "expected bytes (integer from 0 to 9007199254740991), got -1"),
    "format 0": changed("ecli.format", 0, "expected the integer 1, got 0"),
    "format true": changed("ecli.format", True, "expected the integer 1, got true"),
    "format as text": changed("ecli.format", "1", 'expected the integer 1, got "1"'),
    "no format": changed("ecli.format", GONE, "missing"),
    # Keys and their kinds.
    "no object": changed("bpf_object", GONE, "missing"),
    "no size": changed("bpf_object_size", GONE, "missing"),
    "no metadata": changed("meta", GONE, "missing"),
    "metadata null": changed("meta", None, "expected the metadata (an object), got null"),
    "ecli null": changed("ecli", None, "expected our part of the package (an object), got null"),
    "object a number": changed("bpf_object", 7, "expected base64 text, got 7"),
    "size negative": changed("bpf_object_size", -1, "expected bytes (integer from 1 to 67108864), got -1"),
    "size true": changed("bpf_object_size", True, "expected bytes (integer from 1 to 67108864), got true"),
    "size text": changed("bpf_object_size", "64", 'expected bytes (integer from 1 to 67108864), got "64"'),
    "size absurd": changed(
        "bpf_object_size",
        MAX_OBJECT_SIZE_BYTES + 1,
        f"expected bytes (integer from 1 to {MAX_OBJECT_SIZE_BYTES}), got {MAX_OBJECT_SIZE_BYTES + 1}",
    ),
    "data sections null": changed(META + "data_sections", None, "expected a list of data sections, got null"),
    "maps an object": changed(META + "maps", {}, "expected a list of maps, got an object"),
    "map a name": changed(META + "maps.1", "stacks", 'expected a map (an object), got "stacks"'),
    "no link": changed(META + "progs.0.link", GONE, "missing"),
    "integer for a boolean": changed(META + "progs.0.link", 1, "expected true or false, got 1"),
    "export types null in a struct": changed("meta.export_types.0.members", None, "expected a list of members, got null"),
    "type id 0": changed("meta.export_types.0.type_id", 0, "expected a BTF type id (integer from 1 to 4294967295), got 0"),
    "pages": changed("meta.perf_buffer_pages", 0, "expected pages (integer from 1 to 65536), got 0"),
    "timeout": changed("meta.poll_timeout_ms", 2**31, "expected milliseconds (integer of 32 bits), got 2147483648"),
    "interval": changed(META + "maps.2.sample.interval", "fast", 'expected milliseconds (integer ≥ 1), got "fast"'),
    "interval 0": changed(META + "maps.2.sample.interval", 0, "expected milliseconds (integer ≥ 1), got 0"),
    "histogram": changed(
        META + "maps.2.sample.type",
        "log_hist",
        'expected "log2_hist" or "linear_hist" or "default_kv", got "log_hist"',
    ),
    "export config": changed(
        META + "maps.0.export_config",
        {"btf_type": 7},
        'expected "no_export", "default", {"btf_type_id": …} or {"custom_members": […]}, got an object',
    ),
    "interpreter": changed(META + "maps.1.intepreter", "flame", 'expected "default_struct" or {"stack_trace": {…}}, got "flame"'),
    "description a number": changed(
        META + "data_sections.0.variables.0.description", 42, "expected text (at most 65536 characters, no NUL), got 42"
    ),
    "two letters for a short name": changed(
        META + "data_sections.0.variables.0.cmdarg.short",
        "pid",
        'expected a short option name (one ASCII letter or digit), got "pid"',
    ),
    "dashes in a long name": changed(
        "ecli.options.0.long", "--pid", 'expected a long option name (ASCII letters, digits, -, . and _), got "--pid"'
    ),
    "decimal": changed(
        "ecli.options.0.default_decimal", "0x10", 'expected an integer as decimal text (at most 39 digits), got "0x10"'
    ),
    "odd key": changed(
        "ecli.build.tools.c++ compiler",
        18,
        "expected text (at most 65536 characters, no NUL), got 18",
        path='$.ecli.build.tools["c++ compiler"]',
    ),
    # Text that C, a terminal or UTF-8 cannot carry.
    "no name": changed("ecli.name", "", f'{NAME}, got ""'),
    "nul": changed(META + "maps.0.name", "ev\0ents", f'{NAME}, got "ev\\u0000ents"'),
    "escape sequence": changed("ecli.name", "\x1b[2J", f'{NAME}, got "\\u001b[2J"'),
    "right to left": changed("ecli.name", "tool\u202egnp", f'{NAME}, got "tool\\u202egnp"'),
    "lone surrogate": changed(META + "obj_name", "\ud800", f'{NAME}, got "\\ud800"'),
    "lone surrogate in a default": changed(
        "ecli.options.0.default", ["\udfff"], 'expected text without lone surrogates, got "\\udfff"'
    ),
    "too long": changed(META + "obj_name", "x" * 512, f'{NAME}, got "{"x" * 40}"… (512 characters)'),
    "default too deep": changed("ecli.options.0.default", json.loads("[" * 200 + "]" * 200), "nested deeper than 100 levels"),
    # Between parts.
    "same option twice": changed(
        META + "data_sections.0.variables.1.cmdarg",
        {"long": "pid"},
        "the option --pid stands for two variables, pid and verbose",
        path="$.meta.bpf_skel.data_sections",
    ),
    "same short option twice": changed(
        "ecli.options",
        [{"name": name, "section": ".bss", "type": "int", "long": name, "short": "p"} for name in ("pid", "ppid")],
        "the option -p stands for two variables, pid and ppid",
    ),
    "same map twice": changed(
        "ecli.exports",
        [{"map": "events"}, {"map": "events"}],
        "the map has another export already; one export lists all its types",
        path="$.ecli.exports[1]",
        hint=REBUILD,
    ),
    "no alternatives": changed(
        "ecli.hooks.0.alternatives",
        [],
        "expected a list of alternatives (at least 1), got a list",
        path="$.ecli.hooks[0].alternatives",
    ),
    "an alternative of nothing": changed(
        "ecli.hooks.0.alternatives.0.programs",
        [],
        "expected a list of programs (at least 1), got a list",
        path="$.ecli.hooks[0].alternatives[0].programs",
    ),
    "too many targets": changed(
        "ecli.hooks.0.alternatives.0.programs.0.targets",
        ["x"] * 17,
        "expected a list of targets (at most 16), got a list",
        path="$.ecli.hooks[0].alternatives[0].programs[0].targets",
    ),
    "a hook twice": changed("ecli.hooks", [HOOK, HOOK], "the hook exec is there twice", path="$.ecli.hooks[1]"),
    "an alternative twice": changed(
        "ecli.hooks",
        [{**HOOK, "alternatives": [{"name": "a", "programs": [{"name": each}]} for each in ("x", "y")]}],
        "the hook exec has two alternatives of one name",
        path="$.ecli.hooks[0]",
    ),
    "a program in two hooks": changed(
        "ecli.hooks", [HOOK, {**HOOK, "name": "other"}], "the program on_exec is in two alternatives", path="$.ecli.hooks[1]"
    ),
    # The object.
    "not base64": damaged("eN!" + WHOLE[3:], "not base64: cut off, or with characters that it does not have"),
    "url alphabet": damaged("-_" + WHOLE[2:], "not base64: cut off, or with characters that it does not have"),
    "no padding": damaged(WHOLE.rstrip("="), "not base64: cut off, or with characters that it does not have"),
    "text after padding": damaged(WHOLE + "AAAA", "not base64: cut off, or with characters that it does not have"),
    "not ascii": changed("bpf_object", "é", 'expected base64 text, got "\\u00e9"'),
    "line breaks": damaged(
        "\n".join([WHOLE[:40], WHOLE[40:]]), "base64 text must be in one piece, without blanks or line breaks"
    ),
    "not zlib": damaged(encoded(b"hello"), "corrupt zlib stream (incorrect header check)"),
    "corrupt": damaged(encoded(STREAM[:-1] + b"\0"), "corrupt zlib stream (incorrect data check)"),
    "truncated": damaged(encoded(STREAM[:-8]), "truncated zlib stream"),
    "nothing": damaged("", "truncated zlib stream"),
    "trailing bytes": damaged(encoded(STREAM + b"more"), "4 bytes follow the end of the zlib stream"),
    "smaller than declared": damaged(WHOLE, "size mismatch: bpf_object_size says 66 bytes, the object has 65", 66),
    "larger than declared": damaged(WHOLE, "size mismatch: bpf_object_size says 64 bytes, the object has more", 64),
    "bomb": damaged(packed(bytes(2**24)), "size mismatch: bpf_object_size says 65 bytes, the object has more"),
    "not elf": damaged(packed(b"MZ" + bytes(63)), "the object is not an ELF file; it begins with 4d 5a 00 00"),
}


def test_the_good_package_is_good() -> None:
    assert read_package(json.dumps(good())).object == OBJECT


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_package(bad: Bad) -> None:
    with pytest.raises(PackageError) as caught:
        read_package(bad.document)
    error = caught.value
    where = "" if bad.path == "$" else f"{bad.path}: "
    assert str(error) == where + bad.message
    assert (error.path, error.hint, type(error)) == (bad.path, bad.hint, bad.kind)
