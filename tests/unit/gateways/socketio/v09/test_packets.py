import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.packets import CLOSE, MAX_PACKETS, MESSAGE, NOOP, PONG, BadPacket, EnginePacket, Payload
from relay.gateways.socketio.v09.packets import (
    ACK,
    CONNECT,
    DISCONNECT,
    EVENT,
    JSON,
    TEXT,
    V09Encoder,
    V09Framing,
    V09Packet,
    read_packet,
)
from relay.model.codec import Frame
from relay.model.json_text import MAX_NESTING

FRAMING = V09Framing()


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("1::", V09Packet(CONNECT, "/")),
        ("1::/rooms/x?a=b", V09Packet(CONNECT, "/rooms/x")),
        ("0::/rooms/x", V09Packet(DISCONNECT, "/rooms/x")),
        ("3:::a:b", V09Packet(TEXT, "/", values=[b'"message"', b'"a:b"'])),
        ("3:7::", V09Packet(TEXT, "/", "7", [b'"message"', b'""'])),
        ('4:7+:/rooms/x:{"a":"b:c"}', V09Packet(JSON, "/rooms/x", "7", [b'"message"', b'{"a":"b:c"}'])),
        ('5:::{"name":"a"}', V09Packet(EVENT, "/", values=[b'"a"'])),
        ('5:1+::{"name":"a","args":[1,{"b":2}]}', V09Packet(EVENT, "/", "1", [b'"a"', b"1", b'{"b":2}'])),
        ('6:::1+["x"]', V09Packet(ACK, "/")),
    ],
)
def test_packets(text: str, packet: V09Packet) -> None:
    assert read_packet(text.encode()) == packet


@pytest.mark.parametrize(
    "text",
    ["", "9::", "1", "5:::", "5:::[]", '5:::{"args":[]}', '5:::{"name":"a","args":{}}', "4:::{", "x:::"],
)
def test_bad_packets(text: str) -> None:
    with pytest.raises(BadPacket):
        read_packet(text.encode())


def test_packets_that_concern_the_connection() -> None:
    kinds = [FRAMING.read(Frame(text)).kind for text in (b"2::", b"8::", b"0::", b"1::", b"0::/x")]
    assert kinds == [PONG, NOOP, CLOSE, MESSAGE, MESSAGE]
    with pytest.raises(BadPacket):
        FRAMING.read(Frame(b"2::", is_text=False))


def test_payloads() -> None:
    texts = ["3:::é\U0001f600", "5:::{}"]
    body = "".join(f"\ufffd{len(text.encode('utf-16-le')) // 2}\ufffd{text}" for text in texts)
    assert FRAMING.read_payload(body.encode(), binary=False) == [EnginePacket(MESSAGE, text.encode()) for text in texts]
    assert FRAMING.read_payload(b"3:::x", binary=False) == [EnginePacket(MESSAGE, b"3:::x")]
    assert FRAMING.write_payload([Frame(b"1::")]) == Payload(b"1::")
    several = Payload("\ufffd3\ufffd1::\ufffd3\ufffd8::".encode())
    assert FRAMING.write_payload([Frame(b"1::"), Frame(b"8::")]) == several


@pytest.mark.parametrize(
    "body",
    [
        "\ufffd",
        "\ufffd\ufffd1::",
        "\ufffdx\ufffd1::",
        "\ufffd9\ufffd1::",
        "\ufffd3\ufffd1::x",
        "\ufffd3\ufffd8::" * (MAX_PACKETS + 1),
    ],
)
def test_bad_payloads(body: str) -> None:
    with pytest.raises(BadPacket):
        FRAMING.read_payload(body.encode(), binary=False)


@given(st.binary() | st.text().map(lambda text: ("\ufffd" + text).encode(errors="ignore")))
def test_no_message_raises_another_error(body: bytes) -> None:
    with contextlib.suppress(BadPacket):
        for packet in FRAMING.read_payload(body, binary=False):
            read_packet(packet.data)


def test_written_packets() -> None:
    encoder = V09Encoder("/rooms/x")
    assert encoder.connect("ann", "").data == b"1::/rooms/x"
    assert encoder.disconnect().data == b"0::/rooms/x"
    assert encoder.connect_error("bad_namespace", "no").data == b"7::/rooms/x:2"
    assert encoder.ack("3", {"id": "1-2"}).data == b'6::/rooms/x:3+[{"id":"1-2"}]'
    data = encoder.event(OutgoingEvent(b'"a"', ['"é"'.encode(), b"1"])).data
    assert data.isascii()
    assert json.loads(data.removeprefix(b"5::/rooms/x:")) == {"name": "a", "args": ["é", 1]}
    assert V09Encoder("/").connect("ann", "").data == b"1::"


def test_a_namespace_that_is_not_ascii_is_refused_by_its_name() -> None:
    packet = read_packet("1::/é😀?x=1".encode())
    refused = V09Encoder(packet.namespace).connect_error("bad_namespace", "no")
    assert refused.data.decode() == "7::/é😀:2"
    payload = FRAMING.write_payload([refused, FRAMING.control.noop])
    assert payload.body.decode() == "\ufffd9\ufffd7::/é😀:2\ufffd3\ufffd8::"


def test_arguments_that_nest_too_deep_keep_their_placeholders() -> None:
    deep = b"[" * 900 + b'{"_placeholder":true,"num":0}' + b"]" * 900
    assert deep in V09Encoder("/").event(OutgoingEvent(b'"a"', [deep], [b"\1"])).data


def test_attachments_are_found_in_all_relayed_packets() -> None:
    levels = MAX_NESTING - 3
    deep = b"[" * levels + b'{"_placeholder":true,"num":0}' + b"]" * levels
    data = V09Encoder("/").event(OutgoingEvent(b'"a"', [deep], [b"\1"])).data
    assert b"[" * levels + b'"AQ=="' + b"]" * levels in data


def test_attachments_are_written_in_base64() -> None:
    arguments = [b'{"deep":[{"_placeholder":true,"num":1}],"_placeholder":false}', b'{"_placeholder":true,"num":0}']
    data = V09Encoder("/").event(OutgoingEvent(b'"a"', arguments, [b"\1", b"\2"])).data
    assert json.loads(data.removeprefix(b"5:::"))["args"] == [{"deep": ["Ag=="], "_placeholder": False}, "AQ=="]
