"""Where in its code an object does what it does: instructions and source lines behind the facts of its behaviour."""

from __future__ import annotations

from bisect import bisect_right

from ecli_runtime.behaviour import analyse_open, find_calls, follow_programs, relocated_instructions
from ecli_runtime.code import code_sections, instruction_layout
from ecli_runtime.errors import BtfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.line_info import SourceLines
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ecli_runtime.code import CodeSection
    from ecli_runtime.line_info import SourceLine
    from ecli_schemas.model import Behaviour, MapBehaviour


class Evidence(Record):
    """An instruction that shows something.

    Attributes:
        function: Program or subprogram that it is in; empty: that cannot be told.
        index: Of the instruction in that function, from 0; ``None``: it cannot be told.
        line: Where it comes from, if the object says so.
        calls: Helper or kernel function that it calls; empty: it is no such call.
    """

    function: str
    index: int | None = None
    line: SourceLine | None = None
    calls: str = ""

    def __str__(self) -> str:
        """Return it as text: ``on_packet, instruction 12 (drop.bpf.c:30: return XDP_DROP;)``."""
        where = ", ".join(
            filter(None, (self.function or "code of no program", "" if self.index is None else f"instruction {self.index}"))
        )
        called = f"{where} calls {self.calls}" if self.calls else where
        return called if self.line is None else f"{called} ({self.line}: {self.line.text})"


class Findings(Record):
    """What an object can do, and where.

    Attributes:
        behaviour: All that is known of it.
        facts: Fact → an instruction for each helper, kernel function or program that shows it.
        calls: Helper or kernel function → its first call.
    """

    behaviour: Behaviour
    facts: Mapping[str, tuple[Evidence, ...]]
    calls: Mapping[str, Evidence]


def find_evidence(data: bytes, object_name: str) -> Findings:
    """Return what an object can do, and where.

    Args:
        data: The object.
        object_name: Name given to libbpf, from which internal maps have theirs.

    Raises:
        ObjectError: It is no eBPF object that libbpf can open.
        BtfError: Its types are damaged.
    """
    with OpenObject.open(data, object_name) as opened:
        behaviour = analyse_open(opened, data)
        places = _Places(data)
        calls: dict[str, Evidence] = {}
        facts: dict[str, dict[str, Evidence]] = {}
        for call in find_calls(places.sections, places.layout):
            if call.name not in calls:
                found = calls[call.name] = places.at((call.section, call.index), call.name)
                for fact in call.facts:
                    facts.setdefault(fact, {})[call.name] = found
        relocated = relocated_instructions(data, places.sections)
        for each in follow_programs(opened.programs, places.sections, places.layout, relocated):
            evidence = Evidence(each.program) if each.place is None else places.at(each.place)
            facts.setdefault(each.fact, {})[each.program] = evidence
    return Findings(
        behaviour, {fact: tuple(_complete(behaviour, fact, {**calls, **facts.get(fact, {})})) for fact in behaviour.facts}, calls
    )


def _complete(behaviour: Behaviour, fact: str, found: Mapping[str, Evidence]) -> Iterable[Evidence]:
    """Yield evidence for all that shows a fact, also where no single instruction does: the type of a program."""
    for name in behaviour.facts[fact]:
        yield found[name] if name in found else Evidence(name)


class _Places:
    def __init__(self, data: bytes) -> None:
        self.sections: dict[int, CodeSection] = code_sections(data)
        self.layout = instruction_layout(data)
        self._starts = {
            index: sorted({each.byte_offset // 8: each.name for each in section.functions}.items())
            for index, section in self.sections.items()
        }
        try:
            self._lines: SourceLines | None = SourceLines(data)
        except BtfError:
            self._lines = None

    def at(self, place: tuple[int, int], calls: str = "") -> Evidence:
        section, index = place
        starts = self._starts[section]
        at = bisect_right(starts, index, key=lambda start: start[0]) - 1
        begin, name = starts[at] if at >= 0 else (0, "")
        line = None if self._lines is None else self._lines.at((section, index * 8))
        return Evidence(name, index - begin, line, calls)


def map_memory(maps: Iterable[MapBehaviour]) -> Iterator[tuple[str, int | None]]:
    """Yield each map and the most bytes that it takes on this machine; ``None``: without bound."""
    cpu_count = int(lib.libbpf_num_possible_cpus())
    for each in maps:
        memory = each.memory_bytes
        yield each.name, None if memory is None else memory + each.memory_per_cpu_bytes * cpu_count
