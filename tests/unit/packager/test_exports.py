from __future__ import annotations

import pytest

from ecli_packager.bytecode import EventCall
from ecli_packager.dwarf import Struct
from ecli_packager.errors import ExportError
from ecli_packager.exports import choose_types, header_structs

EVENT, OTHER, PAIR = Struct("struct event", 24), Struct("struct other", 40), Struct("pair_t", 24)


def test_the_size_tells() -> None:
    calls = [EventCall("events", 24), EventCall("events", 24)]
    assert choose_types(["events"], calls, [EVENT, OTHER], {}, []) == {"events": ["struct event"]}


def test_each_map_has_its_own_and_one_map_may_have_several() -> None:
    calls = [EventCall("a", 24), EventCall("b", 40), EventCall("b", 24)]
    found = choose_types(["a", "b"], calls, [EVENT, OTHER], {}, [])
    assert found == {"a": ["struct event"], "b": ["struct event", "struct other"]}


def test_a_call_whose_map_is_not_in_sight_means_the_only_map() -> None:
    assert choose_types(["events"], [EventCall(None, 24)], [EVENT], {}, []) == {"events": ["struct event"]}


def test_a_map_without_calls_has_no_type() -> None:
    assert choose_types(["events"], [], [EVENT], {}, []) == {"events": []}


def test_two_structs_of_one_size_are_a_question() -> None:
    with pytest.raises(ExportError, match="24 bytes may be struct event or pair_t") as caught:
        choose_types(["events"], [EventCall("events", 24)], [EVENT, PAIR], {}, [])
    assert caught.value.hint == "say which: --export 'events=struct event'"


def test_what_is_named_wins_and_may_leave_out_the_keyword() -> None:
    calls = [EventCall("events", 24)]
    for name in ("struct event", "event"):
        assert choose_types(["events"], calls, [EVENT, PAIR], {"events": [name]}, []) == {"events": ["struct event"]}


def test_a_header_narrows_the_choice() -> None:
    same = Struct("struct same", 24)
    assert choose_types(["events"], [EventCall("events", 24)], [same, EVENT], {}, ["event"]) == {"events": ["struct event"]}


def test_names_that_do_not_exist() -> None:
    with pytest.raises(ExportError, match="no type 'evnt'") as caught:
        choose_types(["events"], [], [EVENT, OTHER], {"events": ["evnt"]}, [])
    assert "struct event" in caught.value.hint
    with pytest.raises(ExportError, match="no such event map") as caught:
        choose_types(["events"], [], [EVENT], {"event": ["event"]}, [])
    assert caught.value.hint == "event maps: events"


def test_a_size_that_is_not_known_is_a_question() -> None:
    with pytest.raises(ExportError, match="cannot tell the type of its events; the source declares struct event"):
        choose_types(["events"], [EventCall("events", None)], [EVENT], {}, [])


def test_structs_of_a_header() -> None:
    text = "struct a { int x; };\n/* struct b { } */ // struct c {\nstruct\nd\n{ int y; } __attribute__((packed));\nstruct e;"
    assert header_structs(text) == ["a", "d"]
