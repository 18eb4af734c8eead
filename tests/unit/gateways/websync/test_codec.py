import json
from datetime import UTC, datetime

import pytest

from relay.gateways.websync.codec import DeliveryFrame, MembersFrame, WebSyncCodec, now, timestamp
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import BadFrame
from relay.model.events import Failure, Message, PresenceChange, Welcome

ID = MessageId(3, 4)
TIME = datetime(2026, 11, 28, 12, 0, 1, 230_000, UTC)


def message(channel: str = "/chat", to: tuple[str, ...] = ()) -> Message:
    envelope = json.dumps({"channel": channel, "message": {"a": 1}}).encode()
    return Message("r", ID, "bob", to, channel, seal(splice(envelope, "bob"), ID))


def test_a_delivery_up_to_its_sender() -> None:
    frame = WebSyncCodec("/chat", lambda: TIME).encode(message())
    assert isinstance(frame, DeliveryFrame)
    assert (frame.channel, frame.sender, frame.id) == ("/chat", "bob", ID)
    assert frame.data == (
        b'{"channel":"/chat","data":{"a": 1},"timestamp":"2026-11-28T12:00:01.23","ext":{"fm.publishing":'
    )


def test_a_notification() -> None:
    frame = WebSyncCodec("/chat").encode(message("/meta/notify", ("ann",)))
    assert isinstance(frame, DeliveryFrame)
    assert frame.channel == "/meta/notify"
    assert frame.data.endswith(b'"ext":{"fm.notifying":')


def test_events_about_members_are_passed_on_and_others_are_nothing() -> None:
    codec = WebSyncCodec("/chat")
    for event in (Welcome("r", "me", ID, ""), PresenceChange("r", ID)):
        frame = codec.encode(event)
        assert isinstance(frame, MembersFrame)
        assert frame.event is event
    assert codec.encode(Failure("too_fast", "")) is NOTHING


def test_there_are_no_frames_of_clients() -> None:
    with pytest.raises(BadFrame):
        WebSyncCodec("/chat").decode(Frame(b"{}"))


def test_timestamps_have_no_zone() -> None:
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 9_999, UTC)) == b"2026-01-02T03:04:05.00"
    assert now().tzinfo is UTC
