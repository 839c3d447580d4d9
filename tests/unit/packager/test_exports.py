from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from ecli_packager.bytecode import EventCall
from ecli_packager.dwarf import Declarations, Local, Place, Struct
from ecli_packager.errors import ExportError
from ecli_packager.exports import TypeFinder, header_structs
from ecli_packager.tags import Said
from ecli_packager.values import Frame, Known, MapAddress, MapValue

EVENT, OTHER, PAIR = Struct("struct event", 24), Struct("struct other", 40), Struct("pair_t", 24)


def call(maps: str, *sizes: int, origin: MapValue | Frame | None = None) -> EventCall:
    origins = frozenset({origin} if origin else ())
    return EventCall(frozenset(maps.split()), frozenset(sizes), origins, "f", 80, frozenset({4} if origin else ()))


def choose(
    calls: list[EventCall],
    structs: list[Struct],
    maps: str = "events",
    named: dict[str, list[str]] | None = None,
    header: list[str] | None = None,
    variables: list[Local] | None = None,
    kept: Collection[str] = (),
) -> dict[str, list[str]]:
    declared = Declarations(structs, {}, {"f": variables or []})
    values = {"heap": ("struct event", 24), "huge": ("struct other", 40), "union": ("union every", 24)}
    return TypeFinder(
        declared, lambda name, byte_offset, _as_array: values.get(name) if byte_offset == 0 else None, header or [], kept
    ).choose(maps.split(), calls, {name: [Said(each, where="here") for each in types] for name, types in (named or {}).items()})


def test_the_size_tells() -> None:
    assert choose([call("events", 24), call("events", 24)], [EVENT, OTHER]) == {"events": ["struct event"]}


def test_each_map_has_its_own_and_one_map_may_have_several() -> None:
    found = choose([call("a", 24), call("b", 40, 24)], [EVENT, OTHER], "a b")
    assert found == {"a": ["struct event"], "b": ["struct event", "struct other"]}


def test_a_call_whose_map_is_not_known_means_those_that_no_call_names() -> None:
    assert choose([call("", 24)], [EVENT]) == {"events": ["struct event"]}
    found = choose([call("", 24), call("c", 40)], [EVENT, OTHER], "a b c")
    assert found == {"a": ["struct event"], "b": ["struct event"], "c": ["struct other"]}


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


def test_a_call_that_nothing_tells_of_makes_events_like_the_others_of_its_map() -> None:
    known = [call("events", 24), call("events", 40)]
    assert choose([*known, call("events")], [EVENT, OTHER]) == {"events": ["struct event", "struct other"]}
    assert choose([call("events", 16), *known], [EVENT, OTHER]) == {"events": ["struct event", "struct other"]}  # a head of one
    with pytest.raises(ExportError, match="cannot tell the type of events of 48 bytes"):  # more than any
        choose([*known, call("events", 48)], [EVENT, OTHER])
    with pytest.raises(ExportError, match="24 bytes may be struct event or pair_t"):  # a question of its own
        choose([call("events", 40), call("events", 24)], [EVENT, PAIR, OTHER])
    with pytest.raises(ExportError, match="cannot tell the type of events of varying length"):  # another map's tell nothing
        choose([call("a", 24), call("b")], [EVENT], "a b")


def test_a_variable_on_the_stack_tells() -> None:
    variables = [
        Local("pair_t", 24, False, (Place(0, 200, stack_offset=8),)),
        Local("struct event", 24, False, (Place(100, 200, stack_offset=8),)),  # not alive at the call
        Local("struct event", 24, True, (Place(0, 200, register=3),)),
    ]
    calls = [call("events", 24, origin=Frame("f", 80, 8))]
    assert choose(calls, [EVENT, PAIR], variables=variables) == {"events": ["pair_t"]}
    elsewhere = Local("struct event", 24, False, (Place(0, 200, stack_offset=32),))
    assert choose(calls, [EVENT, PAIR], variables=[*variables, elsewhere]) == {"events": ["pair_t"]}


