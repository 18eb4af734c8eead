"""Texts that are costly to read: no message takes much more memory to read than it has bytes."""

import tracemalloc

import pytest

from relay.model.envelope import read_frame
from relay.model.errors import BadFrame
from relay.model.json_text import nests_deeper, read_leniently

SIZE = 150_000
LEVELS = b"[" * 200, b"]" * 200


def repeated(part: bytes) -> bytes:
    """Text with the part as often as it fits, with commas between."""
    return b",".join([part] * (SIZE // (len(part) + 1)))


COSTLY = {
    "label of numbers": b'{"channel":[%b]}' % repeated(b"1"),
    "label of members": b'{"channel":{%b}}' % repeated(b'"a":1'),
    "many receivers": b'{"to":[%b]}' % repeated(b'"a"'),
    "many lists of receivers": b"{%b}" % repeated(b'"to":["a"]'),
    "many strings": b'{"a":[%b],"b":[%b]}' % (repeated(b'""'), b",".join([b"[]"] * 300)),
    "many brackets": b'{"a":%b%b%b}' % (LEVELS[0], repeated(b"[[[[]]]]"), LEVELS[1]),
    "too deep": b'{"a":%b}' % (b"[" * SIZE),
    "cut off after escapes": b'{"a":"%b' % (b"\\n" * (SIZE // 2)),
    "lone surrogates": b'{"a":"%b"}' % (b"\\ud83d" * (SIZE // 6)),
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY.keys())
def test_reading_takes_little_memory(text: bytes) -> None:
    tracemalloc.start()
    try:
        read_leniently(read_frame, text)
    except BadFrame:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 * len(text)


def test_a_large_envelope_with_too_many_receivers_is_refused_as_a_small_one() -> None:
    for count in (101, 50_000):
        with pytest.raises(BadFrame) as refused:
            read_frame(b'{"to":[%b]}' % b",".join([b'"a"'] * count))
        assert refused.value.code == "bad_envelope"


@pytest.mark.parametrize("padding", [0, 10_000])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('"to":["a","b"],"channel":"c","key":"k"', (("a", "b"), "c", "k")),
        ('"to":"a","channel":1.5', (("a",), "1.5", "")),
        ('"channel":{"a":[1]},"key":"k"', ((), "", "k")),
        ('"channel":null,"to":null,"key":null', ((), "", "")),
        ('"to":"x","to":"a"', (("a",), "", "")),
        ('"k\\u0065y":"k"', ((), "", "k")),
    ],
)
def test_a_large_envelope_is_read_as_a_small_one(fields: str, expected: tuple[object, ...], padding: int) -> None:
    publish = read_frame(f'{{{fields},"pad":"{"x" * padding}"}}'.encode())
    assert publish is not None
    assert (publish.to, publish.channel, publish.key) == expected


@pytest.mark.parametrize("padding", [0, 10_000])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ('"from":[1]', "reserved_field"),
        ('"room":{}', "reserved_field"),
        ('"to":{}', "bad_envelope"),
        ('"to":[]', "bad_envelope"),
        ('"key":5', "bad_envelope"),
        ('"a":1,}', "bad_json"),
    ],
)
def test_a_large_envelope_is_refused_as_a_small_one(fields: str, code: str, padding: int) -> None:
    with pytest.raises(BadFrame) as refused:
        read_frame(f'{{"pad":"{"x" * padding}",{fields}}}'.encode())
    assert refused.value.code == code


@pytest.mark.parametrize("place", [0, 8191, 8192, 8200, 20_001])
def test_the_deepest_place_counts_wherever_it_is(place: int) -> None:
    before = b"[]" * (place // 2) + b"[" * (place % 2)
    text = before + b"[" * 300 + b"]" * 300
    depth = 300 + place % 2
    assert nests_deeper(text, depth - 1)
    assert not nests_deeper(text, depth)
