"""From the bytes of a package to :class:`~ecli_schemas.model.Package`.

Both dialects are read: upstream's (eunomia-bpf), and ours, which is upstream's with one more key, ``ecli``.
This is on the way from the start of a process to its first event, hence few imports and cheap checks
(``dialects.py``); what else is wrong with a document that failed them, the JSON Schemas tell (``explain.py``).
"""

from __future__ import annotations

import binascii
import zlib

from .checks import Mismatch
from .dialects import MAX_DOCUMENT_SIZE_BYTES, MAX_EXACT_INTEGER, MAX_OBJECT_SIZE_BYTES, METADATA, OURS, UPSTREAM
from .errors import PackageError, PackageVersionError
from .json_reader import loads
from .model import FORMAT_VERSION, Package, WasmModule
from .wording import expected, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .checks import Check
    from .model import Json

__all__ = ["MAX_DOCUMENT_SIZE_BYTES", "MAX_OBJECT_SIZE_BYTES", "read_package"]

MAX_DOCUMENT_VALUES = 1_000_000
MORE_PROBLEMS_SHOWN = 5

_REBUILD = "build the package again from its source with ecli-py build"
_NOT_A_PACKAGE = "a package is the JSON file that ecli-py build writes"
_TOO_LARGE = "objects of BPF programs are seldom larger than a megabyte; drop the debug information other than BTF"
_DAMAGED = "the file was damaged or edited; fetch or build it again"

_BINARY_FORMATS = {
    b"\x7fELF": "an ELF file",
    b"\x00asm": "a WebAssembly module",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip archive",
}


def read_package(data: bytes | str, *, object: bytes | None = None) -> Package:  # noqa: A002 - named like --object
    """Return the package that ``data`` holds, checked.

    Args:
        data: The JSON document, in UTF-8 if it is bytes.
        object: The ELF object, for upstream's bare metadata document (``*.skel.json``), which has none of its own.

    Raises:
        PackageVersionError: The format is newer than this version reads, or one of upstream's abandoned ones.
        PackageError: Anything else that is wrong with the document, with the JSON path where it is.
    """
    document = _parse(data)
    check = _dialect(document, object)
    try:
        fields = check(document)
    except Mismatch as mismatch:
        path = f"${mismatch.path}"
        raise PackageError(mismatch.message, path, _more_problems(document, path) or _REBUILD) from None
    if object is None:
        object = _inflate("$", fields)  # noqa: A001
    objects = {machine: _inflate(f"$.ecli.objects.{machine}", part) for machine, part in fields.pop("objects", {}).items()}
    wasm = tuple([_module(f"$.ecli.wasm[{index}]", part) for index, part in enumerate(fields.pop("wasm", ()))])
    return Package(object=object, objects=objects, wasm=wasm, **fields)


# --- from bytes to JSON values ---


def _parse(data: bytes | str) -> Json:
    if len(data) > MAX_DOCUMENT_SIZE_BYTES:
        raise PackageError(f"the document has more than {MAX_DOCUMENT_SIZE_BYTES} bytes", hint=_NOT_A_PACKAGE)
    text = data if isinstance(data, str) else _decode(data)
    # Every value but the first follows one of these, and base64 has none of them: a bound for the memory parsing takes.
    if text.count(",") + text.count("[") + text.count("{") > MAX_DOCUMENT_VALUES:
        raise PackageError(f"the document has more than {MAX_DOCUMENT_VALUES} values", hint=_NOT_A_PACKAGE)
    try:
        document: Json = loads(text, _object_of, _number)
    except RecursionError as error:
        raise PackageError("lists or objects are nested too deeply", hint=_NOT_A_PACKAGE) from error
    except ValueError as error:
        raise PackageError(_describe(error), hint=_NOT_A_PACKAGE) from error
    return document


def _describe(error: ValueError) -> str:
    from json import JSONDecodeError

    if isinstance(error, JSONDecodeError):
        return f"not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
    return "a number has too many digits"  # int() takes at most 4300


def _decode(data: bytes) -> str:
    for magic, kind in _BINARY_FORMATS.items():
        if data.startswith(magic):
            raise PackageError(f"this is {kind}, not a JSON document", hint=_NOT_A_PACKAGE)
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()  # a reader may ignore a byte order mark (RFC 8259, section 8.1)
    except UnicodeDecodeError as error:
        raise PackageError(f"not UTF-8 text (byte {error.start})", hint=_NOT_A_PACKAGE) from error


