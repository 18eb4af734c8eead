import json
from typing import Any

import msgspec
import pytest

from relay.gateways.signalr.codec import IGNORED, RoomEventFrame, codecs_of
from relay.gateways.signalr.messages import read_json
from relay.gateways.signalr.protocols import PACKED_PROTOCOL
from relay.gateways.signalr.settings import SignalRSettings
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import BadFrame
from relay.model.events import Present, Roster
from relay.model.ice import IceOffer
from relay.model.rules import RoomRules

CODECS = codecs_of(SignalRSettings(signalr_methods=("Send", "SendMessage=ReceiveMessage")))
JSON, TAGGED, PACKED = CODECS["json"].own, CODECS["json"].tagged, CODECS["messagepack"].own
ID = MessageId(17, 4)


def message(envelope: bytes) -> events.Message:
    return events.Message("room", ID, "ann", (), "", seal(splice(envelope, "ann"), ID))


def told(event: events.Event, codec: Any = JSON) -> list[dict[str, Any]]:
    data = codec.encode(event).data
    return [json.loads(record) for record in data.split(b"\x1e")[:-1]]


def called(event: events.Event, codec: Any = JSON) -> list[tuple[str, list[Any]]]:
    return [(one["target"], one["arguments"]) for one in told(event, codec)]


def test_a_message_calls_the_client_with_its_envelope() -> None:
    frame = JSON.encode(message(b'{"message": "h"}'))
    assert isinstance(frame, RoomEventFrame)
    assert frame.id == ID
    assert frame.data == (
        b'{"type":1,"target":"onMessageReceived","arguments":[{"message": "h","from":"ann","id":"17-4"}]}\x1e'
    )
    assert not isinstance(TAGGED.encode(message(b"{}")), RoomEventFrame)
    assert called(message(b"{}"), TAGGED) == [("onMessageReceived", [{"from": "ann", "id": "17-4", "room": "room"}])]


def test_a_message_in_messagepack() -> None:
    frame = PACKED.encode(message(b'{"message":1}'))
    assert not frame.is_text
    assert frame.data[0] == len(frame.data) - 1
    arguments = [{"message": 1, "from": "ann", "id": "17-4"}]
    assert msgspec.msgpack.decode(frame.data[1:]) == [1, {}, None, "onMessageReceived", arguments, []]


def test_a_frame_is_made_once_for_each_protocol() -> None:
    assert len({codec.key for pair in CODECS.values() for codec in (pair.own, pair.tagged)}) == 4


def test_client_methods_of_the_settings_are_called_and_no_others() -> None:
    assert called(message(b'{"event":"ReceiveMessage","args":["a",{"b":1}]}')) == [("ReceiveMessage", ["a", {"b": 1}])]
    for envelope in (b'{"event":"joined","args":[]}', b'{"event":"ReceiveMessage"}', b'{"event":1,"args":[]}'):
        assert called(message(envelope))[0][0] == "onMessageReceived"


def test_presence() -> None:
    change = events.PresenceChange("room", ID, ["ann"], ["ben"], ["cat"], {"ann": b'{"a":1}', "cat": b""})
    assert called(change) == [
        ("joined", ["ann", "room", {"a": 1}]),
        ("left", ["ben", "room"]),
        ("changed", ["cat", "room", None]),
    ]
    assert isinstance(JSON.encode(change), RoomEventFrame)
    roster = Roster(1, [Present("ann", held=True)], ID)
    members = {"room": "room", "members": [{"peer": "ann", "held": True}], "count": 1, "present": True, "id": "17-4"}
    assert told(events.PresenceList("room", roster, "7")) == [{"type": 3, "invocationId": "7", "result": members}]
    assert called(events.PresenceList("room", roster)) == [("presence", [members])]


