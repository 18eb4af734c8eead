import json
from typing import Any

import pytest

from relay.gateways.signalrclassic.codec import (
    HubCodec,
    PushFrame,
    RefusalFrame,
    WelcomeFrame,
    begun,
    end_of,
    ended,
    pushed,
)
from relay.gateways.signalrclassic.hubs import ClassicHubs
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Publish
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import GOING_AWAY, KICKED, NORMAL, REPLACED, BadFrame, CloseReason

HUBS = ClassicHubs(["geckoHub.sendToAll:broadcastMessage", "other.say:broadcastMessage"])
ID = MessageId(3, 7)


def codec(*names: str) -> HubCodec:
    return HubCodec(HUBS, HUBS.named(names))


def message(envelope: bytes) -> events.Message:
    return events.Message("room", ID, "alice", (), "", seal(splice(envelope, "alice"), ID))


def calls(one: HubCodec, envelope: bytes) -> Any:
    frame = one.encode(message(envelope))
    assert isinstance(frame, PushFrame)
    assert frame.cursor == "3-7"
    if not frame.item:
        assert frame.data == b""
        return []
    fields = json.loads(frame.data)
    assert fields["C"] == "3-7"
    assert json.loads(b"[%b]" % frame.item) == fields["M"]
    return fields["M"]


def test_pages_for_webrtc_get_the_text_of_each_envelope() -> None:
    text = '{"channel":"c","message":"é \\u2603"}'
    for envelope in (text, '{"event":"chat","args":[1]}', '{"event":{},"args":[1]}'):
        assert calls(codec("webrtchub3"), envelope.encode()) == [
            {"H": "webRtcHub3", "M": "onMessageReceived", "A": [envelope]}
        ]


def test_an_event_is_a_call_of_the_clients_method_that_it_names() -> None:
    wrapped = b'{"event":"onMessageReceived","args":["no JSON"]}'
    assert calls(codec("webrtchub3"), wrapped) == [{"H": "webRtcHub3", "M": "onMessageReceived", "A": ["no JSON"]}]
    envelope = b'{"event":"broadcastMessage","args":["a",{"b":1}]}'
    named = [{"H": hub, "M": "broadcastMessage", "A": ["a", {"b": 1}]} for hub in ("geckoHub", "other")]
    assert calls(codec("webrtchub3", "geckohub", "other"), envelope) == named
    assert calls(codec("geckohub"), envelope) == named[:1]
    # Binary attachments have no form here.
    attached = b'{"event":"broadcastMessage","args":[{"_placeholder":true,"num":0}],"attachments":["AAA="]}'
    assert calls(codec("geckohub"), attached) == []


def test_a_page_gets_nothing_for_hubs_that_it_has_not() -> None:
    assert calls(codec(), b'{"message":1}') == calls(codec("geckohub"), b'{"message":1}') == []
    assert codec().encode(events.Failure("messages_lost", "text")) is NOTHING


def test_codecs_with_the_same_hubs_share_frames() -> None:
    assert codec("other", "webrtchub3").key == codec("webrtchub3", "other").key != codec("webrtchub3").key


@pytest.mark.parametrize("recovered", [None, True, False])
def test_a_welcome_has_the_cursor_and_tells_of_a_loss(recovered: bool | None) -> None:
    frame = codec("webrtchub3").encode(events.Welcome("room", "p", ID, "key", recovered=recovered, reason="trimmed"))
    assert isinstance(frame, WelcomeFrame)
    lost = [{"H": "webRtcHub3", "M": "onMessagesLost", "A": [{"reason": "trimmed"}]}] if recovered is False else []
    assert json.loads(frame.data) == {"C": "3-7", "M": lost}
    assert json.loads(frame.first.data) == {"C": "3-7", "S": 1, "M": lost}


def test_a_refused_join_ends_a_client_unless_it_may_come_back() -> None:
    frame = codec().encode(events.Failure("token_required", "send one", "join"))
    assert isinstance(frame, RefusalFrame)
    assert json.loads(frame.data) == {"E": "token_required: send one", "M": []}
    assert codec().encode(events.Failure("bad_room", "x", "join")).data
    for code, momentary in {"unavailable": True, "superseded": True, "room_full": False, "peer_taken": False}.items():
        frame = codec().encode(events.Failure(code, "later", "join"))
        assert isinstance(frame, RefusalFrame)
        assert (frame.data == b"") is momentary
        # A client that polls tries again after an HTTP error.
        assert (frame.error is None) is (code == "peer_taken")


def test_results_errors_and_losses() -> None:
    one = codec("geckohub")
    assert one.encode(events.Ack("room", ID, "0")).data == b'{"I":"0"}'
    error = one.encode(events.Failure("too_fast", "slower", "envelope", "1"))
    assert isinstance(error, PushFrame)
    assert json.loads(error.data) == {"I": "1", "E": "slower", "H": True, "D": {"code": "too_fast"}}
    assert (error.item, error.cursor) == (error.data, "")
    lost = one.encode(events.Failure("messages_lost", "text", detail={"reason": "epoch"}))
    assert json.loads(lost.data) == {"M": [{"H": "geckoHub", "M": "onMessagesLost", "A": [{"reason": "epoch"}]}]}
    assert one.encode(events.LeftRoom("room")) is NOTHING


def test_calls_are_decoded_and_binary_frames_refused() -> None:
    command = codec().decode(Frame(b'{"H":"webrtchub3","M":"send","A":["{}"],"I":0}'))
    assert isinstance(command, Publish)
    with pytest.raises(BadFrame, match="binary_frame"):
        codec().decode(Frame(b"{}", is_text=False))


@pytest.mark.parametrize(("reason", "ends"), [(KICKED, True), (GOING_AWAY, False), (NORMAL, False), (REPLACED, False)])
def test_only_an_end_for_good_is_told(reason: CloseReason, ends: bool) -> None:
    assert end_of(reason) == (ended(f"{reason.name}: {reason.text}") if ends else b"")


def test_frames() -> None:
    assert pushed("1-2", b"{}") == b'{"C":"1-2","M":[{}]}'
    assert begun("1-2") == b'{"C":"1-2","S":1,"M":[]}'
    assert ended('"') == b'{"E":"\\"","M":[]}'
