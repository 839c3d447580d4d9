from __future__ import annotations

import pytest

from ecli_packager.comments import comment_at


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("// Only this process.\nint x;", "Only this process."),
        ("/// One\n/// and two.\nint x;", "One and two."),
        ("int x; // Behind it.", "Behind it."),
        ("int x = 5; /* Behind, too. */", "Behind, too."),
        ("int x; //!< Doxygen's way.", "Doxygen's way."),
        ("/* A block\n * of lines.\n */\nint x;", "A block of lines."),
        ("/** Doxygen. */\nint x;", "Doxygen."),
        ("int y; /* of y */\nint x;", ""),
        ("// Not mine.\n\nint x;", ""),
        ("int x;", ""),
    ],
)
def test_a_comment_belongs_to_the_declaration_below_or_before_it(source: str, text: str) -> None:
    lines = source.splitlines()
    assert comment_at(lines, len(lines)) == text


def test_lines_that_do_not_exist_have_none() -> None:
    assert comment_at([], 1) == ""
    assert comment_at(["// x"], 0) == ""
