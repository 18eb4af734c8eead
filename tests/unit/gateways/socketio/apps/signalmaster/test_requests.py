"""Each event of SimpleWebRTC as a request, and bad input for each."""

import json
from typing import Any

import pytest

from relay.gateways.socketio.apps.signalmaster.requests import (
    EnterRoom,
    LeaveRoom,
    NewToken,
    Request,
    SendEnvelope,
    SendMessage,
    ShareScreen,
    Trace,
    read_request,
)
from relay.gateways.socketio.codec import incoming_event
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.commands import Identity, Publish
from relay.model.errors import Refused

WRONG: list[Any] = [None, 7, True, {}, ["ben"], []]


def emitted(*values: Any, number: str = "", attachments: tuple[bytes, ...] = ()) -> IncomingEvent:
    return incoming_event([json.dumps(value).encode() for value in values], number, attachments)


def sent(event: IncomingEvent) -> Publish:
    request = read_request(event)
    assert isinstance(request, SendMessage | SendEnvelope)
    return request.command


def code(event: IncomingEvent) -> str:
    with pytest.raises(Refused) as caught:
        read_request(event)
    return caught.value.code


@pytest.mark.parametrize(
    ("event", "request_"),
    [
        (emitted("join", "r", number="0"), EnterRoom("r")),
        (emitted("join", "main hall/2", number="12"), EnterRoom("main%20hall%2F2")),
        (emitted("join", "r"), EnterRoom("r")),
        (emitted("join", "r", "more", number="1"), EnterRoom("r")),
        (emitted("create", "r", number="3"), EnterRoom("r", creates=True)),
        (emitted("create", "r"), EnterRoom("r", creates=True)),
        (emitted("create", number="3"), EnterRoom("", creates=True)),
        (emitted("create", "", number="3"), EnterRoom("", creates=True)),
        (emitted("create", None, number="3"), EnterRoom("", creates=True)),
        (emitted("leave"), LeaveRoom()),
        (emitted("leave", {"more": 1}, number="4"), LeaveRoom()),
        (emitted("shareScreen"), ShareScreen(shared=True)),
        (emitted("unshareScreen"), ShareScreen(shared=False)),
        (emitted("trace", {"type": "x", "session": "y"}), Trace()),
        (emitted("trace"), Trace()),
        (emitted("relay:refresh", "token"), NewToken("token")),
    ],
)
def test_an_event_is_a_request(event: IncomingEvent, request_: Request) -> None:
    assert read_request(event) == request_


def test_a_message_goes_to_one_member_without_its_sender() -> None:
    fields = {"sid": "1448000000000", "roomType": "video", "type": "offer", "payload": {"sdp": "v=0"}, "prefix": "x"}
    command = sent(emitted("message", fields | {"to": "ben", "from": "somebody else"}))
    assert (command.to, command.channel, command.key) == (("ben",), "simplewebrtc", "")
    assert json.loads(command.envelope) == {"channel": "simplewebrtc", "message": fields}


def test_the_data_of_a_message_is_not_changed() -> None:
    data = b'{"to":"a b","payload": [1.0, 1e3, "\\u00e9", 12345678901234567890]}'
    command = sent(incoming_event([b'"message"', data], "", ()))
    assert command.to == ("a%20b",)
    assert b'[1.0, 1e3, "\\u00e9", 12345678901234567890]' in command.envelope


@pytest.mark.parametrize("value", [*WRONG, "text", {"to": 7}, {"to": None}, {"to": ""}, {"to": ["ben"]}, {"to": "\n"}])
def test_a_message_without_a_receiver_is_refused(value: Any) -> None:
    assert code(emitted("message", value)) == "bad_event"


def test_a_message_without_an_argument_or_with_two_is_refused() -> None:
    assert code(emitted("message")) == "bad_event"
    assert code(emitted("message", {"to": "ben"}, {"to": "ben"})) == "bad_event"


@pytest.mark.parametrize("name", ["join", "create"])
@pytest.mark.parametrize("value", [7, True, {}, {"name": "r"}, ["r"], []])
def test_a_name_that_is_no_text_is_refused(name: str, value: Any) -> None:
    assert code(emitted(name, value, number="5")) == "bad_event"


def test_a_join_without_a_name_is_refused() -> None:
    assert code(emitted("join", number="5")) == "bad_event"
    assert code(emitted("join", None, number="5")) == "bad_event"


@pytest.mark.parametrize("event", ["join", "create"])
@pytest.mark.parametrize("name", ["a\nb", ".", "x" * 256, "x" * 1_000_000])
def test_a_text_that_names_no_room_is_refused(event: str, name: str) -> None:
    assert code(emitted(event, name, number="5")) == "bad_room"


def test_the_empty_name_is_one_for_create_alone() -> None:
    assert code(emitted("join", "", number="5")) == "bad_room"


@pytest.mark.parametrize("name", ["chat", "constructor", "__proto__", "remove", "stunservers", "relay:kick", 7])
def test_other_events_are_refused(name: str | int) -> None:
    assert code(emitted(name, "x", number="5")) == "bad_event"


@pytest.mark.parametrize("name", ["join", "create", "message", "relay"])
def test_binary_data_is_refused(name: str) -> None:
    assert code(emitted(name, {"_placeholder": True, "num": 0}, attachments=(b"x",))) == "bad_event"


def test_data_that_nests_too_deep_is_refused() -> None:
    deep = b"[" * 255 + b"]" * 255
    assert code(incoming_event([b'"message"', b'{"to":"ben","payload":%b}' % deep], "", ())) == "bad_json"


@pytest.mark.parametrize("value", [None, 7, "", [], {}])
def test_a_token_that_is_no_text_is_refused(value: Any) -> None:
    assert code(emitted("relay:refresh", value)) == "bad_event"


def test_an_envelope_for_members_of_other_protocols() -> None:
    command = sent(emitted("relay", {"channel": "chat", "message": "hi", "to": "ann", "key": "k"}, number="6"))
    assert (command.to, command.channel, command.key, command.identity) == (("ann",), "chat", "", Identity("k"))
    assert sent(emitted("relay", {"message": 1})).identity == Identity()


@pytest.mark.parametrize("value", [None, 7, True, "text", [1], {"type": "leave"}, {"from": "ann"}, {"to": 7}])
def test_any_other_value_is_no_envelope(value: Any) -> None:
    assert code(emitted("relay", value)) in {"bad_envelope", "reserved_field"}
