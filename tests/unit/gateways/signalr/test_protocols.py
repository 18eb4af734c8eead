import msgspec
import pytest

from relay.gateways.signalr.messages import PING, read_json, read_packed
from relay.gateways.signalr.protocols import JSON_PROTOCOL, PACKED_PROTOCOL, PROTOCOLS, refused


def unframed(data: bytes) -> object:
    assert data[0] == len(data) - 1
    return msgspec.msgpack.decode(data[1:])


def test_messages_in_json() -> None:
    json = JSON_PROTOCOL
    assert json.invocation("left", [b'"a"', b"1"]) == b'{"type":1,"target":"left","arguments":["a",1]}\x1e'
    assert json.completion("0", b'{"id":1}') == b'{"type":3,"invocationId":"0","result":{"id":1}}\x1e'
    assert json.completion("0") == b'{"type":3,"invocationId":"0"}\x1e'
    assert json.completion('"', error='a"b') == b'{"type":3,"invocationId":"\\"","error":"a\\"b"}\x1e'
    assert json.close("", reconnect=True) == b'{"type":7,"allowReconnect":true}\x1e'
    assert json.close("why", reconnect=False) == b'{"type":7,"error":"why"}\x1e'
    assert json.position(8, 3) == b'{"type":8,"sequenceId":3}\x1e'


def test_messages_in_messagepack() -> None:
    packed = PACKED_PROTOCOL
    assert unframed(packed.invocation("left", [b'"a"', b"1"])) == [1, {}, None, "left", ["a", 1], []]
    assert unframed(packed.completion("0", b'{"id":1}')) == [3, {}, "0", 3, {"id": 1}]
    assert unframed(packed.completion("0")) == [3, {}, "0", 2]
    assert unframed(packed.completion("0", error="why")) == [3, {}, "0", 1, "why"]
    assert unframed(packed.close("", reconnect=True)) == [7, None, True]
    assert unframed(packed.close("why", reconnect=False)) == [7, "why", False]
    assert unframed(packed.position(9, 3)) == [9, 3]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
def test_each_protocol_reads_its_own_ping(protocol: object) -> None:
    read = read_json if protocol is JSON_PROTOCOL else read_packed
    for one in PROTOCOLS:
        if one is protocol:
            assert [message.kind for message in read(one.ping.data)] == [PING]
            assert one.ping.is_text is one.is_text
            assert one.read(one.ping.data)[0].kind == PING


def test_a_refusal_is_json() -> None:
    assert refused("no") == b'{"error":"no"}\x1e'
