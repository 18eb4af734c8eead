"""Reply keys, and another application than the relay's own: SignalMaster's, as far as it needs the seam."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from relay.gateways.socketio.apps.application import Acknowledgement, OutgoingPacket, ReplyTo, reply_to
from relay.gateways.socketio.codec import SocketIOCodec, incoming_event
from relay.gateways.socketio.encoders import ModernEncoder, OutgoingEvent
from relay.gateways.socketio.offsets import OffsetForm
from relay.gateways.socketio.parser import IncomingEvent
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command, Leave, Move, Publish
from relay.model.envelope import MessageId, seal, splice

ID = MessageId(5, 6)


@pytest.mark.parametrize("key", [ReplyTo("join", "7"), ReplyTo("ack", "")])
def test_a_reply_key_is_read_as_it_was_written(key: ReplyTo) -> None:
    assert reply_to(key.key) == key


@pytest.mark.parametrize("key", ["", "join", "ann.secret.5-6", "join:4.secret.5-6", "Join:4", "join:x"])
def test_other_keys_are_of_no_packet(key: str) -> None:
    assert reply_to(key) is None


class SignalMaster:
    """Servers unasked on connect, members with their info in the answer to a join, `remove` for members that leave."""

    key = "signalmaster"

    def command(self, event: IncomingEvent) -> Command:
        if event.name == "join":
            return Move(msgspec.json.decode(event.data), ReplyTo("join", event.id).key)
        if event.name == "message":
            fields = msgspec.json.decode(event.data)
            peer = fields.pop("to")
            return Publish(msgspec.json.encode({"channel": "simplewebrtc", "message": fields}), (peer,), "simplewebrtc")
        return Leave()

    def packets(self, event: events.Event) -> Sequence[OutgoingPacket]:
        match event:
            case events.Welcome():
                return self._welcome(event)
            case events.Message():
                fields = json.loads(event.envelope)["message"] | {"from": event.sender}
                return [self._event("message", fields)]
            case events.PresenceChange():
                return [self._event("remove", {"id": peer}) for peer in event.left]
            case events.Failure():
                asked = reply_to(event.key)
                return [Acknowledgement(asked.number, ["full"])] if asked and event.code == "room_full" else []
        return []

    def _welcome(self, welcome: events.Welcome) -> Sequence[OutgoingPacket]:
        asked = reply_to(welcome.key)
        if asked is None:
            return [self._event("stunservers", [{"urls": "stun:here"}]), self._event("turnservers", [])]
        members = welcome.roster.members if welcome.roster else ()
        clients = {one.peer: json.loads(one.info) for one in members if one.peer != welcome.peer}
        return [Acknowledgement(asked.number, [None, {"clients": clients}])]

    def _event(self, name: str, *values: Any) -> OutgoingEvent:
        return OutgoingEvent(msgspec.json.encode(name), [msgspec.json.encode(value) for value in values])


CODEC = SocketIOCodec(ModernEncoder(3, "/"), "3", SignalMaster(), home="r", form=OffsetForm.NONE)


def texts(frame: Frame) -> list[str]:
    return [part.text for part in frame.parts]


def emitted(*values: Any, number: str = "") -> IncomingEvent:
    return incoming_event([json.dumps(value).encode() for value in values], number, ())


def test_events_come_unasked_after_the_connect_packet() -> None:
    connected = CODEC.encode(events.Welcome("r", "ann", ID, "secret"))
    assert texts(connected) == ["40", '42["stunservers",[{"urls":"stun:here"}]]', '42["turnservers",[]]']


def test_an_acknowledgement_has_the_arguments_that_the_application_says() -> None:
    command = CODEC.decode(emitted("join", "r2", number="7"))
    assert command == Move("r2", "join:7")
    info = b'{"screen":false}'
    members = [events.Present("ann", info=info), events.Present("ben", info=info)]
    welcome = events.Welcome("r2", "ann", ID, "", roster=events.Roster(2, members), key="join:7")
    assert texts(CODEC.encode(welcome)) == ['437[null,{"clients":{"ben":{"screen":false}}}]']
    assert texts(CODEC.encode(events.Failure("room_full", "no", "move", "join:7"))) == ['437["full"]']


def test_messages_are_directed_and_name_their_sender() -> None:
    command = CODEC.decode(emitted("message", {"to": "ben", "type": "offer"}))
    assert isinstance(command, Publish)
    assert command.to == ("ben",)
    body = seal(splice(command.envelope, "ann"), ID)
    message = events.Message("r", ID, "ann", ("ben",), "simplewebrtc", body)
    assert texts(CODEC.encode(message)) == ['42["message",{"type":"offer","from":"ann"}]']


def test_an_event_of_the_relay_may_be_several_packets_or_none() -> None:
    left = events.PresenceChange("r", ID, left=("ann", "ben"))
    assert texts(CODEC.encode(left)) == ['42["remove",{"id":"ann"}]', '42["remove",{"id":"ben"}]']
    assert CODEC.encode(events.PresenceChange("r", ID)) is NOTHING
    assert CODEC.encode(events.Ack("r", ID, "")) is NOTHING


def test_clients_of_different_applications_share_no_frames() -> None:
    assert CODEC.key.endswith("signalmaster")
