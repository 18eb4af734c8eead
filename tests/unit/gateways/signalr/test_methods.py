from typing import Any

import msgspec
import pytest

from relay.gateways.signalr.messages import read_json, read_packed
from relay.gateways.signalr.methods import HubMethods
from relay.gateways.signalr.settings import SignalRSettings
from relay.model.commands import NO_IDENTITY, AskPresence, Command, Identity, Join, Leave, Publish, Refresh
from relay.model.errors import BadFrame
from tests.unit.gateways.signalr.test_messages import framed

METHODS = HubMethods(SignalRSettings())
MAPPED = HubMethods(SignalRSettings(signalr_methods=("Send", "SendMessage=ReceiveMessage")))


def call(target: str, *arguments: Any, methods: HubMethods = METHODS, **more: Any) -> Command:
    text = msgspec.json.encode({"type": 1, "target": target, "arguments": arguments, "invocationId": "7", **more})
    [message] = read_json(text + b"\x1e")
    return methods.command(message)


def published(target: str, *arguments: Any, methods: HubMethods = METHODS) -> Publish:
    command = call(target, *arguments, methods=methods)
    assert isinstance(command, Publish)
    assert command.key == "7"
    return command


def refusal(target: str, *arguments: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(BadFrame) as refused:
        call(target, *arguments, **more)
    assert refused.value.key == "7"
    return refused.value.code, refused.value.text


@pytest.mark.parametrize("target", ["Send", "send", "SEND"])
def test_an_object_is_an_envelope(target: str) -> None:
    command = published(target, {"channel": "x", "message": 1, "to": ["ann"], "key": "k"})
    assert (command.channel, command.to, command.identity) == ("x", ("ann",), Identity("k"))
    assert msgspec.json.decode(command.envelope) == {"channel": "x", "message": 1, "to": ["ann"], "key": "k"}
    assert published(target, {"message": 1}).identity == NO_IDENTITY


@pytest.mark.parametrize(
    ("argument", "envelope"),
    [
        ('{"message": 1}', b'{"message": 1}'),
        ("hello", b'{"message":"hello"}'),
        ("{hello", b'{"message":"{hello"}'),
        (5, b'{"message":5}'),
        (None, b'{"message":null}'),
        ([1], b'{"message":[1]}'),
        ({"type": "offer"}, b'{"message":{"type":"offer"}}'),
    ],
)
def test_everything_else_becomes_the_message_of_one(argument: Any, envelope: bytes) -> None:
    assert published("Send", argument).envelope == envelope


def test_lone_surrogates_are_replaced() -> None:
    [message] = read_json(b'{"type":1,"target":"Send","arguments":[{"message":"\\ud83d"}],"invocationId":"7"}\x1e')
    command = METHODS.command(message)
    assert isinstance(command, Publish)
    assert msgspec.json.decode(command.envelope) == {"message": "\ufffd"}


def test_other_methods() -> None:
    direct = published("SendTo", "ann", {"message": 1}, "room")
    assert (direct.to, direct.room, direct.envelope) == (("ann",), "room", b'{"message":1}')
    assert published("Send", 1, "other").room == "other"
    assert published("Send", 1, None).room == ""
    join = call("JoinRoom", "other")
    assert isinstance(join, Join)
    assert (join.room, join.key, join.presence, join.can_resume) == ("other", "7", True, False)
    assert call("LeaveRoom") == Leave("", "7")
    assert call("LeaveRoom", "other") == Leave("other", "7")
    assert call("Presence") == AskPresence("", "7")
    assert call("Presence", "other") == AskPresence("other", "7")
    assert call("Refresh", "token") == Refresh("token", "7")


def test_methods_of_the_settings_call_a_client_method() -> None:
    command = published("sendmessage", "ann", {"a": 1}, methods=MAPPED)
    assert command.envelope == b'{"event":"ReceiveMessage","args":["ann",{"a":1}]}'
    assert MAPPED.targets == {"ReceiveMessage"}
    assert METHODS.targets == frozenset()


def test_messagepack_arguments_become_json() -> None:
    [message] = read_packed(framed([1, {}, "7", "Send", [{"message": b"ab"}]]))
    command = METHODS.command(message)
    assert isinstance(command, Publish)
    assert command.envelope == b'{"message":"YWI="}'


@pytest.mark.parametrize(
    ("code", "target", "arguments"),
    [
        ("unknown_method", "Nothing", []),
        ("bad_command", "Send", []),
        ("bad_command", "Send", [1, 2]),
        ("bad_command", "Send", [1, "room", 3]),
        ("bad_command", "SendTo", ["ann"]),
        ("bad_command", "SendTo", [1, 2]),
        ("bad_peer", "SendTo", ["", 2]),
        ("bad_room", "JoinRoom", [".."]),
        ("bad_room", "JoinRoom", ["a b"]),
        ("bad_command", "JoinRoom", [1]),
        ("bad_command", "Refresh", [""]),
        ("bad_envelope", "Send", [{"to": 1}]),
    ],
)
def test_refusals_have_the_id_of_the_invocation(code: str, target: str, arguments: list[Any]) -> None:
    assert refusal(target, *arguments)[0] == code


def test_streams_are_refused() -> None:
    assert refusal("Send", 1, streamIds=["1"])[0] == "streams_unsupported"
