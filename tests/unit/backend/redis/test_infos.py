"""Packing member infos."""

import pytest

from relay.backend.redis.infos import pack, unpack


@pytest.mark.parametrize("info", [b"", b"{}", '{"a b":" é "}'.encode()])
def test_an_info_is_unpacked_as_it_was_packed(info: bytes) -> None:
    assert b" " not in pack(info)
    assert unpack(pack(info)) == info


@pytest.mark.parametrize(
    "packed",
    [
        b"{",
        b"[]",
        b"1",
        b'{"a":1},"b":{}',
        b'{"a":"\xff"}',
        b'{"a":"%b"}' % (b"x" * 1024),
        b'{"a":' + b"[" * 16 + b"]" * 16 + b"}",
    ],
)
def test_an_info_that_would_break_frames_is_left_out(packed: bytes, caplog) -> None:
    assert unpack(packed) == b""
    assert "no JSON object that a relay wrote" in caplog.text
