"""Reading member infos."""

import json

import pytest
from hypothesis import given

from relay.model.errors import Refused
from relay.model.member_info import MAX_INFO, MAX_INFO_NESTING, read_info
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
