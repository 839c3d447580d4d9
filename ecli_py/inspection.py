"""What there is to know about a package, as one JSON object: the package's own words, and what its object shows."""

from __future__ import annotations

import hashlib
import math
import sys

from ecli_py.render.ctype import declaration, declaration_of_members
from ecli_py.trust.allowances import words_for
from ecli_runtime.behaviour import analyse_open, contradictions, undeclared_facts
from ecli_runtime.decode.meaning import told, with_meanings
from ecli_runtime.decode.plan import event_type_id, make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.errors import BtfError, UnsupportedFeatureError, WasmError
from ecli_runtime.globals import KCONFIG, find_globals
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, OpenObject
from ecli_schemas.model import Behaviour

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ecli_runtime.libbpf.object import OpenMap
    from ecli_schemas.model import EventType, Hook, Option, Package, Sample, StackTrace, WasmModule


class Inspection:
    """What is found out about a package.

    Args:
        package: The package.
        data: Its file.
        arch: Machine whose object is looked into.
        elf: That object.

    Attributes:
        document: One JSON object. A text that the package does not have is empty, another part is ``null``.

    ==================  ============================================================================================
    key                 value
    ==================  ============================================================================================
    ``name``, ``version``, ``brief``, ``description``, ``details``, ``license``, ``homepage``
                        the package's own words
    ``dialect``         ``ecli-py`` or ``eunomia-bpf``; ``format`` is the number of ours, ``upstream_version`` what
                        upstream's compiler calls itself
    ``file``            ``size`` in bytes and ``digest`` (``sha256:…``)
    ``objects``         list: ``arches`` (empty: all machines of that byte order), ``byte_order``, ``size``, ``digest``
    ``arch``            machine whose object the rest is about
    ``programs``        list: ``name``, ``type``, ``section``, ``attach`` (parameters that the package has for it),
                        ``autoload`` (a run loads it; ``null``: not known)
    ``hooks``           list: ``name``, ``optional`` and ``alternatives``: list, the first choice first, of ``name`` and
                        ``programs``: list of ``name`` and ``targets`` (where else it may be attached)
    ``maps``            list: ``name``, ``type``, ``key_size``, ``value_size``, ``max_entries``, estimates in bytes
                        ``memory`` (``null``: no bound) and ``memory_per_cpu``, ``sample`` (how it is read), and
                        ``stack_trace`` (names of the members of its key that hold ids of stack traces)
    ``options``         list: ``name`` (C variable), ``long``, ``short``, ``type``, ``section``, ``default``,
                        ``choices``, ``help``
    ``events``          list: ``map`` (or global variable), and ``types``: list of ``role`` (``event``, ``key``, ``value``,
                        or ``variable``), ``name``, ``size``, ``meanings`` (path of a member → what it stands for, by
                        the author's word, its type or its name) and ``c`` (definition as C text)
    ``behaviour``       ``only_observes``, ``facts`` (name → what shows it), ``helpers``, ``kfuncs``, ``allow`` (words of
                        ``run --allow`` that it needs); of the object, or where it cannot be opened here what the
                        package says
    ``verified``        ``behaviour`` was read from the object, not taken from the package
    ``contradictions``  list of texts: where the package's own account of its behaviour is not true
    ``wasm``            list: ``name``, ``kind``, ``size``, ``digest``, ``writes`` and ``wasi`` (what it is granted), ``limits``
                        (``null``: the default), ``asks`` (``null``: there is no wasmtime to read it with): ``reads``,
                        ``writes`` (maps), ``wasi`` (functions), ``memory`` in bytes; ``problem``: why it would not run
    ``signature``       added by ``ecli-py inspect``: :func:`ecli_py.trust.described.describe_signature`
    ``build``           ``tools`` and ``sources``
    ==================  ============================================================================================

    Raises:
        EcliError: The object is broken.
    """

    document: dict[str, Any]

    def __init__(self, package: Package, data: bytes, arch: str, elf: bytes) -> None:
        self._package = package
        doc = package.doc
        self.document = {
            "name": package.name,
            **{part: getattr(doc, part) for part in ("version", "brief", "description", "details", "license", "homepage")},
            "dialect": "eunomia-bpf" if package.format is None else "ecli-py",
            "format": package.format,
            "upstream_version": package.upstream_version,
            "file": {"size": len(data), "digest": _digest(data)},
            "objects": [
                _object(package.arches, package.object),
                *[_object((each,), other) for each, other in package.objects.items()],
            ],
            "arch": arch,
        }
        behaviour = self._look_into(elf) if _byte_order(elf) == sys.byteorder else self._take_at_its_word()
        self.document |= {
            "behaviour": {
                "only_observes": behaviour.only_observes,
                "facts": {fact: list(shown) for fact, shown in behaviour.facts.items()},
                "helpers": list(behaviour.helpers),
                "kfuncs": list(behaviour.kfuncs),
                "allow": list(words_for(behaviour.facts)),
            },
            "contradictions": self._contradictions(behaviour, elf),
            "wasm": list(map(_wasm, package.wasm)),
            "build": package.build and {"tools": dict(package.build.tools), "sources": dict(package.build.sources)},
        }

    def _look_into(self, elf: bytes) -> Behaviour:
        """Open an object and describe it; return what it can do."""
        with OpenObject.open(elf, self._package.object_name) as opened:
            behaviour = analyse_open(opened, elf)
            self._describe(behaviour, {each.name: each.autoload for each in opened.programs})
            self.document |= {"options": _options(self._package, opened), "events": list(_events(self._package, opened))}
        self.document["verified"] = True
        return behaviour

    def _take_at_its_word(self) -> Behaviour:
        """Describe an object of the other byte order, which libbpf cannot open, by what the package says."""
        package = self._package
        behaviour = package.behaviour or Behaviour()
        self._describe(behaviour, {})
        options = [_option(option, option.default) for option in package.options]
        types = [
            (export.map, [_untold("event", each.name, each.size_bytes) for each in export.types]) for export in package.exports
        ]
        self.document |= {
            "options": options,
            "events": [{"map": name or "", "types": told} for name, told in types],
            "verified": False,
        }
        return behaviour

    def _describe(self, behaviour: Behaviour, autoload: Mapping[str, bool]) -> None:
        attach = {spec.name: dict(spec.attach) for spec in self._package.programs}
        samples = {spec.name: spec.sample for spec in self._package.maps}
        stack_traces = {spec.name: spec.stack_trace for spec in self._package.maps}
        self.document |= {
            "programs": [
                {
                    "name": each.name,
                    "type": each.type,
                    "section": each.section,
                    "attach": attach.get(each.name, {}),
                    "autoload": autoload.get(each.name),
                }
                for each in behaviour.programs
            ],
            "hooks": [_hook(each) for each in self._package.hooks],
            "maps": [
                {
                    "name": each.name,
                    "type": each.type,
                    "key_size": each.key_size_bytes,
                    "value_size": each.value_size_bytes,
                    "max_entries": each.max_entries,
                    "memory": each.memory_bytes,
                    "memory_per_cpu": each.memory_per_cpu_bytes + self._perf_buffer_bytes(each.type),
                    "sample": _sample(samples.get(each.name)),
                    "stack_trace": _stack_trace(stack_traces.get(each.name)),
                }
                for each in behaviour.maps
            ],
        }

    def _perf_buffer_bytes(self, map_type: str) -> int:
        """Return the size of the buffers that a run makes for a perf event array, for each CPU, with pages of 4 KiB."""
        return self._package.perf_buffer_page_count * 4096 if map_type == "perf_event_array" else 0

    def _contradictions(self, behaviour: Behaviour, elf: bytes) -> list[str]:
        """Compare what the package says with its objects: fully with the first, which is what it speaks of, else the facts."""
        package = self._package
        claimed = package.behaviour
        if claimed is None:
            return []
        lines = []
        for arches, data in ((package.arches, package.object), *[((arch,), data) for arch, data in package.objects.items()]):
            if _byte_order(data) != sys.byteorder:
                continue
            found = behaviour
            if data is not elf:
                with OpenObject.open(data, package.object_name) as opened:
                    found = analyse_open(opened, data)
            if data is package.object:
                lines += contradictions(claimed, found)
            else:
                lines += [f"for {', '.join(arches)}: {line}" for line in undeclared_facts(claimed, found)]
        return lines


