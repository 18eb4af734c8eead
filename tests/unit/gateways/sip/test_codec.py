"""The codec of SIP."""

import pytest

from relay.gateways.sip.codec import KeepAlive, ReceivedRequest, ReceivedResponse, SipCodec, UnwrittenEvent
from relay.model.codec import Frame
from relay.model.errors import BadFrame
from relay.model.events import Pong
from tests.sip_client import SipAgent

CODEC = SipCodec()
REQUEST = SipAgent("alice").request("OPTIONS", "sip:localhost")


def test_messages_of_text_and_of_binary_frames() -> None:
    for is_text in (True, False):
        command = CODEC.decode(Frame(REQUEST.encode(), is_text=is_text))
        assert isinstance(command, ReceivedRequest)
        assert (command.request.method, command.problem, command.joins) == ("OPTIONS", "", 0)
    response = CODEC.decode(Frame(REQUEST.replace("OPTIONS sip:localhost SIP/2.0", "SIP/2.0 200 OK").encode()))
    assert isinstance(response, ReceivedResponse)
    register = CODEC.decode(Frame(SipAgent("alice").request("REGISTER", "sip:localhost").encode()))
    assert isinstance(register, ReceivedRequest)
    assert register.joins == 1


def test_line_ends_keep_alive() -> None:
    for data, wants in ((b"\r\n\r\n", True), (b"\r\n", False)):
        command = CODEC.decode(Frame(data))
        assert isinstance(command, KeepAlive)
        assert command.wants is wants


def test_a_wrong_length_is_a_problem_of_the_request() -> None:
    command = CODEC.decode(Frame(REQUEST.replace("Content-Length: 0", "Content-Length: 5").encode()))
    assert isinstance(command, ReceivedRequest)
    assert "Content-Length" in command.problem


@pytest.mark.parametrize("data", [b"hello", b"SIP/2.0 200 OK\r\nl: 9\r\n\r\n"])
def test_requests_that_nobody_can_answer(data: bytes) -> None:
    with pytest.raises(BadFrame) as error:
        CODEC.decode(Frame(data))
    assert error.value.code == "bad_packet"


def test_events_are_left_to_the_session() -> None:
    frame = CODEC.encode(Pong("room", None))
    assert isinstance(frame, UnwrittenEvent)
    assert frame.event == Pong("room", None)
