"""An inspection as text for people. All of it may be hostile: nothing but printable characters leaves this module."""

from __future__ import annotations

import sys
import textwrap

from ecli_py.render.plain import columns, one_line, size_text
from ecli_py.report import in_colour, terminal_columns
from ecli_runtime.globals import KCONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# Each fact in the words of somebody who is asked to let the program run.
FACT_WORDS = {
    "writes_user_memory": "can write to the memory of processes",
    "sends_signals": "can send signals to processes, so end them",
    "overrides_returns": "can change what functions return",
    "drops_or_redirects_packets": "can drop or redirect packets",
    "modifies_packets": "can change packets",
    "denies_operations": "can refuse what processes ask the kernel for",
    "changes_sockets": "can change sockets, their addresses, or which of them gets a connection",
    "replaces_kernel_functions": "replaces functions of the kernel, or of programs in it",
    "other_effects": "can have effects that are not described here",
    "reads_user_memory": "reads the memory of processes",
    "reads_kernel_memory": "reads the memory of the kernel",
}
_DIALECTS = {"ecli-py": "of ecli-py, format {format}", "eunomia-bpf": "of eunomia-bpf {upstream_version}"}


def render(document: dict[str, Any]) -> str:
    """Return the text of an inspection (:class:`ecli_py.inspection.Inspection`), with headings in bold on a terminal."""
    style = _Style(in_colour(sys.stdout))
    blocks = [_title(document, style), *_warning(document, style)]
    for heading, lines in _sections(document):
        blocks.append([style.bold(heading), *(lines or ["  none"])])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


class _Style:
    def __init__(self, in_colour: bool) -> None:
        self._in_colour = in_colour

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._in_colour else text

    def red(self, text: str) -> str:
        return f"\x1b[1;31m{text}\x1b[0m" if self._in_colour else text


def _width() -> int:
    return max((terminal_columns() or 101) - 1, 40)


