import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    DISCONNECT,
    EVENT,
    MAX_ATTACHMENTS,
    PacketReader,
    SocketPacket,
    compact_placeholders,
    read_name,
)
from relay.model.json_text import FRAME_NESTING


def read(*messages: str | bytes, limit: int = 100) -> list[SocketPacket]:
    reader = PacketReader()
    found = [
        reader.read(one.encode() if isinstance(one, str) else one, binary=isinstance(one, bytes), limit=limit)
        for one in messages
    ]
    return [packet for packet in found if packet is not None]


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0", SocketPacket(CONNECT, "/", auth={})),
        ('0{"token":"123"}', SocketPacket(CONNECT, "/", auth={"token": b'"123"'})),
        ("0/rooms/x", SocketPacket(CONNECT, "/rooms/x", auth={})),
        ('0/rooms/x,{"a":1}', SocketPacket(CONNECT, "/rooms/x", auth={"a": b"1"})),
        ("0/rooms/x?token=1,", SocketPacket(CONNECT, "/rooms/x?token=1", auth={})),
        ("1", SocketPacket(DISCONNECT, "/")),
        ("1/rooms/x,", SocketPacket(DISCONNECT, "/rooms/x")),
        ('2["a",1,{"b":"c"}]', SocketPacket(EVENT, "/", values=[b'"a"', b"1", b'{"b":"c"}'])),
        ('212["a"]', SocketPacket(EVENT, "/", "12", [b'"a"'])),
        ('2/rooms/x,12["a", "," ]', SocketPacket(EVENT, "/rooms/x", "12", [b'"a"', b'","'])),
        ("3/rooms/x,12[]", SocketPacket(ACK, "/rooms/x", "12", [])),
        ('30["ok"]', SocketPacket(ACK, "/", "0", [b'"ok"'])),
        ('50-["a"]', SocketPacket(BINARY_EVENT, "/", values=[b'"a"'])),
        ('5-["a"]', SocketPacket(BINARY_EVENT, "/", values=[b'"a"'])),
        ("0 \n", SocketPacket(CONNECT, "/", auth={})),
        ('0/rooms/x, {"a" : 1}\n', SocketPacket(CONNECT, "/rooms/x", auth={"a": b"1"})),
        ("1\n", SocketPacket(DISCONNECT, "/")),
        ('27 [ "a" ,\t1 ]\r\n', SocketPacket(EVENT, "/", "7", [b'"a"', b"1"])),
        (r'2["cut \ud83d","\\ud83d"]', SocketPacket(EVENT, "/", values=[rb'"cut \ufffd"', rb'"\\ud83d"'])),
        (r'0{"name":"\ud83d"}', SocketPacket(CONNECT, "/", auth={"name": rb'"\ufffd"'})),
    ],
)
def test_packets(text: str, packet: SocketPacket) -> None:
    assert read(text) == [packet]


def test_a_packet_waits_for_its_attachments() -> None:
    text = '52-/x,7["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'
    [packet] = read(text, b"\1", b"\2\3")
    assert (packet.kind, packet.namespace, packet.id) == (BINARY_EVENT, "/x", "7")
    assert packet.attachments == [b"\1", b"\2\3"]
    assert read(text.replace("52-", "5002-"), b"\1", b"\2\3") == [packet]
    assert read('61-3[{"_placeholder":true,"num":0}]', b"", "1") == [
        SocketPacket(BINARY_ACK, "/", "3", [b'{"_placeholder":true,"num":0}'], attachments=[b""]),
        SocketPacket(DISCONNECT, "/"),
    ]


@pytest.mark.parametrize(
    "messages",
    [
        ("",),
        ("a",),
        ("7",),
        ("abc",),
        ("2",),
        ('2"a"',),
        ("2{}",),
        ("2[",),
        ('2["a"',),
        ('2["a"]x',),
        ('21.5["a"]',),
        ('2-1["a"]',),
        ("3",),
        ("3{}",),
        ("0[]",),
        ("0null",),
        ('0"a"',),
        ("1{}",),
        ("4{}",),
        ("5",),
        ('5["a"]',),
        ('5x-["a"]',),
        ('51["a"]',),
        ('5-1-["a"]',),
        ('51.5-["a"]',),
        (f'5{MAX_ATTACHMENTS + 1}-["a"]',),
        ('510000-["a"]',),
        ('59999999999-["a"]',),
        ('21-["a"]',),
        ('51-["a",{"_placeholder":true,"num":1}]',),
        ('51-["a",{"_placeholder":true,"num":-1}]',),
        ('51-["a",{"_placeholder":true,"num":"0"}]',),
        ('51-["a",{"_placeholder":true,"num":false}]',),
        ('51-["a",{"_placeholder":true}]',),
        ('51-["a",[[{"_placeholder":true,"num":"splice"}]]]',),
        ('51-["a",{"_placeholder":true,"num":0}]', "2"),
        (b"\1",),
        ('51-["a"]', b"\1", b"\2"),
        ('51-["a"]', b"\1" * 101),
        ('52-["a"]', b"\1" * 60, b"\1" * 60),
        ("0" + '{"a":' * (FRAME_NESTING + 1) + "1" + "}" * (FRAME_NESTING + 1),),
        ("2[NaN]",),
    ],
)
def test_packets_that_the_reference_implementation_refuses_are_refused(messages: tuple[str | bytes, ...]) -> None:
    with pytest.raises(BadPacket):
        read(*messages)


@pytest.mark.parametrize("value", [b'"message"', b"5"])
def test_names(value: bytes) -> None:
    assert str(read_name(value)) == value.decode().strip('"')


@pytest.mark.parametrize("value", [b'"connect"', b'"disconnect"', b'"newListener"', b"{}", b"null", b"1.5", b"[]"])
def test_bad_names(value: bytes) -> None:
    with pytest.raises(BadPacket):
        read_name(value)


@given(st.lists(st.text() | st.binary() | st.from_regex(r"\A[0-6]\d?-?(/a,)?\d*\[.*\]\Z"), max_size=4))
def test_no_message_raises_another_error(messages: list[str | bytes]) -> None:
    with contextlib.suppress(BadPacket):
        read(*[one.encode(errors="ignore").decode() if isinstance(one, str) else one for one in messages])


@pytest.mark.parametrize(
    "text",
    [
        b'{"_placeholder":true,"num":10}',
        b'{"_placeholder": true, "num": 10}',
        b'{ "num" : 10 , "_placeholder" :\n true }',
    ],
)
def test_a_placeholder_is_written_as_javascript_does(text: bytes) -> None:
    assert compact_placeholders(b'{"a": [%b, 1.50]}' % text) == b'{"a": [{"_placeholder":true,"num":10}, 1.50]}'


@pytest.mark.parametrize(
    "text",
    [rb'"{\"_placeholder\": true, \"num\": 10}"', b'{"_placeholder": false, "num": 1}', b'{"_placeholder": true}'],
)
def test_an_object_that_is_no_placeholder_stays_as_it_is(text: bytes) -> None:
    assert compact_placeholders(text) == text
