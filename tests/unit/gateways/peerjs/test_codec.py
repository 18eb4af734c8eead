import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.peerjs.codec import PeerJSCodec, Signal, StillAlive, connection_id, expire
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Leave, Publish
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame

CODEC = PeerJSCodec()
ID = MessageId(5, 6)


def signal(kind: str, payload: bytes, dst: str = "b") -> Signal:
    envelope = b'{"to":"%b","channel":"peerjs","message":{"type":"%b"%b}}' % (dst.encode(), kind.encode(), payload)
    return Signal(envelope, (dst,), "peerjs", kind=kind)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"type":"OFFER","dst":"b","payload":{"a": 1.0, "b":[]}}', signal("OFFER", b',"payload":{"a": 1.0, "b":[]}')),
        ('{"payload":null,"dst":"b","type":"ANSWER"}', signal("ANSWER", b',"payload":null')),
        ('{"type":"CANDIDATE","dst":"b","src":"liar","more":1}', signal("CANDIDATE", b"")),
        ('{"type":"LEAVE","dst":"b"}', signal("LEAVE", b"")),
        ('{"type":"OFFER","dst":"b c"}', signal("OFFER", b"", "b%20c")),
        ('{"type":"LEAVE"}', Leave()),
        ('{"type":"LEAVE","dst":null}', Leave()),
        ('{"type":"RELAY","payload":{"message":1}}', Publish(b'{"message":1}')),
        ('{"type":"RELAY","payload":{"channel":"c","to":"x"}}', Publish(b'{"channel":"c","to":"x"}', ("x",), "c")),
        ('{"type":"RELAY","dst":"b c","payload":{ "a":1}}', Publish(b'{"to":"b%20c","a":1}', ("b%20c",))),
        ('{"type":"RELAY","dst":"b","payload":{}}', Publish(b'{"to":"b"}', ("b",))),
    ],
)  # fmt: skip
def test_reads_frames(text: str, command: object) -> None:
    assert CODEC.decode(Frame(text.encode())) == command


def test_a_heartbeat_asks_for_nothing() -> None:
    assert isinstance(CODEC.decode(Frame(b'{"type":"HEARTBEAT"}')), StillAlive)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("no JSON", "bad_json"),
        ("[" * 600, "bad_json"),
        ('{"type":"OFFER","dst":"b","payload":%s}' % ("[" * 255 + "]" * 255), "bad_json"),
        ("[]", "bad_command"),
        ("null", "bad_command"),
        ('{"type":7}', "bad_command"),
        ('{"type":"OFFER"}', "bad_command"),
        ('{"type":"ANSWER","dst":""}', "bad_command"),
        ('{"type":"OFFER","dst":7}', "bad_command"),
        ('{"type":"OFFER","dst":"%s"}' % ("x" * 2049), "bad_command"),
        ('{"type":"OFFER","dst":"%s"}' % ("x" * 256), "bad_peer"),
        ('{"type":"OFFER","dst":"$server"}', "bad_peer"),
        ('{"type":"OFFER","dst":"a\\u0000"}', "bad_peer"),
        ('{"type":"OPEN"}', "unknown_command"),
        ('{"type":"EXPIRE","dst":"b"}', "unknown_command"),
        ("{}", "unknown_command"),
        ('{"type":"RELAY"}', "bad_envelope"),
        ('{"type":"RELAY","payload":"text"}', "bad_envelope"),
        ('{"type":"RELAY","payload":{"to":"a"},"dst":"b"}', "bad_envelope"),
        ('{"type":"RELAY","payload":{"from":"liar"}}', "reserved_field"),
    ],
)
def test_refuses_other_frames(text: str, code: str) -> None:
    with pytest.raises(BadFrame) as refused:
        CODEC.decode(Frame(text.encode()))
    assert refused.value.code == code


def test_refuses_binary_frames() -> None:
    with pytest.raises(BadFrame, match="binary_frame"):
        CODEC.decode(Frame(b"{}", is_text=False))


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_command_or_refused(data: bytes) -> None:
    try:
        data.decode()
        CODEC.decode(Frame(data))
    except (BadFrame, UnicodeDecodeError):
        pass


