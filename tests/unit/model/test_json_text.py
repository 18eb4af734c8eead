import json
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Frame
from relay.model.commands import Ping
from relay.model.envelope import read_envelope
from relay.model.errors import BadFrame
from relay.model.json_text import (
    FRAME_NESTING,
    MAX_NESTING,
    check_nesting,
    nests_deeper,
    read_leniently,
    without_lone_surrogates,
)


def nested(levels: int, open_: bytes = b"[", close: bytes = b"]", inner: bytes = b"") -> bytes:
    """An object with so many levels, itself counted."""
    return b'{"a":' + open_ * (levels - 1) + inner + close * (levels - 1) + b"}"


def levels_of(value: object) -> int:
    """Count levels the plain way."""
    if isinstance(value, dict):
        return 1 + max(map(levels_of, value.values()), default=0)
    return 1 + max(map(levels_of, value), default=0) if isinstance(value, list) else 0


STRINGS = st.text(st.sampled_from('[]{}"\\,:é'), max_size=6)
VALUES = st.recursive(
    STRINGS | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=40,
)


@given(VALUES, st.booleans())
def test_levels_are_counted_exactly(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    text += b" " * 64  # short texts are decided by their length
    levels = levels_of(value)
    assert not nests_deeper(text, levels)
    assert nests_deeper(text, levels - 1) or levels == 0


@pytest.mark.parametrize(("open_", "close"), [(b"[", b"]"), (b'{"b":', b"}"), (b'[{"b\\"[":', b"}]")])
def test_the_bound_is_accepted_and_one_level_more_is_refused(open_: bytes, close: bytes) -> None:
    per_step = open_.replace(b'\\"[', b"").count(b"[") + open_.count(b"{")
    text = b"[" * (MAX_NESTING % per_step) + open_ * (MAX_NESTING // per_step) + b"1"
    text += close * (MAX_NESTING // per_step) + b"]" * (MAX_NESTING % per_step)
    check_nesting(text)
    with pytest.raises(BadFrame, match=f"nested more than {MAX_NESTING} levels deep") as refused:
        check_nesting(b"[" + text + b"]")
    assert refused.value.code == "bad_json"
    check_nesting(b"[" + text + b"]", FRAME_NESTING)


@pytest.mark.parametrize(
    "string",
    [b"[" * 1000, b'\\"' + b"[" * 1000, b'\\\\\\"' + b"{" * 1000, b"\\u005c" + b"[" * 1000, b"]" * 9 + b"{" * 1000],
)
def test_brackets_inside_strings_do_not_count(string: bytes) -> None:
    text = b'{"a":"' + string + b'","b":"\\\\"}'
    json.loads(text)
    check_nesting(text)
    with pytest.raises(BadFrame):
        check_nesting(text[:-1] + b',"c":' + nested(MAX_NESTING) + b"}")


def test_siblings_do_not_count_as_levels() -> None:
    wide = b"[" + b",".join([nested(MAX_NESTING - 1)] * 50) + b"]"
    check_nesting(wide)
    with pytest.raises(BadFrame):
        check_nesting(wide[:-1] + b"," + nested(MAX_NESTING) + b"]")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 2**20,
        b"[]" * 2**19,
        b"[" * 255 + b"[]," * 2**18,
        b'["",' * 2**18,
        b'["' + b'\\"' * 2**19,
        b"[" * 257 + b'"' + b"\\" * 2**20,
    ],
)
def test_a_megabyte_of_anything_is_counted_in_linear_time(text: bytes) -> None:
    began = time.process_time()
    nests_deeper(text)
    assert time.process_time() - began < 1


@pytest.fixture
def generous_interpreter() -> Iterator[None]:
    """As Python 3.13, whose parsers in C take thousands of levels."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


READERS = {
    "envelope": lambda text: NativeCodec().decode(Frame(text)),
    "command": lambda text: NativeCodec().decode(Frame(b'{"type":"publish","key":"k","envelope":%b}' % text)),
    "http": lambda text: read_leniently(read_envelope, text),
}


@pytest.mark.usefixtures("generous_interpreter")
@pytest.mark.parametrize("way", READERS)
@pytest.mark.parametrize("levels", [MAX_NESTING + 1, MAX_NESTING + 2, 5000])
def test_the_bound_is_the_relays_own_and_the_same_on_every_way_in(way: str, levels: int) -> None:
    assert READERS[way](nested(MAX_NESTING)).envelope == nested(MAX_NESTING)
    assert READERS[way](nested(9, inner=b'"' + b"[" * 9000 + b'"')).envelope
    with pytest.raises(BadFrame, match="nested more than 256 levels deep") as refused:
        READERS[way](nested(levels))
    assert refused.value.code == "bad_json"


@pytest.mark.usefixtures("generous_interpreter")
def test_a_command_nests_no_deeper_than_one_around_an_envelope() -> None:
    def ping(levels: int) -> bytes:
        return b'{"type":"ping","unknown":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert NativeCodec().decode(Frame(ping(FRAME_NESTING))) == Ping()
    with pytest.raises(BadFrame, match="nested") as refused:
        NativeCodec().decode(Frame(ping(FRAME_NESTING + 1)))
    assert refused.value.code == "bad_json"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00 \uD83D"', rb'"\ufffd \ufffd"'),
        (rb'"\ud83d\ud83d\ude00\ude00"', rb'"\ufffd\ud83d\ude00\ufffd"'),
        (rb'"\\\ud83d\\ud83d"', rb'"\\\ufffd\\ud83d"'),
        (rb'"\ud83d\u0041\n"', rb'"\ufffd\u0041\n"'),
    ],
)
def test_lone_surrogates_are_replaced(text: bytes, without: bytes) -> None:
    assert without_lone_surrogates(text) == without


@pytest.mark.parametrize("text", [b"", b"{}", rb'"\ud83d\ude00"', rb'"\\ud83d"', rb'"\ud8', rb'"\ud8zz"', b"\\"])
def test_other_text_is_unchanged(text: bytes) -> None:
    assert without_lone_surrogates(text) == text


PIECES = st.sampled_from(["\ud83d", "\ude00", "\U0001f600", "\\", "u", "d83d", "a", "é", '"', "\n"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_a_text_is_read_as_a_browser_would_send_it(text: str) -> None:
    sent = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    sent = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in sent)
    assert json.loads(without_lone_surrogates(json.dumps(text).encode())) == sent


def test_the_number_of_replacements_is_bounded() -> None:
    text = b"[" + b",".join([rb'"\ud83d"'] * 2000) + b"]"
    assert without_lone_surrogates(text).count(rb"\ufffd") == 1000


def test_text_that_is_bad_json_is_read_again_without_lone_surrogates() -> None:
    assert read_leniently(read_envelope, rb'{"message":"\ud83d"}').envelope == rb'{"message":"\ufffd"}'
    assert read_leniently(read_envelope, rb'{"message":"\\ud83d"}').envelope == rb'{"message":"\\ud83d"}'
    for text, code in [(rb'{"message":"\ud83d"', "bad_json"), (rb'{"from":"\ud83d"}', "reserved_field")]:
        with pytest.raises(BadFrame) as refused:
            read_leniently(read_envelope, text)
        assert refused.value.code == code