def _object_of(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse repeated keys: readers disagree on which one counts, so on what was signed (RFC 8259, section 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = sorted(key for key, _ in pairs)
        repeated = next(key for place, key in enumerate(keys) if key == keys[place + 1])
        raise PackageError(f"the key {shown(repeated)} appears twice in one object", hint=_DAMAGED)
    return found


def _number(text: str) -> int | float:
    """Read a number with a fraction or exponent; JSON has one kind of number, so 100.0 is the integer 100."""
    number = float(text)
    if number - number != 0:  # infinite
        raise PackageError(f"{text} is not a number that JSON can carry", hint=_DAMAGED)
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT_INTEGER else number


# --- which kind of document ---


def _dialect(document: Json, elf: bytes | None) -> Check[dict[str, Any]]:
    """Return the table for the kind of document that this is; refuse kinds that cannot be read."""
    if not isinstance(document, dict):
        raise PackageError(expected("a package (a JSON object)", document), hint=_NOT_A_PACKAGE)
    _refuse_newer(document.get("ecli"))
    _refuse_legacy(document)
    if not {"ecli", "bpf_object", "bpf_object_size", "meta"}.isdisjoint(document):
        if elf is not None:
            raise PackageError("the package has an object of its own", hint="leave --object out")
        return OURS if "ecli" in document else UPSTREAM
    if "bpf_skel" in document:
        if elf is None:
            raise PackageError(
                "this is only the metadata of a package, without its object",
                hint="pass the object (upstream's compiler writes it beside this file, as *.bpf.o) with --object",
            )
        _check_elf(elf, "$")
        return METADATA
    raise PackageError(
        "this JSON object is neither a package (bpf_object, bpf_object_size, meta) nor package metadata (bpf_skel)",
        hint=_NOT_A_PACKAGE,
    )


def _refuse_newer(ecli: Json) -> None:
    """Look at the format before anything else: in a newer one, everything else may differ."""
    version = ecli.get("format") if isinstance(ecli, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise PackageVersionError(
            f"the package has format {version}; this version of ecli-py reads formats up to {FORMAT_VERSION}",
            "$.ecli.format",
            "upgrade ecli-py",
        )


def _refuse_legacy(document: dict[str, Json]) -> None:
    """Recognise the two forms that upstream abandoned; its own loader cannot read them either."""
    meta = document.get("meta", document)
    types = meta.get("export_types") if isinstance(meta, dict) else None
    is_grouped = isinstance(types, dict) and not {"export_btf", "structs"}.isdisjoint(types)
    if "data" in document and "data_sz" in document:
        what = "flat keys, the object under `data`"
    elif is_grouped and "bpf_object_size" not in document:
        what = "`export_types` is an object, and `bpf_object_size` is not there"
    else:
        return
    raise PackageVersionError(f"this is a package of an old upstream format that nothing reads any more ({what})", hint=_REBUILD)


def _more_problems(document: Json, path: str) -> str:
    """Return what else the schema has against the document, as a hint; nothing if jsonschema is not installed."""
    try:
        from .explain import explain

        problems = [line for line in explain(document) if not line.startswith(f"{path}: ")]
    except ImportError:
        return ""
    if not problems:
        return ""
    count = f"{len(problems)} more problem{'s' if len(problems) > 1 else ''}:"
    rest = ["…"] if len(problems) > MORE_PROBLEMS_SHOWN else []
    return "\n  ".join([count, *problems[:MORE_PROBLEMS_SHOWN], *rest])


# --- the object ---


def _inflate(path: str, holder: dict[str, Any]) -> bytes:
    """Return the ELF object that two keys hold, and take them out."""
    data = _unpack(f"{path}.bpf_object", holder.pop("bpf_object"), holder.pop("bpf_object_size"), "object", "bpf_object_size")
    _check_elf(data, f"{path}.bpf_object")
    return data


def _module(path: str, part: dict[str, Any]) -> WasmModule:
    """Return the Wasm module that an object holds."""
    path = f"{path}.module"
    code = _unpack(path, part.pop("module"), part.pop("module_size"), "module", "module_size")
    if not code.startswith(b"\0asm"):
        raise PackageError(f"the module is not WebAssembly; it begins with {code[:4].hex(' ')}", path, _DAMAGED)
    return WasmModule(code=code, **part)


def _unpack(path: str, text: str, size_bytes: int, what: str, size_key: str) -> bytes:
    """Return what ``text`` holds: base64 (RFC 4648, strict) of a zlib stream (RFC 1950) of exactly that many bytes.

    Args:
        path: Of the text.
        text: The text.
        size_bytes: How many.
        what: Word for what it holds.
        size_key: Key that says how many.
    """

    def refuse(message: str) -> NoReturn:
        raise PackageError(message, path, _DAMAGED)

    compressed = _from_base64(text, refuse)
    inflator = zlib.decompressobj()
    try:
        data = inflator.decompress(compressed, size_bytes + 1)  # a bomb ends here, one byte too late
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]
        raise PackageError(f"corrupt zlib stream ({reason})", path, _DAMAGED) from error
    if len(data) > size_bytes:
        refuse(f"size mismatch: {size_key} says {size_bytes} bytes, the {what} has more")
    if not inflator.eof:
        refuse("truncated zlib stream")
    if inflator.unused_data:
        refuse(f"{len(inflator.unused_data)} bytes follow the end of the zlib stream")
    if len(data) != size_bytes:
        refuse(f"size mismatch: {size_key} says {size_bytes} bytes, the {what} has {len(data)}")
    return data


def _from_base64(text: str, refuse: Callable[[str], NoReturn]) -> bytes:
    if any(blank in text for blank in " \t\r\n"):
        refuse("base64 text must be in one piece, without blanks or line breaks")
    try:
        data = binascii.a2b_base64(text)
    except binascii.Error:
        data = b""
    # a2b_base64 skips what is not base64 and stops at the padding; so accept only what encoding gives back.
    if binascii.b2a_base64(data, newline=False) != text.encode():
        refuse("not base64: cut off, or with characters that it does not have")
    return data


def _check_elf(data: bytes, path: str) -> None:
    if not data.startswith(b"\x7fELF"):
        raise PackageError(f"the object is not an ELF file; it begins with {data[:4].hex(' ')}", path, _DAMAGED)
    if len(data) > MAX_OBJECT_SIZE_BYTES:
        raise PackageError(f"the object has {len(data)} bytes, the limit is {MAX_OBJECT_SIZE_BYTES}", path, _TOO_LARGE)