def written(envelope: bytes, *to: str, sender: str = "a%20b", channel: str = "peerjs") -> Any:
    body = envelope[:-1] + b',"from":"%b","id":"5-6"' % sender.encode()
    return CODEC.encode(events.Message("r", ID, sender, to, channel, body)).data


def test_a_signal_arrives_as_it_was_sent() -> None:
    sent = CODEC.decode(Frame('{"type":"OFFER","dst":"b c","payload":{"a": 1.0, "é": "☃"}}'.encode()))
    assert isinstance(sent, Signal)
    expected = '{"type":"OFFER","src":"a b","dst":"b c","payload":{"a": 1.0, "é": "☃"}}'
    assert written(sent.envelope, *sent.to) == expected.encode()


@pytest.mark.parametrize(
    ("envelope", "to", "channel"),
    [
        (b'{"channel":"peerjs","message":{"type":"OFFER"}}', (), "peerjs"),
        (b'{"to":"b","channel":"x","message":{"type":"OFFER"}}', ("b",), "x"),
        (b'{"to":"b","channel":"peerjs","message":{"type":"OPEN"}}', ("b",), "peerjs"),
        (b'{"to":"b","channel":"peerjs","message":{"type":"ID-TAKEN"}}', ("b",), "peerjs"),
        (b'{"to":"b","channel":"peerjs","message":"OFFER"}', ("b",), "peerjs"),
        (b'{"to":"b","channel":"peerjs"}', ("b",), "peerjs"),
    ],
)
def test_all_else_arrives_as_an_envelope(envelope: bytes, to: tuple[str, ...], channel: str) -> None:
    assert written(envelope, *to, channel=channel) == b'{"type":"RELAY","src":"a b","payload":%b}' % envelope


@pytest.mark.parametrize("envelope", [b'{"connectionId":"c"}', b'{"connection\\u0049d":"c"}'])
def test_an_envelope_that_looks_like_one_of_a_connection_is_one_level_deeper(envelope: bytes) -> None:
    expected = b'{"type":"RELAY","src":"a b","payload":{"envelope":%b}}' % envelope
    assert written(envelope, channel="") == expected
    inner = b'{"message":{"connectionId":"c"}}'
    assert written(inner, channel="") == b'{"type":"RELAY","src":"a b","payload":%b}' % inner


def failure(code: str, about: str = "join") -> Any:
    data = CODEC.encode(events.Failure(code, "why", about)).data
    return json.loads(data) if data else None


def test_a_place_of_another_client_is_taken() -> None:
    for code in ("peer_taken", "too_many_attempts"):
        assert failure(code) == {"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}


@pytest.mark.parametrize("code", ["unavailable", "outcome_unknown", "superseded", "memory_low", "keys_unavailable"])
def test_an_error_that_may_pass_ends_no_peer(code: str) -> None:
    assert failure(code) is None


@pytest.mark.parametrize("code", ["bad_peer", "bad_query", "not_granted", "token_required", "room_full", "banned"])
def test_an_error_that_stays_is_told(code: str) -> None:
    assert failure(code) == {"type": "ERROR", "payload": {"msg": "why", "code": code}}


def test_later_errors_are_left_to_the_page() -> None:
    assert failure("too_large", "OFFER") == {
        "type": "RELAY-ERROR", "payload": {"code": "too_large", "text": "why", "about": "OFFER"},
    }  # fmt: skip


def test_the_place_is_open_and_other_events_are_not_told() -> None:
    assert CODEC.encode(events.Welcome("r", "p", ID, "secret")).data == b'{"type":"OPEN"}'
    for event in (events.Recovered("r", ID, 1), events.PresenceChange("r", ID, ["a"]), events.Ack("r", ID, "k")):
        assert CODEC.encode(event) is NOTHING


def test_an_absent_peer() -> None:
    assert expire("b%20c", "a").data == b'{"type":"EXPIRE","src":"b c","dst":"a"}'


def test_the_connection_of_a_signal() -> None:
    assert connection_id(signal("OFFER", b',"payload":{"connectionId":"dc_1"}')) == "dc_1"
    for payload in (b"", b',"payload":null', b',"payload":[]', b',"payload":{"connectionId":7}'):
        assert connection_id(signal("OFFER", payload)) == ""
