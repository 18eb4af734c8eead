import pytest

from relay.gateways.socketio.offsets import Offset, OffsetForm, offset_form
from relay.model.envelope import MessageId
from relay.model.errors import Refused

AT = MessageId(5, 6)


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("5-6", Offset(AT)),
        ("5-6@there", Offset(AT, "there")),
        ("5-6~5-4", Offset(AT, "", MessageId(5, 4))),
        ("5-6~0-0@a~b@c", Offset(AT, "a~b@c", MessageId(0, 0))),
    ],
)
def test_the_text_of_an_offset(text: str, offset: Offset) -> None:
    assert offset.encode().decode() == text
    assert Offset.parse(text) == offset


@pytest.mark.parametrize("text", ["", "5", "5-6~", "5-6~x", "~5-6", "5-6@" + "x" * 256, "5-6@{}", "hello"])
def test_other_text_is_no_offset(text: str) -> None:
    with pytest.raises((ValueError, Refused)):
        Offset.parse(text)


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ({}, OffsetForm.EVENT),
        ({"offsets": "event"}, OffsetForm.EVENT),
        ({"offsets": "argument"}, OffsetForm.ARGUMENT),
        ({"offsets": "none"}, OffsetForm.NONE),
        ({"offsets": "12"}, OffsetForm.EVENT),
    ],
)
def test_the_form_that_a_client_asks_for(query: dict[str, str], form: OffsetForm) -> None:
    assert offset_form(query) is form
