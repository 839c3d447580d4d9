from __future__ import annotations

import pytest

from ecli_packager.bytecode import EventCall, MapValue, Stack
from ecli_packager.dwarf import Declarations, Local, Struct
from ecli_packager.errors import ExportError
from ecli_packager.exports import TypeFinder, header_structs

EVENT, OTHER, PAIR = Struct("struct event", 24), Struct("struct other", 40), Struct("pair_t", 24)


def call(maps: str, *sizes: int, origin: MapValue | Stack | None = None) -> EventCall:
    origins = frozenset({origin} if origin else ())
    return EventCall(frozenset(maps.split()), frozenset(sizes), origins, "f", 80)


def choose(
    calls: list[EventCall],
    structs: list[Struct],
    maps: str = "events",
    named: dict[str, list[str]] | None = None,
    header: list[str] | None = None,
    variables: list[Local] | None = None,
) -> dict[str, list[str]]:
    declared = Declarations(structs, {}, {"f": variables or []})
    values = {"heap": ("struct event", 24), "huge": ("struct other", 40)}
    return TypeFinder(declared, values.get, header or []).choose(maps.split(), calls, named or {})


def test_the_size_tells() -> None:
    assert choose([call("events", 24), call("events", 24)], [EVENT, OTHER]) == {"events": ["struct event"]}


def test_each_map_has_its_own_and_one_map_may_have_several() -> None:
    found = choose([call("a", 24), call("b", 40, 24)], [EVENT, OTHER], "a b")
    assert found == {"a": ["struct event"], "b": ["struct event", "struct other"]}


def test_a_call_whose_map_is_not_known_means_the_only_map() -> None:
    assert choose([call("", 24)], [EVENT]) == {"events": ["struct event"]}
    assert choose([call("", 24)], [EVENT], "a b") == {"a": [], "b": []}


def test_a_map_without_calls_has_no_type() -> None:
    assert choose([], [EVENT]) == {"events": []}


def test_two_structs_of_one_size_are_a_question() -> None:
    with pytest.raises(ExportError, match="24 bytes may be struct event or pair_t") as caught:
        choose([call("events", 24)], [EVENT, PAIR])
    assert caught.value.hint == "say which: --export 'events=struct event'"


def test_a_map_whose_value_is_sent_tells() -> None:
    calls = [call("events", 24, origin=MapValue("heap", 0))]
    assert choose(calls, [EVENT, PAIR]) == {"events": ["struct event"]}


def test_a_variable_length_is_of_the_type_it_is_taken_from() -> None:
    assert choose([call("events", origin=MapValue("huge", 0))], [EVENT, OTHER]) == {"events": ["struct other"]}
    with pytest.raises(ExportError, match="cannot tell the type of events of varying length; the source declares struct event"):
        choose([call("events")], [EVENT])


def test_a_variable_on_the_stack_tells() -> None:
    variables = [
        Local("pair_t", 24, False, ((0, 200, -1),)),
        Local("struct event", 24, False, ((100, 200, -1),)),  # not alive at the call
        Local("struct event", 24, True, ((0, 200, 3),)),
    ]
    assert choose([call("events", 24, origin=Stack(-24))], [EVENT, PAIR], variables=variables) == {"events": ["pair_t"]}


def test_the_pointer_that_takes_the_reserved_record_tells() -> None:
    variables = [Local("struct event", 24, True, ((0, 300, 6),)), Local("pair_t", 24, True, ((88, 300, 6),))]
    assert choose([call("events", 24)], [EVENT, PAIR], variables=variables) == {"events": ["pair_t"]}


def test_a_number_can_be_an_event() -> None:
    variables = [Local("__u32", 4, False, ((0, 300, -1),))]
    assert choose([call("events", 4, origin=Stack(-4))], [EVENT], variables=variables) == {"events": ["__u32"]}


def test_what_is_named_wins_and_may_leave_out_the_keyword() -> None:
    for name in ("struct event", "event"):
        assert choose([call("events", 24)], [EVENT, PAIR], named={"events": [name]}) == {"events": ["struct event"]}


def test_a_header_narrows_the_choice() -> None:
    same = Struct("struct same", 24)
    assert choose([call("events", 24)], [same, EVENT], header=["event"]) == {"events": ["struct event"]}


def test_names_that_do_not_exist() -> None:
    with pytest.raises(ExportError, match="no type 'evnt'") as caught:
        choose([], [EVENT, OTHER], named={"events": ["evnt"]})
    assert "struct event" in caught.value.hint
    with pytest.raises(ExportError, match="no such event map") as caught:
        choose([], [EVENT], named={"event": ["event"]})
    assert caught.value.hint == "event maps: events"


def test_structs_of_a_header() -> None:
    text = "struct a { int x; };\n/* struct b { } */ // struct c {\nstruct\nd\n{ int y; } __attribute__((packed));\nstruct e;"
    assert header_structs(text) == ["a", "d"]
