"""Events in envelopes, as all applications write and read them."""

import pytest

from relay.gateways.socketio.apps.wrapped_events import read_wrapped, wrap
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame


def test_an_event_is_read_as_it_was_wrapped() -> None:
    event = IncomingEvent("chat", [b'"hello"', b'{"_placeholder":true,"num":0}'], attachments=[b"\x00\xff"])
    envelope = wrap(event, 1000, "")
    assert envelope.startswith(b'{"event":"chat","args":["hello",')
    position = "r", MessageId(1, 2)
    found = read_wrapped(envelope, (), position)
    assert found == OutgoingEvent(b'"chat"', [b'"hello"', b'{"_placeholder":true,"num":0}'], [b"\x00\xff"], position)


@pytest.mark.parametrize(
    "envelope", [b'{"event":"hidden","args":[]}', b'{"event":1.5,"args":[]}', b'{"event":"x"}', b"[]", b'{"message":1}']
)
def test_hidden_events_and_other_envelopes_are_none(envelope: bytes) -> None:
    assert read_wrapped(envelope, {"hidden"}) is None


def test_an_event_that_is_too_large_or_too_deep_is_refused_with_its_key() -> None:
    for event in (IncomingEvent("x", [b"0"], attachments=[b"x" * 2000]), IncomingEvent("x", [b"[" * 300 + b"]" * 300])):
        with pytest.raises(BadFrame) as refused:
            wrap(event, 1000, "ack:1")
        assert refused.value.key == "ack:1"
