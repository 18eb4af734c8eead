"""Frames that the client can read, and frames that it cannot."""

import math
import sys
from collections.abc import Iterator

import pytest

from relay.client.frames import UnreadableFrame, decode_frame


def test_a_frame_is_a_json_object() -> None:
    assert decode_frame('{"a":[1,"é",null]}'.encode()) == {"a": [1, "é", None]}


@pytest.mark.parametrize(
    ("number", "value"),
    [("1e400", math.inf), ("-1e400", -math.inf), ("1" * 5000, math.inf), ("1" * 600, int("1" * 600))],
)
def test_numbers_of_any_size_are_read(number: str, value: float) -> None:
    assert decode_frame(f'{{"n":{number}}}'.encode()) == {"n": value}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", b"[1]", b"null", b'"text"', b'{"a":1', b'{"a":NaN}', b'{"a":"\xff"}', b"\x00",
        b'[1e400]', b'{"a":1e400,"b":"\xff"}',
    ],
)  # fmt: skip
def test_anything_else_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableFrame):
        decode_frame(data)


@pytest.fixture(params=[None, 20_000])
def recursion_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """The interpreter's own limit, or one as generous as that of Python 3.13."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(request.param or before)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("recursion_limit")
@pytest.mark.parametrize("inner", [b"1", b"1e400"])
def test_nesting_is_bounded_by_the_client_itself(inner: bytes) -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + inner + b"]" * (levels - 1) + b"}"

    assert decode_frame(nested(257))
    for levels in (258, 5000):
        with pytest.raises(UnreadableFrame, match="nests too deep"):
            decode_frame(nested(levels))
