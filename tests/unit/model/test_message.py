"""Messages as values, and the envelope of one, as its sender wrote it."""

import pytest

from relay.model.envelope import MessageId, seal, splice
from relay.model.message import Message, TreeMessage


def test_the_envelope_of_a_message_is_as_its_sender_wrote_it_and_is_made_once() -> None:
    body = seal(splice(b'{"a":"from"}', "ann"), MessageId(5, 6))
    message = Message("room", MessageId(5, 6), "ann", (), "", body)
    assert message.envelope == b'{"a":"from"}'
    assert message.envelope is message.envelope
    assert message == Message("room", MessageId(5, 6), "ann", (), "", body)


def test_messages_are_equal_if_all_that_they_say_is() -> None:
    parts = ("room", MessageId(1, 2), "a", (), "", b"{")
    message, same = Message(*parts), Message(*parts)
    assert message == same
    assert hash(message) == hash(same)
    assert message != Message("other", *parts[1:])
    assert message != TreeMessage(*parts)
    assert message != parts


def test_a_message_shows_what_it_says() -> None:
    message = TreeMessage("room", MessageId(1, 2), "a", ("b",), "c", b"{")
    assert repr(message).startswith("TreeMessage(")
    assert "'room'" in repr(message)
    with pytest.raises(AttributeError):
        message.other = 1  # type: ignore[attr-defined]