def _wasm(module: WasmModule) -> dict[str, Any]:
    """Return a module: what it is granted, and what it asks for."""
    from ecli_py.handlers import check_grants
    from ecli_runtime.wasm.handler.module import HandlerModule

    asks, problem = None, ""
    try:
        compiled = HandlerModule(module.name, module.code, module.limits)
        asks = compiled.asks
        check_grants(compiled, module)
    except (WasmError, UnsupportedFeatureError) as error:
        problem = str(error)
    return {
        "name": module.name,
        "kind": module.kind,
        "size": len(module.code),
        "digest": _digest(module.code),
        "writes": list(module.writes),
        "wasi": module.wasi,
        "limits": {name: getattr(module.limits, name) for name in module.limits._fields},
        "asks": asks
        and {
            "reads": list(asks.reads),
            "writes": list(asks.writes),
            "wasi": list(asks.wasi),
            "memory": asks.initial_memory_bytes,
        },
        "problem": problem,
    }


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _byte_order(elf: bytes) -> str:
    return "big" if elf[5:6] == b"\2" else "little"


def _object(arches: tuple[str, ...], elf: bytes) -> dict[str, Any]:
    return {"arches": list(arches), "byte_order": _byte_order(elf), "size": len(elf), "digest": _digest(elf)}


