"""Events: the envelope of a message, as its sender wrote it."""

from relay.model.envelope import MessageId, seal, splice
from relay.model.events import Message


def test_the_envelope_of_a_message_is_as_its_sender_wrote_it_and_is_made_once() -> None:
    body = seal(splice(b'{"a":"from"}', "ann"), MessageId(5, 6))
    message = Message("room", MessageId(5, 6), "ann", (), "", body)
    assert message.envelope == b'{"a":"from"}'
    assert message.envelope is message.envelope
    assert message == Message("room", MessageId(5, 6), "ann", (), "", body)
