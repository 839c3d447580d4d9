"""Command lines that are read without argparse mean what argparse says they mean."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecli_py.arguments import Arguments, Values


def command() -> Arguments:
    found = Arguments("tool", "Shows things.", usage="tool [OPTIONS] FILE ...")
    found.add_option("options", "--json", action="store_true", help="one JSON object a line")
    found.add_option("options", "--count", metavar="N", help="how many")
    found.add_option("options", "-o", "--only_uid", "--only-uid", dest="uid", help="whose")
    found.add_option("options", "--flag", nargs="?", const="true", dest="flag", help="on or off")
    found.add_option("options", "--no-flag", action="store_const", const="false", dest="flag", help=None)
    found.add_option("options", "--stats", nargs="=", const="end", metavar="[=TIME]", help="whose value may be left out")
    found.add_option("options", "--twice", help="first")
    found.add_option("options", "--twice", nargs="?", const="", dest="again", help="takes the name of the first")
    found.add_option("options", "--disable", action="append", metavar="PROG", help="leave out; repeatable")
    found.add_operand("file", metavar="FILE", help="what to show")
    found.add_rest("rest")
    return found


WORDS = st.sampled_from(
    [
        *(
            "--json",
            "--json=1",
            "--jso",
            "--count",
            "--count=3",
            "--count=",
            "--disable",
            "--disable=a",
            "--only_uid",
            "--only-uid=1",
            "-o",
            "-o1",
            "--flag",
        ),
        *("--flag=off", "--no-flag", "--twice", "--help", "-h", "--", "-", "", "3", "-3", "-x y", "a b", "file", "--file", "="),
        *("--=", "%s", "--stats", "--stats=1s", "--stats="),
    ]
)


@given(st.lists(WORDS, max_size=6))
@example(["--json", "file", "--count", "3"])
@example(["--twice", "1", "file"])
@example(["-", "--stats"])
def test_a_plain_command_line_means_what_argparse_says(words: list[str]) -> None:
    plain = command()._parse_plain(words)
    if plain is None:
        return
    by_argparse = vars(command()._make_parser().parse_args([*command()._completed(words)]))
    assert said(vars(command().parse(words))) == said(plain) == said(by_argparse)


def said(values: dict[str, object]) -> dict[str, object]:
    """Return what a command line said, without what it left out."""
    return {name: value for name, value in values.items() if value not in (None, [])}


def test_options_before_the_operand_and_words_after_it() -> None:
    values = command().parse(["--json", "--count=3", "--only_uid", "0", "tool.json", "--other", "-v", "--help"])
    assert (values.json, values.count, values.uid, values.flag, values.file) == (True, "3", "0", None, "tool.json")
    assert values.rest == ["--other", "-v", "--help"]


@pytest.mark.parametrize("more", [[], ["-o1"]])  # a short option goes to argparse
def test_a_value_that_can_be_left_out_is_never_the_next_word(more: list[str]) -> None:
    values = command().parse([*more, "--stats", "tool.json", "--stats", "--count", "1"])
    assert (values.stats, values.file, values.rest) == ("end", "tool.json", ["--stats", "--count", "1"])
    assert command().parse([*more, "--count", "3", "--stats=1s", "tool.json"]).stats == "1s"
    command_of_the_rest = Arguments("tool file", "")
    command_of_the_rest.add_option("options", "--flag", nargs="?", const="true")
    command_of_the_rest.add_option("options", "--stats", nargs="=", const="end")
    values = command_of_the_rest.parse(["--flag", "off", "--stats", "--flag"])
    assert (values.flag, values.stats) == ("true", "end")


def test_what_is_not_plain_is_read_too() -> None:
    values = command().parse(["-o1", "--flag", "--count", "-3", "tool.json"])
    assert (values.uid, values.flag, values.count, values.file) == ("1", "true", "-3", "tool.json")


def test_values_that_are_there_stay() -> None:
    values = Values()
    vars(values).update(json=True, count="7")
    assert command().parse(["--count", "8", "tool.json"], values) is values
    assert (values.json, values.count) == (True, "8")


@pytest.mark.parametrize("words", [["--nope", "file"], ["--count"], [], ["--json=1", "file"]])
def test_wrong_usage_ends_with_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command().parse(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_help_shows_what_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command().parse(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "--only-uid" in shown
    assert "--no-flag" not in shown
    assert "rest" not in shown


@pytest.mark.parametrize("plain", [True, False])
def test_what_may_be_repeated_is_collected_over_both_parts_of_the_command_line(plain: bool) -> None:
    options = [] if plain else ["-o", "1"]  # a short option goes to argparse
    values = command().parse(["--disable", "a", *options, "file", "--disable", "b", "--disable=c"])
    command_of_the_rest = Arguments("tool file", "")
    command_of_the_rest.add_option("options", "--disable", action="append")
    command_of_the_rest.parse([*values.rest], values)
    assert values.disable == ["a", "b", "c"]
