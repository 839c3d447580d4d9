"""What tells types of one size apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ecli_packager.errors import ExportError
from ecli_packager.tags import Said, infer_tags, said_tag
from ecli_packager.values import Contents
from ecli_schemas.model import EventType, Tag

if TYPE_CHECKING:
    from ecli_schemas.model import Json

U32: Json = {"kind": "int", "signed": False, "type": "u32", "size": 4}
KIND: Json = {"kind": "enum", "signed": False, "type": "enum kind", "size": 4, "enumerators": {"EXEC": 1, "EXIT": 2}}


def member(name: str, byte_offset: int, layout: Json) -> Json:
    return {"name": name, "bit_offset": byte_offset * 8, "layout": layout}


def event(name: str, *members: Json) -> EventType:
    return EventType(name, 8, layout={"kind": "struct", "type": f"struct {name}", "size": 8, "members": list(members)})


HEAD: Json = {"kind": "struct", "type": "struct head", "size": 8, "members": [member("pid", 0, U32), member("kind", 4, KIND)]}
A, B = event("a", member("head", 0, HEAD)), event("b", member("head", 0, HEAD))


def holding(*words: int | None) -> Contents:
    """Return the contents of an event of 32-bit words."""
    return tuple(None if word is None else frozenset({byte}) for word in words for byte in (word or 0).to_bytes(4, "little"))


def test_a_member_that_holds_another_constant_in_each() -> None:
    assert infer_tags([A, B], [[holding(None, 1)], [holding(None, 2), holding(5, 3)]], "little") == [
        Tag("head.kind", (1,)),
        Tag("head.kind", (2, 3)),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([holding(None, 1)], [holding(None, 1)]),
        ([holding(None, 1)], [holding(None, None)]),
        ([holding(None, 1)], [holding(None, 2), holding(None, 1)]),
        ([holding(None, 1)], [()]),
        ([holding(None, 1)], []),
    ],
)
def test_nothing_is_guessed(first: list[Contents], second: list[Contents]) -> None:
    assert infer_tags([A, B], [first, second], "little") == []


def test_an_enum_tells_rather_than_a_number() -> None:
    assert infer_tags([A, B], [[holding(7, 1)], [holding(8, 2)]], "little") == [Tag("head.kind", (1,)), Tag("head.kind", (2,))]


def test_what_the_author_says() -> None:
    said = Said.parse(" struct a  when head.kind = EXEC | 0x10|-3 ", "here")
    assert said == Said("struct a", "head.kind", ("EXEC", "0x10", "-3"), "here")
    assert said_tag(A, said, {}) == Tag("head.kind", (1, 16, -3))
    assert said_tag(A, Said.parse("struct a when head.pid=OTHER", "here"), {"OTHER": 9}) == Tag("head.pid", (9,))
    assert said_tag(A, Said.parse("struct a", "here"), {}) is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("struct a when kind=1", "here: struct a has no integer or enum 'kind'", "it has: head.pid, head.kind"),
        ("struct a when head.kind=GONE", "here: head.kind=GONE: there is no enumerator of that name", "number"),
    ],
)
def test_what_the_author_says_wrongly(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExportError) as caught:
        said_tag(A, Said.parse(text, "here"), {})
    assert str(caught.value) == message
    assert hint in caught.value.hint
