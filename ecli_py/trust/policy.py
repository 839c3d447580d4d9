"""Policies: TOML files of the machine and of the user that say whose packages run, and what they may do.

``policy.schema.json`` describes them. All policies hold: what one of them refuses is refused.
"""

from __future__ import annotations

import json
import re
import sys
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ecli_py.trust import policy_paths
from ecli_py.trust.places import TrustError, read_setting
from ecli_schemas.record import Record
from ecli_schemas.wording import expected, step

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from jsonschema.exceptions import ValidationError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Rule(Record):
    """What a policy says of a source.

    Attributes:
        line: Where: ``/etc/ecli-py/policy.toml:12``.
        keys: Names of the keys one of which must have signed; empty: none is needed.
        unsigned: What happens to a package that no trusted key has signed; ``None``: nothing is said.
        allow: What packages may do; ``None``: nothing is said.
    """

    line: str
    keys: tuple[str, ...] = ()
    unsigned: Literal["ask", "refuse", "run"] | None = None
    allow: tuple[str, ...] | None = None


class Limits(Record):
    """What holds of all packages; ``None``: anything goes.

    Attributes:
        path: File that says so.
        allow: The most that a package may do.
        program_types: Patterns of types of programs.
        attach: Patterns of sections.
        helpers: Patterns of helpers and kernel functions.
        deny_attach: Patterns of sections that are refused.
        deny_helpers: Patterns of helpers and kernel functions that are refused.
        map_memory_bytes: The most that all maps together may take.
    """

    path: str
    allow: tuple[str, ...] | None = None
    program_types: tuple[str, ...] | None = None
    attach: tuple[str, ...] | None = None
    helpers: tuple[str, ...] | None = None
    deny_attach: tuple[str, ...] = ()
    deny_helpers: tuple[str, ...] = ()
    map_memory_bytes: int | None = None


class WasmRights(Record):
    """What Wasm modules may have, of all packages; ``None``: anything goes.

    Attributes:
        path: File that says so.
        run: Which ones run: ``none``, ``handlers`` (of events), or ``controllers``, too, which drive eBPF themselves.
        memory_bytes: Memory of each.
        batch_ms: Milliseconds that a handler may take for a batch of events.
        writable_maps: Patterns of names of the maps that handlers may change.
        wasi: Handlers may use what WASI has that is harmless.
    """

    path: str
    run: Literal["none", "handlers", "controllers"] = "controllers"
    memory_bytes: int | None = None
    batch_ms: int | None = None
    writable_maps: tuple[str, ...] | None = None
    wasi: bool = True


