"""Reading member infos."""

import json

import pytest
from hypothesis import given

from relay.model.errors import Refused
from relay.model.member_info import (
    MAX_INFO,
    MAX_INFO_NESTING,
    MAX_VOUCHED,
    read_info,
    read_vouched,
    vouch,
    vouched_part,
    without_vouched,
)
from tests.unit.model.test_envelope import JSON


@pytest.mark.parametrize(
    ("text", "info"),
    [
        ("null", ""),
        ("{}", "{}"),
        (' {"a" : [ 1, 2.50 ], "b\\u0020c":"\\u00e9 \\/" }\n', '{"a":[1,2.5],"b c":"é /"}'),
        (r'{"a":"\ud83d"}', '{"a":"\ufffd"}'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('{"a":123456789012345678901234567890}', '{"a":123456789012345678901234567890}'),
        ('{"a":"\\n\\u001f"}', '{"a":"\\n\\u001f"}'),
    ],
)
def test_an_info_is_written_in_one_form(text: str, info: str) -> None:
    assert read_info(text.encode()) == info.encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'"x"',
        b"1",
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":NaN}',
        b'{"a":1e400}',
        b'{"a":"\xff"}',
        b'{"a":"%b"}' % (b"x" * MAX_INFO),
        b'{"a":' * MAX_INFO_NESTING + b"{}" + b"}" * MAX_INFO_NESTING,
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_info(text)
    assert refused.value.code == "bad_info"


def test_the_bounds_are_exact() -> None:
    largest = b'{"a":"%b"}' % (b"x" * (MAX_INFO - len('{"a":""}')))
    assert read_info(b" " * 5000 + largest) == largest
    deepest = b'{"a":' * (MAX_INFO_NESTING - 1) + b"{}" + b"}" * (MAX_INFO_NESTING - 1)
    assert read_info(deepest) == deepest


@given(JSON)
def test_an_info_says_the_same_and_has_no_spaces_outside_of_texts(value: object) -> None:
    try:
        info = read_info(json.dumps({"x": value}).encode())
    except Refused:
        return
    assert read_info(info) == info
    assert b"\x1f" not in info
    assert b"\n" not in info
    assert json.dumps(json.loads(info), separators=(",", ":"), ensure_ascii=False).count(" ") == info.count(b" ")


# The info for which a token vouches.

VOUCHED = [b"", b'{"name":"Ann"}', b'{"$token":{"x":1}}', '{"é":"\N{SNOWMAN} \\"$token\\":"}'.encode()]
OWN = [b"", b'{"a":1}', b'{"a":"\\"$token\\":","b":{"$token":1}}']


@pytest.mark.parametrize("vouched", VOUCHED)
@pytest.mark.parametrize("own", OWN)
def test_an_info_has_the_part_of_the_member_and_that_of_its_token(own: bytes, vouched: bytes) -> None:
    info = vouch(own, vouched)
    assert json.loads(info or b"{}") == json.loads(own or b"{}") | ({"$token": json.loads(vouched)} if vouched else {})
    assert vouched_part(info) == vouched
    assert without_vouched(info) == own
    # The info of a newer token replaces that of an earlier one.
    for newer in VOUCHED:
        assert vouch(info, newer) == vouch(own, newer)


def test_no_client_writes_the_part_of_its_token() -> None:
    for text in (b'{"$token":{"name":"Ann"}}', b'{"a":1,"\\u0024token":null}'):
        with pytest.raises(Refused) as refused:
            read_info(text)
        assert refused.value.code == "bad_info"
    assert read_info(b'{"a":{"$token":1}}') == b'{"a":{"$token":1}}'


def test_both_parts_together_are_no_larger_than_an_info() -> None:
    vouched = read_vouched(b'{"a":"%b"}' % (b"x" * (MAX_VOUCHED - len('{"a":""}'))))
    room = MAX_INFO - len(vouched) - len('{"$token":,"b":""}')
    assert len(vouch(b'{"b":"%b"}' % (b"x" * room), vouched)) == MAX_INFO
    with pytest.raises(Refused) as refused:
        vouch(b'{"b":"%b"}' % (b"x" * (room + 1)), vouched)
    assert refused.value.code == "bad_info"


def test_the_part_of_a_token_is_bounded_so_that_a_client_has_room_for_its_own() -> None:
    for text in (
        b'{"a":"%b"}' % (b"x" * MAX_VOUCHED),
        b'{"a":' * (MAX_INFO_NESTING - 1) + b"{}" + b"}" * (MAX_INFO_NESTING - 1),
        b"[]",
    ):
        with pytest.raises(Refused) as refused:
            read_vouched(text)
        assert refused.value.code == "bad_info"
    deepest = b'{"a":' * (MAX_INFO_NESTING - 2) + b"{}" + b"}" * (MAX_INFO_NESTING - 2)
    assert read_info(vouch(b"", read_vouched(deepest)).replace(b"$token", b"token"))