def test_the_pointer_that_takes_the_reserved_record_tells() -> None:
    variables = [Local("struct event", 24, True, (Place(0, 300, 6),)), Local("pair_t", 24, True, (Place(88, 300, 6),))]
    assert choose([call("events", 24)], [EVENT, PAIR], variables=variables) == {"events": ["pair_t"]}


def test_a_pointer_that_is_forgotten_before_the_call_tells() -> None:
    variables = [Local("struct event", 24, True, (Place(0, 48, 0),)), Local("pair_t", 24, True, (Place(48, 64, 0),))]
    calls = [replace(call("events", 24, origin=MapValue("bytes", 0)), copies=frozenset({(40, 0), (80, 4)}))]
    assert choose(calls, [EVENT, PAIR], variables=variables) == {"events": ["struct event"]}


def test_a_global_variable_tells() -> None:
    declared = Declarations([EVENT, PAIR], globals={"last": ("pair_t", 24)})
    calls = [EventCall(frozenset({"events"}), frozenset({24}), frozenset({MapAddress("last")}), "f", 80, frozenset({2}))]
    assert TypeFinder(declared, lambda _name, _byte_offset, _as_array: None).choose(["events"], calls, {}) == {
        "events": ["pair_t"]
    }


def test_two_calls_that_became_one_send_both_types() -> None:
    both = frozenset[Known]({MapValue("heap", 0), Frame("f", 80, 0)})
    variables = [Local("pair_t", 24, False, (Place(0, 300, stack_offset=0),))]
    calls = [replace(call("events", 24), origins=both, holders=frozenset({4}))]
    assert choose(calls, [EVENT, PAIR], variables=variables) == {"events": ["pair_t", "struct event"]}


def test_the_pointer_to_room_in_a_map_tells() -> None:
    variables = [Local("struct event", 24, True, (Place(0, 300, 6),)), Local("pair_t", 24, True, (Place(0, 300, 4),))]
    for sizes in ((), (24,)):
        calls = [call("events", *sizes, origin=MapValue("bytes", 0))]
        assert choose(calls, [EVENT, PAIR], variables=variables) == {"events": ["pair_t"]}


def test_a_size_that_no_type_has_is_one_with_room_behind_it_or_a_part() -> None:
    variables = [Local("struct event", 24, True, (Place(88, 300, 6),))]
    assert choose([call("events", 280, 8)], [EVENT, PAIR], variables=variables) == {"events": ["struct event"]}


def test_a_union_of_events_is_room_for_the_struct() -> None:
    every = Struct("union every", 24)
    assert choose([call("events", 24, origin=MapValue("union", 0))], [EVENT, every]) == {"events": ["struct event"]}
    assert choose([call("events", 24, origin=MapValue("union", 0))], [EVENT, PAIR, every]) == {"events": ["union every"]}


def test_what_maps_keep_is_less_likely() -> None:
    assert choose([call("events", 24)], [EVENT, PAIR], kept={"struct event"}) == {"events": ["pair_t"]}
    assert choose([call("events", 24)], [EVENT], kept={"struct event"}) == {"events": ["struct event"]}


def test_a_number_can_be_an_event() -> None:
    variables = [Local("__u32", 4, False, (Place(0, 300, stack_offset=0),))]
    assert choose([call("events", 4, origin=Frame("f", 80, 0))], [EVENT], variables=variables) == {"events": ["__u32"]}


def test_an_array_of_numbers_or_text_can_be_an_event() -> None:
    buffer = [Local("char[64]", 64, False, (Place(0, 300, stack_offset=0),), plain=True)]
    assert choose([call("events", 64, origin=Frame("f", 80, 0))], [EVENT], variables=buffer) == {"events": ["char[64]"]}
    pointer = [Local("u64", 8, True, (Place(88, 300, 6),), plain=True)]
    assert choose([call("events", 32)], [EVENT], variables=pointer) == {"events": ["u64[4]"]}
    assert choose([call("events", 24)], [EVENT], variables=pointer) == {"events": ["struct event"]}
    with pytest.raises(ExportError, match="cannot tell the type of events of 30 bytes"):
        choose([call("events", 30)], [EVENT], variables=pointer)


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
