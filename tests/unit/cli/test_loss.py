"""What is said of events that are missing, and of what a run costs."""

from __future__ import annotations

import pytest

from ecli_py.overhead import parse_share, usage_table
from ecli_py.showing import LossWatch, warn_of_full_buffers
from ecli_runtime.errors import OptionError
from ecli_runtime.ring_sizes import parse_ring_sizes, size_text
from ecli_runtime.stream import NOT_DECODED, RING_BUFFER_FULL, MapStats, Stats
from ecli_runtime.usage import ProgramUsage, Usage
from ecli_schemas.errors import EcliError


def stats(lost: int, undecoded: int = 0, occupancy: float = 0.0, name: str = "events") -> Stats:
    reasons = tuple((why, count) for why, count in ((RING_BUFFER_FULL, lost), (NOT_DECODED, undecoded)) if count)
    each = MapStats(name, 10, lost, undecoded, 0, reasons, occupancy, 1 << 18)
    return Stats(10, 10, lost, undecoded, occupancy, 1.0, 0, (each,))


def test_each_loss_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    now = stats(0)
    watch = LossWatch(lambda: now, as_json=True)
    assert (watch.end(), capsys.readouterr().err) == (b"", "")
    now = stats(120)
    assert watch.look() == b""  # a second has not passed yet
    assert watch.end() == b'{"@lost":{"map":"events","count":120,"why":"ring buffer full"}}\n'
    assert capsys.readouterr().err == "lost: events 120 (ring buffer full)\n"
    now = stats(125, 1)
    assert watch.end().count(b"\n") == 2
    assert capsys.readouterr().err == "lost: events 5 (ring buffer full)\nlost: events 1 (not decoded)\n"
    now = stats(100, 1)  # the program's variable may hold anything
    assert (watch.end(), capsys.readouterr().err) == (b"", "")


def test_without_json_there_are_no_marks(capsys: pytest.CaptureFixture[str]) -> None:
    assert LossWatch(lambda: stats(1, name="a\x1bb"), as_json=False).end() == b""
    assert capsys.readouterr().err == "lost: a\\x1bb 1 (ring buffer full)\n"


@pytest.mark.parametrize(
    ("of", "warning"),
    [
        (stats(0, occupancy=0.9), ""),
        (stats(7), "the buffer of map events (256K) was full; --ring-size events=1M makes it larger"),
        (
            stats(0, occupancy=0.95),
            (
                "the buffer of map events (256K) was 95% full at times; events may have been lost; "
                "--ring-size events=512K makes it larger"
            ),
        ),
        (Stats(5, 5, 0, 0, 0.95, 2), "the ring buffer was 95% full at times; events may have been lost"),  # of a recording
        (Stats(5, 5, 1, 0, 0.95, 2), ""),
    ],
)
def test_buffers_that_were_too_small(of: Stats, warning: str, capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_full_buffers(of)
    assert capsys.readouterr().err == (f"warning: {warning}\n" if warning else "")


def test_sizes() -> None:
    assert parse_ring_sizes(["1M", "events=256k", "a=4KiB", "b=4KB", "c=4096"]) == {
        "": 1 << 20,
        "events": 1 << 18,
        **dict.fromkeys("abc", 4096),
    }
    assert [size_text(size) for size in (4096, 3 << 20, 2 << 30, 100)] == ["4K", "3M", "2G", "100"]


@pytest.mark.parametrize("text", ["", "0", "-1", "1T", "K", "1.5M", "=1M", "events=", "1 M", "٣", "9" * 30])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="--ring-size: expected"):
        parse_ring_sizes([text])


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5", 0.005), ("250%", 2.5)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "0%", "-1%", "nan%", "inf", "much"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(EcliError, match="--max-overhead: expected"):
        parse_share(text)


def test_what_a_run_cost() -> None:
    before = Usage(1.0, (ProgramUsage("a", 10, 1000, 0),), 0.1, 1 << 20)
    after = Usage(3.0, (ProgramUsage("a", 30, 1_001_000, 2), ProgramUsage("b", 0, 0, 0)), 0.3, 2 << 20)
    last = after.since(before)
    assert last.programs == (ProgramUsage("a", 20, 1_000_000, 2), ProgramUsage("b", 0, 0, 0))
    assert last.share == pytest.approx((0.2 + 0.001) / 2)
    assert [line.split() for line in usage_table(last, 0.0, ()).splitlines()] == [
        ["in", "2.0", "s", "RUNS", "AVERAGE", "OF", "A", "CPU", "MISSED"],
        ["a", "20", "50.0us", "0.05%", "2"],
        ["b", "0", "-", "0.00%", "0"],
        ["ecli-py", "itself", "-", "-", "10.00%", "-", "2.0", "MiB", "at", "most"],
    ]
    waited, buffer = usage_table(last, 1.25, stats(1, occupancy=0.75).maps).splitlines()[-2:]
    assert waited == "output was waited for 1.2 s"
    assert buffer == "events: at most 75% of 256K full"
