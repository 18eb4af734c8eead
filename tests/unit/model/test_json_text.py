import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.envelope import read_envelope
from relay.model.errors import BadFrame
from relay.model.json_text import reading, without_lone_surrogates


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
def test_halves_of_characters_are_replaced(text: bytes, without: bytes) -> None:
    assert without_lone_surrogates(text) == without


@pytest.mark.parametrize("text", [b"", b"{}", rb'"\ud83d\ude00"', rb'"\\ud83d"', rb'"\ud8', rb'"\ud8zz"', b"\\"])
def test_all_else_stays_as_it_is(text: bytes) -> None:
    assert without_lone_surrogates(text) == text


PIECES = st.sampled_from(["\ud83d", "\ude00", "\U0001f600", "\\", "u", "d83d", "a", "é", '"', "\n"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_a_text_is_read_as_a_browser_would_send_it(text: str) -> None:
    sent = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    sent = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in sent)
    assert json.loads(without_lone_surrogates(json.dumps(text).encode())) == sent


def test_who_sends_nothing_else_gets_no_more_of_it_replaced_than_is_cheap() -> None:
    text = b"[" + b",".join([rb'"\ud83d"'] * 2000) + b"]"
    assert without_lone_surrogates(text).count(rb"\ufffd") == 1000


def test_what_is_read_without_them_and_what_is_not() -> None:
    assert reading(read_envelope, rb'{"message":"\ud83d"}').envelope == rb'{"message":"\ufffd"}'
    assert reading(read_envelope, rb'{"message":"\\ud83d"}').envelope == rb'{"message":"\\ud83d"}'
    for text, code in [(rb'{"message":"\ud83d"', "bad_json"), (rb'{"from":"\ud83d"}', "reserved_field")]:
        with pytest.raises(BadFrame) as refused:
            reading(read_envelope, text)
        assert refused.value.code == code