class Policy:
    """A policy.

    Args:
        path: Its file, for messages.
        text: What is in it.

    Attributes:
        catalogues: URLs and files of catalogues.
        limits: What holds of all packages.
        wasm: What Wasm modules may have.

    Raises:
        TrustError: It is none; the message has the line.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path, self._text = path, text
        document = self._parse()
        self._check(document)
        self.catalogues: tuple[str, ...] = tuple(document.get("catalogues", ()))
        self._sources: list[dict[str, Any]] = document.get("source", [])
        limits: dict[str, Any] = dict(document.get("limits", {}))
        memory = limits.pop("map_memory", None)
        self.limits = Limits(
            path=path,
            map_memory_bytes=None if memory is None else _size_bytes(memory),
            **{name: tuple(value) for name, value in limits.items()},
        )
        self.wasm = _wasm_rights(path, document.get("wasm", {}))

    def rule_for(self, source: str, *, remote: bool) -> Rule | None:
        """Return what it says of a source; ``None``: nothing.

        Args:
            source: As :attr:`ecli_py.fetch.Fetched.source` has it.
            remote: It is another machine.
        """
        for index, table in enumerate(self._sources):
            if _matches(table, source, remote):
                return Rule(
                    line=f"{self.path}:{self._line_of(['source', index])}",
                    keys=tuple(table.get("keys", ())),
                    unsigned=table.get("unsigned"),
                    allow=tuple(table["allow"]) if "allow" in table else None,
                )
        return None

    def _parse(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = tomllib.loads(self._text)
            return document
        except RecursionError as error:
            raise TrustError(f"{self.path} is nested too deeply", "a policy has tables and lists, and nothing in them") from error
        except ValueError as error:
            found = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
            message, number = (found[1], found[2] or str(self._text.count("\n") + 1)) if found else (str(error), "1")
            raise TrustError(f"{self.path}:{number}: this is no TOML: {message}", "https://toml.io describes it") from error

    def _check(self, document: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        schema = json.loads((files("ecli_schemas") / "policy.schema.json").read_text("utf-8"))
        found = [
            (self._line_of(path), path, message)
            for error in Draft202012Validator(schema).iter_errors(document)
            for path, message in _told(error)
        ]
        if found:
            line, path, message = min(found, key=lambda each: each[0])
            where = "".join(map(step, path)).removeprefix(".")
            raise TrustError(f"{self.path}:{line}: {where + ': ' if where else ''}{message}", "docs/trust.md describes policies")

    def _line_of(self, path: list[str | int]) -> int:
        """Return the line that a value is on, or begins on: as near to it as headings of tables and names of keys tell."""
        wanted = [each for each in path if isinstance(each, str)]
        index = next((each for each in path if isinstance(each, int)), 0)
        table, best, line_of_table = "", 0, 1
        seen = -1
        for number, line in enumerate(self._text.split("\n"), 1):
            heading = re.match(r"\s*(\[\[?)\s*([\w-]+)", line)
            key = re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line)
            if heading:
                table = heading[2]
                seen += table == "source" and heading[1] == "[["
                is_it = wanted[:1] == [table] and (table != "source" or seen == index)
                line_of_table, best = (number, max(best, 1)) if is_it and best < 1 else (line_of_table, best)
                table = table if is_it else "another"
            elif key and (wanted[:1] == [key[1]] if not table else table != "another" and wanted[1:2] == [key[1]]):
                return number
        return line_of_table


def load_policies() -> list[Policy]:
    """Return the policies that hold here.

    Raises:
        TrustError: One cannot be read, is none, or somebody else could change it.
    """
    found = []
    for path in policy_paths():
        try:
            data = read_setting(path)
        except FileNotFoundError as error:
            raise TrustError(f"cannot read {path}: it leads nowhere", "remove it, or make what it is a link to") from error
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            number = data[: error.start].count(b"\n") + 1
            raise TrustError(f"{path}:{number}: this is no UTF-8", "save it as UTF-8") from error
        found.append(Policy(path, text.replace("\r\n", "\n")))
    return found


def matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a name matches one of some patterns, in which * and ? stand for anything."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _matches(table: dict[str, Any], source: str, remote: bool) -> bool:
    if "directory" in table:
        directory: str = table["directory"].rstrip("/")
        if source == "-":  # standard input is nowhere
            return not directory
        return not remote and (source == directory or source.startswith(directory + "/"))
    if not remote:
        return False
    host = source.partition("/")[0]
    if "host" in table:
        return fnmatchcase(host, table["host"].lower())
    return fnmatchcase(source, table["repository"])


def _told(error: ValidationError) -> Iterator[tuple[list[str | int], str]]:
    """Yield path and message of what an error reports; the titles in the schema say what is expected."""
    path = list(error.absolute_path)
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        for key in instance:
            if key not in schema["properties"]:
                yield [*path, key], f"there is no such key; there are {', '.join(schema['properties'])}"
    elif error.validator == "oneOf":
        yield path, f"expected one of host, repository and directory, got {len(instance.keys() & _PLACES) or 'none'} of them"
    else:
        yield (
            path,
            expected(schema["title"], instance if isinstance(instance, (str, int, float, bool, list, dict)) else str(instance)),
        )


_PLACES = {"host", "repository", "directory"}


def _wasm_rights(path: str, table: dict[str, Any]) -> WasmRights:
    return WasmRights(
        path=path,
        run=table.get("run", "controllers"),
        memory_bytes=_size_bytes(table["memory"]) if "memory" in table else None,
        batch_ms=_milliseconds(table["time"]) if "time" in table else None,
        writable_maps=tuple(table["writable_maps"]) if "writable_maps" in table else None,
        wasi=table.get("wasi", True),
    )


def _milliseconds(text: str) -> int:
    return int(text.removesuffix("ms")) if text.endswith("ms") else int(text.removesuffix("s")) * 1000


def _size_bytes(text: str) -> int:
    number = text.upper().removesuffix("IB").removesuffix("B")
    unit = number[-1:] if number[-1:] in ("K", "M", "G") else ""
    return int(number.removesuffix(unit)) * _UNITS[unit]