def test_answers() -> None:
    assert told(events.Ack("room", ID, "7")) == [{"type": 3, "invocationId": "7", "result": {"id": "17-4"}}]
    assert told(events.LeftRoom("room", "7")) == [{"type": 3, "invocationId": "7"}]
    assert told(events.Refreshed(5.0, "7")) == [{"type": 3, "invocationId": "7", "result": {"expires": 5.0}}]
    assert JSON.encode(events.LeftRoom("room")) is NOTHING
    assert JSON.encode(events.Recovered("room", ID, 1)) is NOTHING
    joined = told(events.Welcome("room", "ann", ID, "secret", roster=Roster(0), key="7"), TAGGED)[0]
    assert joined["result"]["peer"] == "ann"
    assert "resume" not in joined["result"]


def test_failures() -> None:
    failure = events.Failure("too_fast", "slowly", "envelope", "7", "room")
    assert told(failure) == [{"type": 3, "invocationId": "7", "error": "too_fast: slowly"}]
    lost = events.Failure("messages_lost", "gone", room="room", detail={"reason": "trimmed"})
    assert called(lost) == [("error", [{"code": "messages_lost", "text": "gone", "reason": "trimmed"}])]
    assert called(lost, TAGGED)[0][1][0]["room"] == "room"


def test_the_welcome_accepts_the_handshake() -> None:
    assert JSON.encode(events.Welcome("room", "ann", ID, "secret")).data == b"{}\x1e"
    assert PACKED.encode(events.Welcome("room", "ann", ID, "secret")).data == b"{}\x1e"
    ice = IceOffer([{"urls": "stun:a"}], 1.0)
    welcome = events.Welcome("room", "ann", ID, "secret", recovered=False, reason="trimmed", ice=ice)
    first, servers, error = told(welcome)
    assert first == {}
    assert (servers["target"], servers["arguments"]) == ("iceServers", [[{"urls": "stun:a"}]])
    assert error["arguments"][0]["reason"] == "trimmed"
    assert called(events.IceRenewed("room", ice)) == [("iceServers", [[{"urls": "stun:a"}]])]


@pytest.mark.parametrize("count", [0, 15, 16, 300, 70_000])
def test_a_call_has_any_number_of_arguments(count: int) -> None:
    data = PACKED_PROTOCOL.invocation("f", [b"1"] * count)
    # The message is behind its length, of which each byte but the last one has its highest bit set.
    start = next(place for place, byte in enumerate(data, 1) if byte < 1 << 7)
    assert msgspec.msgpack.decode(data[start:]) == [1, {}, None, "f", [1] * count, []]


def test_only_the_first_welcome_accepts_a_handshake() -> None:
    for codecs in CODECS.values():
        assert codecs.later.key == codecs.own.key
        assert codecs.later.encode(events.Welcome("room", "ann", ID, "secret")) is NOTHING
        lost = events.Welcome("room", "ann", ID, "secret", recovered=False, reason="trimmed")
        assert codecs.later.encode(lost).data == codecs.own.encode(lost).data.removeprefix(b"{}\x1e")


def test_notices() -> None:
    assert called(events.TokenExpiring(5.123)) == [("tokenExpiring", [5.12])]
    assert called(events.Refreshed(None)) == [("refreshed", [{}])]
    assert called(events.Kicked("room", ID, "ann"))[0][1][0]["type"] == "kicked"
    assert called(events.RulesChanged("room", ID, RoomRules()))[0][0] == "roomEvent"


def test_frames_that_are_ignored_or_refused() -> None:
    assert JSON.decode(read_json(b'{"type":6}\x1e')[0]) is IGNORED
    assert JSON.decode(read_json(b'{"type":2,"invocationId":"0","item":1}\x1e')[0]) is IGNORED
    stream = read_json(b'{"type":4,"target":"Count","arguments":[],"invocationId":"7"}\x1e')[0]
    with pytest.raises(BadFrame) as refused:
        JSON.decode(stream)
    assert (refused.value.code, refused.value.key) == ("streams_unsupported", "7")
    with pytest.raises(BadFrame):
        JSON.decode(Frame(b"{}"))