def _wrapped(text: str, indent: str = "  ", hanging: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _width(),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _title(document: dict[str, Any], style: _Style) -> list[str]:
    lines = [style.bold(one_line(f"{document['name']} {document['version']}"))]
    said = dict.fromkeys(one_line(document[part]) for part in ("brief", "description", "details"))
    lines += [line for text in said if text for line in _wrapped(text, "")]
    file = document["file"]
    dialect = _DIALECTS[document["dialect"]].format(**document)
    rows = [
        ("license", one_line(document["license"]) or "not said"),
        *([("homepage", one_line(document["homepage"]))] if document["homepage"] else []),
        ("package", one_line(f"{dialect}, {size_text(file['size'])}")),
        ("digest", file["digest"]),
        *([("signature", one_line(signature_text(document["signature"])))] if "signature" in document else []),
        *[("object", _object(each)) for each in document["objects"]],
    ]
    return [*lines, *columns(rows, "")]


def signature_text(described: dict[str, Any]) -> str:
    """Return who has signed (:func:`ecli_py.trust.described.describe_signature`), in words which may hold anything."""
    if described["by"]:
        return "; ".join(f"by {each['name']} (key {each['key']}), {each['comment']}" for each in described["by"])
    if described["holds"] is False:
        return f"does not hold: {described['problem']}"
    return "none" if described["signed"] is False else str(described["problem"])


def _object(each: dict[str, Any]) -> str:
    arches = ", ".join(map(one_line, each["arches"])) or f"any {each['byte_order']}-endian machine"
    return f"for {arches}; {size_text(each['size'])}"


def _warning(document: dict[str, Any], style: _Style) -> Iterator[list[str]]:
    lines = document["contradictions"]
    if lines:
        heading = style.red("WARNING: this package does not tell the truth about what it can do.")
        yield [heading, *(line for text in lines for line in _wrapped(f"* {one_line(text)}", "  ", "    "))]


def _sections(document: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    where = "" if document["verified"] else " (as the package says: this machine cannot open its object)"
    yield f"What it can do{where}", list(_behaviour(document["behaviour"]))
    yield "Programs", list(_programs(document["programs"], document["hooks"]))
    if document["hooks"]:
        yield "Hooks: the first alternative that is possible serves", list(_hooks(document["hooks"]))
    yield "Maps", list(_maps(document["maps"]))
    yield "Options", list(_options(document["options"]))
    yield "Events", list(_events(document["events"], {each["name"]: each for each in document["maps"]}))
    yield "WebAssembly", list(_wasm(document["wasm"]))
    yield "Build", list(_build(document["build"]))


def _behaviour(behaviour: dict[str, Any]) -> Iterator[str]:
    facts = behaviour["facts"]
    if behaviour["only_observes"]:
        yield "  It only observes: it changes nothing outside of its own maps."
    for fact, shown in facts.items():
        text = FACT_WORDS.get(fact, one_line(fact))
        yield from _wrapped(f"* {text}: {_list(shown)}", "  ", "    ")
    if not behaviour["only_observes"]:
        yield from _wrapped(f"if it is from another machine, it runs only with --allow {','.join(behaviour['allow'])}")
    for word, names in (("helpers called", behaviour["helpers"]), ("kernel functions called", behaviour["kfuncs"])):
        if names:
            yield from _wrapped(f"{word}: {_list(name.removeprefix('bpf_') for name in names)}", "  ", "    ")


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(one_line, names))


def _programs(programs: list[dict[str, Any]], hooks: list[dict[str, Any]]) -> Iterator[str]:
    rows = [("NAME", "TYPE", "ATTACHES TO")]
    tried = [hook["alternatives"] for hook in hooks if hook["optional"] or len(hook["alternatives"]) > 1]
    hooked = {one["name"] for alternatives in tried for each in alternatives for one in each["programs"]}
    for each in programs:
        said = ", ".join(f"{name} {value}" for name, value in each["attach"].items())
        section = (
            each["section"].lstrip("?")
            + (f" ({said})" if said else "")
            + ("" if each["autoload"] or each["name"] in hooked else " (not loaded by default)")
        )
        rows.append((one_line(each["name"]), one_line(each["type"]), one_line(section)))
    if programs:
        yield from columns(rows)


def _hooks(hooks: list[dict[str, Any]]) -> Iterator[str]:
    for hook in hooks:
        yield "  " + one_line(hook["name"]) + (" (optional)" if hook["optional"] else "")
        for number, each in enumerate(hook["alternatives"], 1):
            programs = [_with_targets(one) for one in each["programs"]]
            alternative = "" if [each["name"]] == [one["name"] for one in each["programs"]] else f"{each['name']}: "
            yield from _wrapped(one_line(f"{number}. {alternative}{', '.join(programs)}"), "    ", "       ")


def _with_targets(program: dict[str, Any]) -> str:
    name: str = program["name"]
    return name + (f" (else at {', else '.join(program['targets'])})" if program["targets"] else "")


def _maps(maps: list[dict[str, Any]]) -> Iterator[str]:
    if not maps:
        return
    rows = [("NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "MEMORY, AT MOST")]
    for each in maps:
        is_ring = each["type"].endswith("ringbuf")
        unsaid = "per CPU" if each["type"] == "perf_event_array" else "not said"
        entries = "" if is_ring else str(each["max_entries"] or unsaid)
        rows.append(
            (
                one_line(each["name"]),
                one_line(each["type"]),
                "" if is_ring else str(each["key_size"]),
                "" if is_ring else str(each["value_size"]),
                entries,
                _memory(each["memory"], each["memory_per_cpu"]),
            )
        )
    yield from columns(rows)
    known = sum(each["memory"] or 0 for each in maps)
    per_cpu = sum(each["memory_per_cpu"] for each in maps)
    unbounded = [each["name"] for each in maps if each["memory"] is None]
    text = f"together about {_memory(known, per_cpu)}"
    yield from _wrapped(text + (f", without {_list(unbounded)}, which grow with use" if unbounded else ""))


def _memory(once: int | None, per_cpu: int) -> str:
    if once is None:
        return "grows with use"
    if per_cpu and not once:
        return f"{size_text(per_cpu)} per CPU"
    return size_text(once) + (f" + {size_text(per_cpu)} per CPU" if per_cpu else "")


def _options(options: list[dict[str, Any]]) -> Iterator[str]:
    for each in options:
        flags = f"--{each['long']}" + (f", -{each['short']}" if each["short"] else "")
        choices = f" ({', '.join(each['choices'])})" if each["choices"] else ""
        if each["section"] == KCONFIG:
            yield "  " + one_line(f"{each['name']}  {each['type']}{choices}, read only: from the kernel's configuration")
        else:
            yield "  " + one_line(f"{flags}  {each['type']}{choices}, default {_default(each['default'])}")
        yield from _wrapped(one_line(each["help"]), "      ")


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "as compiled"
    return "empty" if value == "" else str(value)


def _events(events: list[dict[str, Any]], maps: dict[str, dict[str, Any]]) -> Iterator[str]:
    for each in events:
        its_map = maps.get(each["map"], {})
        sample = its_map.get("sample")
        how = ""
        if sample:
            what = "a profile: counts by stack trace" if its_map["stack_trace"] else "a map"
            how = f" ({what}, read every {sample['interval_ms']} ms{_sample(sample)})"
        yield f"  {one_line(each['map']) or 'all maps'}{how}:" + ("" if each["types"] else " type not known, shown as bytes")
        for event_type in each["types"]:
            if event_type["role"] != "event":
                yield f"    {event_type['role']}:"
            # The definition is made of escaped names; only its line breaks are not.
            indent = "    " if event_type["role"] == "event" else "      "
            text = event_type["c"] or f"// {one_line(event_type['name']) or 'no type information'}, {event_type['size']} bytes"
            yield from (indent + line for line in text.splitlines())


def _sample(sample: dict[str, Any]) -> str:
    kind = {"log2_hist": ", shown as a log2 histogram", "linear_hist": ", shown as a linear histogram"}.get(sample["kind"], "")
    return kind + (", and emptied" if sample["clear"] else "")


def _wasm(modules: list[dict[str, Any]]) -> Iterator[str]:
    for each in modules:
        yield f"  {one_line(each['name'])}  event handler, {size_text(each['size'])}, {each['digest']}"
        asks = each["asks"]
        if asks is not None:
            said = [f"{size_text(asks['memory'])} of memory to begin with"]
            said += [f"reads map{'s'[: len(asks['reads']) > 1]} {_list(asks['reads'])}"] if asks["reads"] else []
            said += [f"changes map{'s'[: len(asks['writes']) > 1]} {_list(asks['writes'])}"] if asks["writes"] else []
            said += [f"uses of WASI {_list(asks['wasi'])}"] if asks["wasi"] else []
            yield from _wrapped("asks for: " + "; ".join(said), "      ")
        granted = [f"to change {_list(each['writes'])}"] if each["writes"] else []
        granted += ["WASI without files"] if each["wasi"] else []
        if granted:
            yield from _wrapped("is granted: " + "; ".join(granted), "      ")
        limits = [f"{name} {value}" for name, value in each["limits"].items() if value is not None]
        if limits:
            yield from _wrapped("limits: " + ", ".join(limits), "      ")
        if each["problem"]:
            yield from _wrapped("does not run: " + one_line(each["problem"]), "      ")


def _build(build: dict[str, Any] | None) -> Iterator[str]:
    if build is None:
        yield "  not recorded"
        return
    if build["tools"]:
        yield from _wrapped("tools: " + ", ".join(one_line(f"{name} {version}") for name, version in build["tools"].items()))
    yield from columns([(one_line(name), one_line(digest)) for name, digest in build["sources"].items()])
