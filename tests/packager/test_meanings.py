"""``@meaning`` in comments of members: in the package, in what is shown, in the schema, and in errors."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from ecli_packager.build import Request, build
from ecli_packager.errors import AnnotationError
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.opening import OpenSession
from ecli_schemas.model import Package
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package

pytestmark = pytest.mark.compiler

SOURCE = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct end { __u32 host; /* @meaning ipv4 */ __u16 port; };
typedef struct {
	__u64 last; // @meaning time_ns
	__u64 hits;
} seen_t;
struct event {
	// Who it was. @meaning is no annotation within a line.
	//
	// @meaning uid
	__u32 who; // the one that asked
	__u32 code;
	__s32 ret;      /* @meaning errno */
	__u32 saddr_v4; // @meaning plain
	struct end ends[2];
	union {
		__u32 v4; // @meaning ipv4
		__u8 bytes[4];
	};
	struct {
		__u32 size; // @meaning bytes
	} of;
};
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
// @sample {"interval": 100}
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, struct end); __type(value, seen_t);
} known SEC(".maps");

SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	struct event event = { 1 };
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return !bpf_map_lookup_elem(&known, &event.ends[0]);
}
char LICENSE[] SEC("license") = "GPL";
"""


def built(directory: Path, text: str) -> Package:
    path = directory / "tool.bpf.c"
    path.write_text(text)
    package = build(Request((path,))).package
    assert read_package(write_package(package)) == package
    return package


def test_members_mean_what_the_author_says(tmp_path: Path) -> None:
    package = built(tmp_path, SOURCE)
    assert package.exports[0].types[0].meanings == {
        "who": "uid",
        "ret": "errno",
        "saddr_v4": "plain",
        "ends.host": "ipv4",
        "v4": "ipv4",
        "of.size": "bytes",
    }
    assert package.meanings == {"known": {"key": {"host": "ipv4"}, "value": {"last": "time_ns"}}}
    with OpenSession(package) as opened:
        events, known = opened.sources()
        event = make_decoder(events.plans[0])(struct.pack("<IIiI", 0, 0, -2, 1) + bytes([10, 0, 0, 1, 80, 0, 0, 0] * 3))
        assert (event["saddr_v4"], event["ends"][0], event["v4"]) == (1, {"host": "10.0.0.1", "port": 80}, "10.0.0.1")
        assert make_decoder(known.plans[0])(bytes([10, 0, 0, 2, 0, 0, 0, 0]))["host"] == "10.0.0.2"
        meanings = {op.name: op.meaning for op in (*events.plans[0].ops, *known.plans[1].ops)}
        assert meanings["who"] == "uid"
        assert meanings["code"] == ""
        assert meanings["last"] == "time_ns"


def test_without_the_word_comments_of_members_are_prose(tmp_path: Path) -> None:
    text = SOURCE.replace("@meaning", "@value")
    assert built(tmp_path, text).exports[0].types[0].meanings == {}


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("errn", ":15:30: @meaning: there is no meaning 'errn'", "did you mean errno?"),
        ("", ":15:29: @meaning: there is no meaning ''", "one of duration_ns, "),
        ("mac", ":15:30: @meaning: ret cannot be 'mac' by its type", "one of duration_ns, .*, errno, .*, or plain$"),
    ],
)
def test_a_meaning_that_is_wrong(tmp_path: Path, word: str, message: str, hint: str) -> None:
    text = SOURCE.replace("__s32 ret;      /* @meaning errno */", f"__s32 ret;      /* @meaning {word} */")
    with pytest.raises(AnnotationError) as caught:
        built(tmp_path, text)
    assert "tool.bpf.c" + message in str(caught.value)
    assert re.search(hint, caught.value.hint)


def test_a_member_without_a_meaning_of_any_kind(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="ends cannot be 'ipv4' by its type") as caught:
        built(tmp_path, SOURCE.replace("ends[2];", "ends[2]; // @meaning ipv4"))
    assert "plain is always right" in caught.value.hint


def test_a_word_that_is_nearly_right(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"there is no annotation @meanin$") as caught:
        built(tmp_path, SOURCE.replace("@meaning errno", "@meanin errno"))
    assert caught.value.hint == "did you mean @meaning?"