def _hook(hook: Hook) -> dict[str, Any]:
    alternatives = [
        {"name": each.name, "programs": [{"name": one.name, "targets": list(one.targets)} for one in each.programs]}
        for each in hook.alternatives
    ]
    return {"name": hook.name, "optional": hook.optional, "alternatives": alternatives}


def _sample(sample: Sample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    return {"interval_ms": sample.interval_ms, "kind": sample.kind, "unit": sample.unit, "clear": sample.clear}


def _stack_trace(stack_trace: StackTrace | None) -> dict[str, str] | None:
    return None if stack_trace is None else {"kstack": stack_trace.kstack, "ustack": stack_trace.ustack}


def _options(package: Package, opened: OpenObject) -> list[dict[str, Any]]:
    """Return the options with the values that they have if the user gives none."""
    variables = {each.name: each for each in find_globals(opened.btf)}
    sections = {each.data_section: each.initial_value() for each in opened.maps if each.data_section}
    found = []
    for option in package.options:
        default = option.default
        variable = variables.get(option.name)
        initial = sections.get(variable.section) if variable else None
        if default is None and variable is not None and initial is not None and option.section != KCONFIG:
            value = bytes(initial[variable.byte_offset : variable.byte_offset + variable.size_bytes])
            if len(value) == variable.size_bytes:
                default = make_decoder(make_plan(opened.btf, variable.type_id))(value)
        found.append(_option(option, default))
    return found


def _option(option: Option, default: Any) -> dict[str, Any]:
    if isinstance(default, float) and not math.isfinite(default):
        default = str(default)  # JSON has no such numbers
    parts = {part: getattr(option, part) for part in ("name", "long", "short", "type", "section")}
    return {**parts, "default": default, "choices": list(option.choices), "help": option.help}


def _events(package: Package, opened: OpenObject) -> Iterator[dict[str, Any]]:
    """Walk the maps that events come from, as a run would find them."""
    own = {export.map: export.types for export in package.exports}
    shared = own.pop(None, ())
    samples = {spec.name for spec in package.maps if spec.sample}
    for each in opened.maps:
        if each.name in samples:
            yield {"map": each.name, "types": _key_and_value(opened, each, package.meanings.get(each.name, {}))}
        elif each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY):
            types = own.get(each.name, shared)
            yield {"map": each.name, "types": [_event_type(opened, event_type) for event_type in types]}
    for variable in find_globals(opened.btf):
        if variable.name in package.results:
            yield {"map": variable.name, "types": [_told(opened, "variable", variable.type_id)]}


def _key_and_value(opened: OpenObject, each: OpenMap, said: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    ids = (("key", each.btf_key_type_id, each.key_size_bytes), ("value", each.btf_value_type_id, each.value_size_bytes))
    return [_told(opened, role, type_id, said.get(role)) if type_id else _untold(role, "", size) for role, type_id, size in ids]


def _event_type(opened: OpenObject, event_type: EventType) -> dict[str, Any]:
    members = event_type.members
    if members and members[0].btf_id is not None:
        described = [(each.name, each.btf_id or 0, each.byte_offset or 0) for each in members]
        try:
            text = declaration_of_members(opened.btf, described)
        except BtfError as error:
            return _untold("event", event_type.name, event_type.size_bytes, str(error))
        return {**_untold("event", event_type.name, event_type.size_bytes), "c": text}
    try:
        type_id = event_type_id(opened.btf, event_type.name, event_type.btf_id)
    except BtfError:
        type_id = None
    if type_id is None:
        return _untold("event", event_type.name, event_type.size_bytes, "the object has no such type")
    return _told(opened, "event", type_id, event_type.meanings)


def _told(opened: OpenObject, role: str, type_id: int, said: Mapping[str, str] | None = None) -> dict[str, Any]:
    btf = opened.btf
    try:
        name, size = getattr(btf.type(type_id), "name", ""), btf.size_bytes(type_id)
        meanings = told(with_meanings(make_plan(btf, type_id), said))
        return {"role": role, "name": name, "size": size, "meanings": meanings, "c": declaration(btf, type_id, meanings)}
    except BtfError as error:
        return _untold(role, "", None, str(error))


def _untold(role: str, name: str, size: int | None, reason: str = "") -> dict[str, Any]:
    """Return a type whose definition cannot be shown; a reason takes its place as a comment."""
    return {"role": role, "name": name, "size": size, "meanings": {}, "c": f"// {reason}\n" if reason else ""}
