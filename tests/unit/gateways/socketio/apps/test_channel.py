"""The application of channels: data without its envelope, and the names of users."""

import json
from typing import Any

import pytest

from relay.gateways.socketio.apps.channel import ChannelApplication, data_of, is_channel, user_left, user_of
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.commands import Detect, Publish
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import BadFrame
from relay.model.events import Detected, Message

APPLICATION = ChannelApplication("a channel", RelayApplication(allowed={"*"}, max_size=1000, offsets=False))


def emitted(name: str, *arguments: Any, number: str = "") -> IncomingEvent:
    return IncomingEvent(name, [json.dumps(one).encode() for one in arguments], number)


def heard(envelope: str) -> tuple[str, list[Any]]:
    message_id = MessageId(1, 2)
    body = seal(splice(envelope.encode(), "ann"), message_id)
    [packet] = APPLICATION.packets(Message("room", message_id, "ann", (), "", body))
    assert isinstance(packet, OutgoingEvent)
    return json.loads(packet.name), [json.loads(one) for one in packet.arguments]


def test_the_data_of_a_message_is_published_as_the_message_of_the_channel() -> None:
    command = APPLICATION.command(emitted("message", {"sender": 7, "data": {"sdp": "é"}}, number="3"))
    assert isinstance(command, Publish)
    assert json.loads(command.envelope) == {"channel": "a channel", "message": {"sdp": "é"}}
    assert (command.channel, command.key) == ("a channel", "ack:3")


def test_other_events_are_those_of_the_relays_own_application() -> None:
    for event in (emitted("message", {"data": 1}), emitted("message", "text"), emitted("message", {}, {}),
                  emitted("offer", {"sender": 1, "data": 2})):  # fmt: skip
        command = APPLICATION.command(event)
        assert isinstance(command, Publish)
        assert json.loads(command.envelope)["event"] == event.name
    assert isinstance(APPLICATION.command(emitted("presence", "x")), Detect)


def test_data_that_nests_too_deep_is_refused() -> None:
    deep = b'{"sender":1,"data":' + b"[" * 256 + b"]" * 256 + b"}"
    with pytest.raises(BadFrame, match="bad_json"):
        APPLICATION.command(IncomingEvent("message", [deep]))


def test_a_page_gets_the_message_of_an_envelope_alone() -> None:
    assert heard('{"channel":"c","message":{"sdp":"x"}}') == ("message", [{"sdp": "x"}])
    assert heard('{"message":null}') == ("message", [None])
    assert heard('{"event":"user-left","args":["ann"]}') == ("user-left", ["ann"])
    assert heard('{"n":1}') == ("message", [{"n": 1}])
    [packet] = APPLICATION.packets(Detected("room", present=True, key=""))
    assert isinstance(packet, OutgoingEvent)
    assert packet.name == b'"presence"'


def test_only_a_message_has_data() -> None:
    assert data_of(emitted("message", {"sender": None, "data": None})) == b"null"
    assert data_of(IncomingEvent("message", [b'{"sender":1,"data":2}'], "", [b"binary"])) is None
    assert data_of(IncomingEvent("", [b"["], too_deep=True)) is None


@pytest.mark.parametrize(
    ("data", "user"),
    [
        ({"sender": "ann"}, b'"ann"'),
        ({"sender": 7}, b"7"),
        ({"sender": ""}, b""),
        ({"sender": 0}, b""),
        ({"sender": None}, b""),
        ({"sender": "x" * 2000}, b""),
        ({"n": 1}, b""),
        ("text", b""),
        ([1], b""),
    ],
)
def test_the_name_of_a_user(data: Any, user: bytes) -> None:
    assert user_of(json.dumps(data).encode()) == user


def test_the_others_are_told_that_a_user_has_left() -> None:
    assert json.loads(user_left(b'"ann"').envelope) == {"event": "user-left", "args": ["ann"]}


CHANNELS = ("/c", "/a/b", "/a%20b")
NO_CHANNELS = ("/", "/rooms", "/rooms/a", "c", "//", "", "/" + "x" * 3000)


@pytest.mark.parametrize("namespace", [*CHANNELS, *NO_CHANNELS])
def test_which_namespaces_are_channels(namespace: str) -> None:
    assert is_channel(namespace) is (namespace in CHANNELS)
