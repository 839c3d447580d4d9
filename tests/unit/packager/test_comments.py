from __future__ import annotations

import pytest

from ecli_packager.comments import Comment, comment_at, head_comment
from ecli_packager.errors import AnnotationError


def comment(source: str, line: int = 0) -> Comment:
    lines = source.splitlines()
    return comment_at("tool.bpf.c", lines, line or len(lines))


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
        ('// A program.\nSEC("kprobe/f")\nint\nf(void *ctx)', "A program."),
        ("int y; /* of y */\nint x;", ""),
        ("// Not mine.\n\nint x;", ""),
        ("// Of y.\nint y; // Behind y.\nint x;", ""),
        ("// Of y.\nint y; /* Behind y. */\nint\nx;", ""),
        ("// Above.\nint x; // Behind.", "Behind."),
        ("int x;", ""),
    ],
)
def test_a_comment_belongs_to_the_declaration_below_or_before_it(source: str, text: str) -> None:
    assert comment(source) == Comment(text)


def test_lines_that_do_not_exist_have_none() -> None:
    assert comment_at("x.c", [], 1) == Comment()
    assert comment_at("x.c", ["// x"], 0) == Comment()


def test_annotations_and_text() -> None:
    found = comment('/// Which process.\n/// @cmdarg {"short": "p", "default": 0}\n/// 0 means all.\nint x;')
    assert found == Comment("Which process. 0 means all.", {"cmdarg": {"short": "p", "default": 0}})


def test_json_may_go_over_several_lines() -> None:
    source = '/* @sample {\n *   "interval": 100,\n *   "type": "log2_hist"\n * }\n * Delays.\n */\nint x;'
    assert comment(source) == Comment("Delays.", {"sample": {"interval": 100, "type": "log2_hist"}})


def test_annotations_above_and_behind_count_both() -> None:
    found = comment("// @description Above.\n// Prose.\nint x; // @value 5")
    assert found == Comment("", {"description": "Above.", "value": 5})


@pytest.mark.parametrize(("member", "text"), [("a", "Of a."), ("b", "Of b."), ("c", "Of b."), ("d", "")])
def test_a_member_among_others_on_its_line(member: str, text: str) -> None:
    line = "struct s { int a; /* Of a. */ int b, c[2]; // Of b."
    assert comment_at("tool.bpf.c", [line], 1, member) == Comment(text)


def test_several_on_one_line_and_the_misspelt_word() -> None:
    assert comment("// @ifindex 2 @flags 4\nint x;").annotations == {"ifindex": 2, "flags": 4}
    for word in ("intepreter", "interpreter"):
        assert comment(f'// @{word} {{"stack_trace": {{}}}}\nint x;').annotations == {"intepreter": {"stack_trace": {}}}


def test_text_goes_to_the_end_of_the_line() -> None:
    found = comment("/* @brief Shows things.\n * @version 1.2\n * @details All\n * of it */\nchar LICENSE[];")
    assert found.annotations == {"brief": "Shows things.", "version": "1.2", "details": "All"}
    assert found.text_of("brief") == "Shows things."
    assert found.text_of("homepage") == ""


def test_an_annotation_in_the_middle_of_prose_is_prose() -> None:
    assert comment("// What @sample says, and @sampel not.\nint x;") == Comment("What @sample says, and @sampel not.")
    assert comment("// Mail to me@export or @value.\n// @value 3\nint x;") == Comment(
        "Mail to me@export or @value.", {"value": 3}
    )


def test_the_place_of_a_value_is_known() -> None:
    found = comment('int y;\n/* @sample {\n *   "interval": "fast",\n *   "unit": "ms" }\n */\nint x;')
    assert str(found.error("sample", "wrong", key="interval")) == "tool.bpf.c:3:18: @sample: interval: wrong"
    assert str(found.error("sample", "wrong", key="type")) == "tool.bpf.c:2:12: @sample: type: wrong"
    assert str(comment("// @ifindex 1 @flags 2\nint x;").error("flags", "wrong")) == "tool.bpf.c:1:22: @flags: wrong"


def test_words_of_doxygen_mean_nothing() -> None:
    assert comment("/// @param x what\n/// @return it\nint f(int x)") == Comment("@param x what @return it")


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            "int y;\n\n// Text.\n//   @sample {interval: 5}\nint x;",
            "tool.bpf.c:4:15: @sample: not JSON",
            'quote names and text with "',
        ),
        ('/* @cmdarg {\n *  "a": 1\n */\nint x;', "tool.bpf.c:3:2: @cmdarg: not JSON", "braces paired"),
        ("// @cmdarg\nint x;", "tool.bpf.c:1:11: @cmdarg: not JSON", "quote"),
        ('// @sampl {"interval": 5}\nint x;', "tool.bpf.c:1:4: there is no annotation @sampl", "did you mean @sample?"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(source: str, message: str, hint: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        comment(source)
    assert str(caught.value).startswith(message)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("// SPDX-License-Identifier: MIT\n// Shows execs,\n// all of them.\n//\n// More.\nint x;", "Shows execs, all of them."),
        ("/* SPDX-License-Identifier: MIT */\nint x;", ""),
        ("/*\n * Copyright 2026 Somebody\n *\n * Counts.\n */\n", "Counts."),
        ("//go:build ignore\n// Counts.\nint x;", "Counts."),
        ("int x;", ""),
    ],
)
def test_a_file_describes_itself_in_its_first_comment(source: str, text: str) -> None:
    assert head_comment(source.splitlines()) == text
