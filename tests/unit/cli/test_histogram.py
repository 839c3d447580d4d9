"""Histograms as text."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ecli_py.render.histogram import Look, are_counts, buckets, histogram

PLAIN = Look()


def test_a_log2_histogram() -> None:
    assert histogram([1, 0, 4, 0, 0], "things", PLAIN) == [
        "things : count  distribution",
        "0 -> 1 : 1     |**********                              |",
        "2 -> 3 : 0     |                                        |",
        "4 -> 7 : 4     |****************************************|",
    ]
    assert histogram([0, 0], "usecs", PLAIN) == ["(no values)"]


def test_counts_beyond_32_bits_are_drawn_in_proportion() -> None:
    lines = histogram([1 << 40, 1 << 41], "x", PLAIN)
    assert [line.count("*") for line in lines[1:]] == [20, 40]


@pytest.mark.parametrize(
    ("unit", "first", "last"),
    [
        ("usecs", "[     0, 2us)   ", "[1.02ms, 2.04ms)"),
        ("bytes", "[  0 B, 2 B)  ", "[1 KiB, 2 KiB)"),
        ("", "   0 -> 1   ", "1024 -> 2047"),
    ],
)
def test_times_and_sizes_are_written_as_such(unit: str, first: str, last: str) -> None:
    heading, *lines = histogram([1] * 11, unit, PLAIN)
    assert heading.split()[0] == (unit or "value")
    assert [line.partition(" :")[0] for line in (lines[0], lines[-1])] == [first, last]


def test_a_linear_histogram_has_slots_as_wide_as_its_unit_says() -> None:
    assert buckets([0, 0, 3, 0, 1, 0], is_linear=True, width=10) == [(20, 30, 3), (30, 40, 0), (40, 50, 1)]
    lines = histogram([0, 0, 3, 0, 1, 0], "10 ms", PLAIN, is_linear=True)
    assert [line.partition(" :")[0].split() for line in lines] == [
        ["ms"],
        ["[20ms,", "30ms)"],
        ["[30ms,", "40ms)"],
        ["[40ms,", "50ms)"],
    ]


def test_rows_of_slots_are_a_log_linear_histogram() -> None:
    assert buckets([[1, 0], [2, 3], [0, 0], [0, 4]]) == [
        (0, 2, 1),
        (2, 3, 2),
        (3, 4, 3),
        (4, 6, 0),
        (6, 8, 0),
        (8, 12, 0),
        (12, 16, 4),
    ]
    found = buckets([[1] * 8] * 5)
    assert sum(count for _low, _end, count in found) == 40  # those of parts without an integer too
    assert [low for low, _end, _count in found] == sorted(low for low, _end, _count in found)


@pytest.mark.parametrize("count", [64, 65, 1000, 100_000])
def test_a_long_histogram_has_few_lines_and_the_same_sum(count: int) -> None:
    found = buckets([1] * count, is_linear=True)
    assert len(found) <= 64
    assert sum(each[2] for each in found) == count
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert len(histogram([1] * count, "", PLAIN)) <= 66


def test_bars_fit_the_terminal() -> None:
    for columns in (40, 80, 133):
        for blocks in (True, False):
            lines = histogram([1, 1000, 3, 700], "usecs", Look(columns, blocks))
            assert max(map(len, lines)) < columns
            assert len({len(line) for line in lines[1:]}) == 1
    assert "▏" in histogram([1, 1000], "", Look(60, True))[1], "what is there is seen"


def test_a_hostile_unit_does_not_reach_the_terminal() -> None:
    heading = histogram([1], "a\x1b[2J" + "x" * 1000, PLAIN)[0]
    assert "\x1b" not in heading
    assert len(heading) < 80


@pytest.mark.parametrize("slots", ["abc", [], [-1, 0], [1.5], [[1], 2], [[1], [1, 2]], [[]], 7, [True]])
def test_slots_that_are_no_counts(slots: object) -> None:
    assert not are_counts(slots)


def test_slots_that_are_counts() -> None:
    assert are_counts([0, 1 << 63])
    assert are_counts([[0, 1], [2, 3]])
