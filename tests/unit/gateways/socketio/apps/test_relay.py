"""The event table of the relay's own application; `test_codec` has the packets that become of it."""

import json
from typing import Any

import pytest

from relay.gateways.socketio.apps.application import Acknowledgement
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.codec import incoming_event
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model import events
from relay.model.commands import NO_IDENTITY, Detect, Move, Publish, Refresh
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import BadFrame
from relay.model.ice import IceOffer, IceServer

ID = MessageId(5, 6)


def application(**options: Any) -> RelayApplication:
    return RelayApplication(**{"allowed": {"*"}, "max_size": 1000, "offsets": True} | options)


def emitted(*values: Any, number: str = "") -> IncomingEvent:
    return incoming_event([json.dumps(value).encode() for value in values], number, ())


def message(envelope: bytes) -> events.Message:
    return events.Message("r", ID, "ann", (), "", seal(splice(envelope, "ann"), ID))


@pytest.mark.parametrize(
    ("values", "number", "command"),
    [
        (["join", "a b"], "7", Move("a%20b", "join:7")),
        (["join", 42], "", Move("42", "join:")),
        (["presence", "a b"], "7", Detect("a b", key="ack:7")),
        (["relay:refresh", "a.b.c"], "7", Refresh("a.b.c", "ack:7")),
        (["relay:refresh", "a.b.c"], "", Refresh("a.b.c")),
        (["message", {"channel": "c"}], "", Publish(b'{"channel": "c"}', (), "c", identity=NO_IDENTITY)),
        (["offer", 1], "7", Publish(b'{"event":"offer","args":[1]}', key="ack:7", identity=NO_IDENTITY)),
    ],
)
def test_events_in(values: list[Any], number: str, command: object) -> None:
    assert application().command(emitted(*values, number=number)) == command


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["join", None], "bad_event"),
        (["join", ""], "bad_room"),
        (["error"], "reserved_event"),
        (["relay:refreshed"], "reserved_event"),
        (["relay:token-expiring"], "reserved_event"),
        # A token is never relayed to the room, however it comes.
        (["relay:refresh"], "bad_event"),
        (["relay:refresh", ""], "bad_event"),
        (["relay:refresh", "a.b.c", 1], "bad_event"),
        (["relay:refresh", {"token": "a.b.c"}], "bad_event"),
    ],
)
def test_refused_events_name_the_packet(values: list[Any], code: str) -> None:
    with pytest.raises(BadFrame) as refused:
        application().command(emitted(*values, number="7"))
    assert (refused.value.code, refused.value.key) == (code, "ack:7")


def test_an_event_that_nests_too_deep_is_refused_unread() -> None:
    with pytest.raises(BadFrame, match="bad_json"):
        application().command(IncomingEvent("", [b"[]"], "7", too_deep=True))


def test_a_message_is_an_event_with_its_position() -> None:
    [event] = application().packets(message(b'{"event":"offer","args":[1,"x"]}'))
    assert (event.name, event.arguments, event.position) == (b'"offer"', [b"1", b'"x"'], ("r", ID))
    [other] = application().packets(message(b'{"a":1}'))
    assert (other.name, other.arguments, other.position) == (b'"message"', [b'{"a":1}'], ("r", ID))


def test_placeholders_are_written_as_javascript_does() -> None:
    text = b'{"event":"offer","args":[{"num": 0, "_placeholder": true}],"attachments":["AA=="]}'
    [event] = application().packets(message(text))
    assert (event.arguments, event.attachments) == ([b'{"_placeholder":true,"num":0}'], [b"\0"])


def test_answers_are_acknowledgements() -> None:
    assert application().packets(events.Ack("r", ID, "ack:7")) == (Acknowledgement("7", [{"id": "5-6"}]),)
    presence, answer = application().packets(events.Detected("r", True, "ack:7"))
    assert (presence.arguments, answer) == ([b"true"], Acknowledgement("7", [True]))
    refused = events.Failure("not_joined", "no", "move", "join:7", "a%20b", {"room": "a%20b"})
    error = {"code": "not_joined", "text": "no", "room": "a b"}
    assert application().packets(refused) == (Acknowledgement("7", [{"error": error}]),)


def test_a_new_position_is_an_event_of_its_own() -> None:
    moved = events.Welcome("r", "ann", ID, "", key="join:7")
    answer, joined = application().packets(moved)
    assert answer == Acknowledgement("7", [{"room": "r", "id": "5-6"}])
    assert (joined.name, joined.position) == (b'"relay:joined"', ("r", ID))
    assert application(offsets=False).packets(moved) == [answer]
    assert application().packets(events.Welcome("r", "ann", ID, "secret")) == []


def test_servers_for_webrtc_come_when_a_client_connects_and_when_they_are_renewed() -> None:
    offer = IceOffer((IceServer("turn:t.example", "1400:ann", "mac"),), 400)
    servers = {"iceServers": [{"urls": "turn:t.example", "username": "1400:ann", "credential": "mac"}], "ttl": 400}
    for event in (events.Welcome("r", "ann", ID, "secret", ice=offer), events.IceRenewed("r", offer)):
        (packet,) = application().packets(event)
        assert isinstance(packet, OutgoingEvent)
        assert (packet.name, packet.position) == (b'"relay:ice"', None)
        assert json.loads(packet.arguments[0]) == servers
    moved = application().packets(events.Welcome("r", "ann", ID, "", key="join:", ice=offer))
    assert [packet.name for packet in moved if isinstance(packet, OutgoingEvent)] == [b'"relay:joined"']
    with pytest.raises(BadFrame, match="reserved_event"):
        application().command(emitted("relay:ice", 1))


def test_an_event_without_a_row_has_no_packets() -> None:
    assert application().packets(events.PresenceChange("r", ID, joined=("ann",))) == ()


def test_the_end_of_a_token_is_an_event_and_a_newer_one_is_acknowledged() -> None:
    [event] = application().packets(events.TokenExpiring(29.96))
    assert (event.name, event.arguments) == (b'"relay:token-expiring"', [b'{"in":29.96}'])
    assert application().packets(events.Refreshed(5.5, "ack:7")) == (Acknowledgement("7", [{"expires": 5.5}]),)
    [event] = application().packets(events.Refreshed(None))
    assert (event.name, event.arguments) == (b'"relay:refreshed"', [b"{}"])
