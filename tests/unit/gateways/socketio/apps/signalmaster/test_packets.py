"""The relay's events as SimpleWebRTC gets them."""

import json
from typing import Any

import pytest

from relay.gateways.socketio.apps.application import Acknowledgement, OutgoingPacket
from relay.gateways.socketio.apps.signalmaster.packets import callable_members, callback_error, remove, servers, write
from relay.gateways.socketio.apps.signalmaster.resources import Resources
from relay.model import events
from relay.model.envelope import MessageId, seal, splice
from relay.model.ice import IceOffer, IceServer
from relay.model.rules import RoomRules

ID = MessageId(5, 6)
STUN = IceServer("stun:here:3478")
TURN = IceServer(("turn:here:3478", "turns:here:5349"), "1700000000:ann", "c2VjcmV0")
VIDEO = Resources().as_info()
SCREEN = Resources(screen=True).as_info()


def shown(packet: OutgoingPacket) -> Any:
    """Return a packet as the client reads it: an event as its array, an acknowledgement as number and array."""
    if isinstance(packet, Acknowledgement):
        return packet.number, packet.values
    return [json.loads(part) for part in (packet.name, *packet.arguments)]


def written(event: events.Event) -> list[Any]:
    return [shown(packet) for packet in write(event)]


def message(
    envelope: dict[str, Any], channel: str = "simplewebrtc", to: tuple[str, ...] = ("b%20c",)
) -> events.Message:
    body = seal(splice(json.dumps(envelope).encode(), "ann%2F1"), ID)
    return events.Message("r", ID, "ann%2F1", to, channel, body)


def test_a_message_names_its_sender_and_its_receiver() -> None:
    fields = {"sid": "1", "type": "offer", "payload": {"sdp": "v=0"}}
    expected = fields | {"to": "b c", "from": "ann/1"}
    assert written(message({"channel": "simplewebrtc", "message": fields})) == [["message", expected]]
    forged = fields | {"from": "ben", "to": "ben"}
    assert written(message({"channel": "simplewebrtc", "message": forged})) == [["message", expected]]


def test_a_message_to_all_has_no_receiver() -> None:
    event = message({"channel": "simplewebrtc", "message": {"type": "mute"}}, to=())
    assert written(event) == [["message", {"type": "mute", "from": "ann/1"}]]


@pytest.mark.parametrize(
    ("envelope", "channel"),
    [
        ({"channel": "chat", "message": {"type": "offer"}}, "chat"),
        ({"type": "offer", "channel": "simplewebrtc"}, "simplewebrtc"),
        ({"channel": "simplewebrtc", "message": "offer"}, "simplewebrtc"),
        ({"channel": "simplewebrtc", "message": ["offer"]}, "simplewebrtc"),
        ({"channel": "simplewebrtc", "message": None}, "simplewebrtc"),
        ({"event": "message", "args": [{"type": "offer"}]}, ""),
        ({}, ""),
    ],
)
def test_no_other_envelope_becomes_a_message(envelope: dict[str, Any], channel: str) -> None:
    assert written(message(envelope, channel)) == [["relay", envelope | {"from": "ann%2F1", "id": "5-6"}]]


def test_members_that_left_are_removed() -> None:
    change = events.PresenceChange("r", ID, ("new",), ("ann%2F1", "ben"), (), {"new": VIDEO})
    assert written(change) == [["remove", {"id": "ann/1"}], ["remove", {"id": "ben"}]]


def test_a_newcomer_is_told_of_nobody() -> None:
    assert written(events.PresenceChange("r", ID, ("new",), info={"new": VIDEO})) == []


def test_a_newcomer_calls_the_members_that_have_resources() -> None:
    members = [
        events.Present("me", info=VIDEO),
        events.Present("ann%2F1", info=SCREEN),
        events.Present("native", info=b'{"name":"x"}'),
        events.Present("peerjs"),
        events.Present("lost", held=True, info=VIDEO),
    ]
    roster = events.Roster(len(members), members)
    assert callable_members(events.Welcome("r", "me", ID, "", roster=roster)) == {"ann%2F1": Resources(screen=True)}


def test_without_the_member_list_there_is_nobody_to_call() -> None:
    assert callable_members(events.Welcome("r", "me", ID, "")) == {}


def test_a_refusal_is_the_first_argument_of_the_callback() -> None:
    assert written(events.Failure("room_full", "no", "event", "ack:7")) == [("7", ["full"])]
    assert written(events.Failure("banned", "no", "event", "ack:7")) == [("7", ["banned"])]
    assert [callback_error(code) for code in ("room_full", "room_exists", "banned")] == ["full", "taken", "banned"]


def test_the_callback_of_an_event_that_cannot_be_read_is_not_called() -> None:
    """The library takes each call of it for an answer to its join."""
    expected = [["error", {"code": "bad_event", "text": "why"}]]
    assert written(events.Failure("bad_event", "why", "event", "ack:7")) == expected


def test_an_error_without_a_callback_is_an_event() -> None:
    assert written(events.Failure("too_fast", "why", "event")) == [["error", {"code": "too_fast", "text": "why"}]]


def test_servers_with_and_without_credentials_are_two_events() -> None:
    turn = {"username": TURN.username, "credential": TURN.credential, "urls": list(TURN.urls)}
    expected = [["stunservers", [{"urls": "stun:here:3478"}]], ["turnservers", [turn]]]
    assert written(events.IceRenewed("r", IceOffer([STUN, TURN], 60))) == expected
    assert servers(IceOffer([STUN])) == (("stunservers", [{"urls": "stun:here:3478"}]), ("turnservers", []))
    (_, (_, found)) = servers(IceOffer([IceServer("turn:here", "u", "c")], 60))
    assert found == [{"username": "u", "credential": "c", "urls": ["turn:here"]}]


def test_a_page_keeps_its_own_servers_where_the_relay_has_none() -> None:
    assert servers(None) == ()


def test_a_decision_about_the_room_is_told_as_to_all_clients_of_socketio() -> None:
    ((name, value),) = written(events.RulesChanged("r", ID, RoomRules(locked=True)))
    assert name == "relay:rules"
    assert value["rules"]["locked"] is True


def test_names_are_text_for_the_page() -> None:
    assert remove("a%20b") == ("remove", {"id": "a b"})
    assert remove("c", "screen") == ("remove", {"id": "c", "type": "screen"})


def test_a_page_is_told_that_its_token_ends() -> None:
    assert written(events.TokenExpiring(2.345)) == [["relay:token-expiring", {"in": 2.35}]]


@pytest.mark.parametrize("event", [events.LeftRoom("r"), events.InfoChanged("r", VIDEO), events.Detected("r", True)])
def test_other_events_have_no_packets(event: events.Event) -> None:
    assert written(event) == []
