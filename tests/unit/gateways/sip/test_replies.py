"""The messages that the relay sends itself."""

from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.message import SipRequest, SipResponse, read_message
from relay.gateways.sip.replies import acknowledgement, cancel, late_acknowledgement, refusal, reply
from relay.model.errors import Refused
from tests.sip_client import SipAgent


def invite() -> SipRequest:
    text = SipAgent("alice").request("INVITE", "sip:bob@x", branch="z9hG4bK7", call="1", number=3)
    message = read_message(text.encode())
    assert isinstance(message, SipRequest)
    return message


def test_an_answer_repeats_the_fields_of_the_transaction() -> None:
    sent = invite()
    answer = read_message(reply(sent, 404).encode())
    assert isinstance(answer, SipResponse)
    assert answer.status == 404
    for name in ("via", "from", "call-id", "cseq"):
        assert answer.values(name) == sent.values(name)
    assert answer.to.tag
    assert reply(sent, 404) == reply(sent, 404)
    assert not reply(sent, 100).to.tag


def test_an_answer_to_an_unreadable_request() -> None:
    message = read_message(b'INVITE sip:a@b SIP/2.0\r\nTo: "x\r\nCSeq: 1 INVITE\r\n\r\n')
    assert isinstance(message, SipRequest)
    assert reply(message, 400).encode() == (
        b'SIP/2.0 400 Bad Request\r\nCSeq: 1 INVITE\r\nTo: "x\r\nContent-Length: 0\r\n\r\n'
    )


def test_a_refusal_has_the_code_and_the_text() -> None:
    answer = refusal(invite(), Refused("unavailable", 'a "b"\r\nX: y'))
    assert answer.status == 503
    assert (answer.value("x-relay-error"), answer.value("retry-after")) == ("unavailable", "2")
    assert b'Warning: 399 relay "a \\"b\\"  X: y"\r\n' in answer.encode()
    assert refusal(invite(), SipRefused("loop")).status == 482


def test_cancel_and_ack_are_of_the_transaction_of_the_invite() -> None:
    sent = invite()
    found = cancel(sent, ["SIP;cause=200"])
    found.check()
    assert (found.start, found.via.branch, found.sequence.number) == ("CANCEL sip:bob@x SIP/2.0", "z9hG4bK7", 3)
    assert (found.value("reason"), found.value("to")) == ("SIP;cause=200", "<sip:bob@x>")
    refused = reply(sent, 480)
    for made in (acknowledgement(sent, refused), late_acknowledgement(refused)):
        made.check()
        assert (made.start, made.via.branch, made.to.tag) == ("ACK sip:bob@x SIP/2.0", "z9hG4bK7", refused.to.tag)
