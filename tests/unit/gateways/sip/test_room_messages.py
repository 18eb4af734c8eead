"""Text between SIP clients and the members of all protocols."""

import pytest

from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.message import SipRequest, read_message
from relay.gateways.sip.room_messages import answers_room, check_text, read_text, write_text
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame
from relay.model.events import Message
from tests.sip_client import SipAgent


def message(body: str, kind: str = "application/json; charset=utf-8") -> SipRequest:
    found = read_message(SipAgent("alice").request("MESSAGE", "sip:room@x", body=body, kind=kind).encode())
    assert isinstance(found, SipRequest)
    return found


def test_text_is_the_message_and_json_the_envelope() -> None:
    assert read_text(message('a "b" ☃', "text/plain")).envelope == '{"message":"a \\"b\\" ☃"}'.encode()
    found = read_text(message('{"channel":"c","message":1}'))
    assert (found.envelope, found.channel, found.to) == (b'{"channel":"c","message":1}', "c", ())


def test_a_receiver() -> None:
    found = read_text(message('{"message":1}'), "bob")
    assert (found.envelope, found.to) == (b'{"to":"bob","message":1}', ("bob",))
    assert read_text(message(" {} "), "bob").envelope == b'{"to":"bob"}'
    assert read_text(message("hello", "text/plain"), "bob").to == ("bob",)
    with pytest.raises(BadFrame):
        read_text(message('{"to":"eve"}'), "bob")


@pytest.mark.parametrize("body", ["no JSON", "[]", '"text"', '{"type":"join"}', '{"from":"eve"}', "[" * 300])
def test_bodies_that_are_no_envelope(body: str) -> None:
    for to in ("", "bob"):
        with pytest.raises(BadFrame):
            read_text(message(body), to)


def test_an_envelope_becomes_a_request() -> None:
    event = Message(
        "room", MessageId(7, 5), "é%20x@y".replace("é", "%C3%A9"), (), "", b'{"message":1,"from":"x","id":"7-5"'
    )
    made = write_text(event, "sip:a@b.invalid", "alice", "localhost")
    made.check()
    assert made.uri.text == "sip:a@b.invalid"
    assert made.sender.uri.user == "é x@y"
    assert made.body == b'{"message":1,"from":"x","id":"7-5"}'
    answer = made.encode().replace(b"MESSAGE sip:a@b.invalid SIP/2.0", b"SIP/2.0 200 OK")
    assert answers_room(answer)
    assert not answers_room(made.encode())
    assert not answers_room(message("x").encode())


def test_binary_bodies_are_refused() -> None:
    found = read_message(message("x").encode()[:-1] + b"\xff")
    with pytest.raises(SipRefused):
        check_text(found)
