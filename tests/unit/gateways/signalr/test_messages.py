"""Hub messages as they arrive: of each type, and every class of malformed ones."""

import msgspec
import pytest

from relay.gateways.signalr import messages
from relay.gateways.signalr.messages import (
    CLOSE,
    COMPLETION,
    INVOCATION,
    MAX_ARGUMENTS,
    MAX_ID,
    MAX_MESSAGES,
    MAX_NAME,
    PING,
    SEQUENCE,
    STREAM_INVOCATION,
    BadHubMessage,
    json_of,
    length_of,
    packed_of,
    read_json,
    read_packed,
)


def framed(value: object) -> bytes:
    data = msgspec.msgpack.encode(value)
    return length_of(len(data)) + data


def test_an_invocation_in_json() -> None:
    text = b'{"type":1,"target":"Send","arguments":[{"a":[1]},"b"],"invocationId":"0","headers":{"x":"y"}}'
    [message] = read_json(text + b"\x1e")
    assert (message.kind, message.invocation, message.target) == (INVOCATION, "0", "Send")
    assert [message.argument(0), message.argument(1)] == [b'{"a":[1]}', b'"b"']
    assert message.data == text
    assert not message.streams


@pytest.mark.parametrize("rest", [[], [[]]])
def test_an_invocation_in_messagepack_with_and_without_stream_ids(rest: list[object]) -> None:
    [message] = read_packed(framed([1, {}, "0", "Send", [{"a": [1]}, "b"], *rest]))
    assert (message.kind, message.invocation, message.target, message.streams) == (INVOCATION, "0", "Send", False)
    assert [message.argument(0), message.argument(1)] == [b'{"a":[1]}', b'"b"']


def test_several_messages_in_a_frame() -> None:
    assert [one.kind for one in read_json(b'{"type":6}\x1e{"type":7}\x1e')] == [PING, CLOSE]
    assert [one.kind for one in read_packed(framed([6]) + framed([7, None]))] == [PING, CLOSE]
    assert read_packed(b"") == []


def test_messages_of_all_other_types() -> None:
    [stream] = read_json(b'{"type":4,"target":"Count","arguments":[],"invocationId":"1","streamIds":["2"]}\x1e')
    assert (stream.kind, stream.streams) == (STREAM_INVOCATION, True)
    [packed] = read_packed(framed([4, {}, "1", "Count", [], ["2"]]))
    assert (packed.kind, packed.streams) == (STREAM_INVOCATION, True)
    assert read_json(b'{"type":3,"invocationId":"1","result":1}\x1e')[0].kind == COMPLETION
    assert read_packed(framed([3, {}, "1", 3, 1]))[0].kind == COMPLETION
    assert read_json(b'{"type":9,"sequenceId":4}\x1e')[0].sequence == 4
    assert (read_packed(framed([9, 4]))[0].kind, read_packed(framed([9, 4]))[0].sequence) == (SEQUENCE, 4)
    assert read_json(b'{"type":99,"anything":[]}\x1e')[0].kind == 99
    assert read_packed(framed([99, "anything"]))[0].kind == 99


MALFORMED_JSON = {
    "no separator": b'{"type":6}',
    "no JSON": b"no JSON\x1e",
    "empty record": b"\x1e",
    "no object": b"[1]\x1e",
    "no type": b"{}\x1e",
    "a type that is no number": b'{"type":"1"}\x1e',
    "type 0": b'{"type":0}\x1e',
    "no target": b'{"type":1,"arguments":[]}\x1e',
    "no arguments": b'{"type":1,"target":"Send"}\x1e',
    "a target that is no text": b'{"type":1,"target":1,"arguments":[]}\x1e',
    "arguments that are no array": b'{"type":1,"target":"Send","arguments":{}}\x1e',
    "an id that is no text": b'{"type":1,"target":"Send","arguments":[],"invocationId":0}\x1e',
    "a long id": b'{"type":1,"target":"Send","arguments":[],"invocationId":"%b"}\x1e' % (b"1" * (MAX_ID + 1)),
    "a long target": b'{"type":1,"target":"%b","arguments":[]}\x1e' % (b"a" * (MAX_NAME + 1)),
    "many arguments": b'{"type":1,"target":"Send","arguments":[%b0]}\x1e' % (b"0," * MAX_ARGUMENTS),
    "a stream without an id": b'{"type":4,"target":"Count","arguments":[]}\x1e',
    "an item without an id": b'{"type":2,"item":1}\x1e',
    "a completion without an id": b'{"type":3,"result":1}\x1e',
    "a cancel without an id": b'{"type":5}\x1e',
    "a negative sequence": b'{"type":9,"sequenceId":-1}\x1e',
    "too deep": b'{"type":1,"target":"Send","arguments":[%b1%b]}\x1e' % (b"[" * 300, b"]" * 300),
    "not UTF-8": b'{"type":1,"target":"\xff","arguments":[]}\x1e',
    "a control character": b'{"type":1,"target":"Send","arguments":["\x01"]}\x1e',
    "many messages": b'{"type":6}\x1e' * (MAX_MESSAGES + 1),
}

MALFORMED_PACKED = {
    "no length": b"\x80",
    "a length of six bytes": b"\x80\x80\x80\x80\x80\x01",
    "shorter than its length": b"\x05\x91\x06",
    "length 0": b"\x00",
    "no array": framed({"type": 6}),
    "an empty array": framed([]),
    "a type that is no number": framed(["1"]),
    "type 0": framed([0]),
    "a reserved byte": b"\x01\xc1",
    "bytes behind the array": b"\x03\x91\x06\x06",
    "an invocation of four elements": framed([1, {}, "0", "Send"]),
    "a target that is no text": framed([1, {}, "0", 1, []]),
    "an id that is no text": framed([1, {}, 0, "Send", []]),
    "arguments that are no array": framed([1, {}, "0", "Send", {}]),
    "many arguments": framed([1, {}, "0", "Send", [0] * (MAX_ARGUMENTS + 1)]),
    "an array that says it has 4 billion values": b"\x05\xdd\xff\xff\xff\xff",
    "arguments that say they are 4 billion": b"\x0f\x95\x01\x80\xa1" + b"0\xa4Send" + b"\xdd\xff\xff\xff\xff",
    "a stream without an id": framed([4, {}, None, "Count", []]),
    "an item without an id": framed([2, {}, None, 1]),
    "text that is not UTF-8": b"\x09\x95\x01\x80\xc0\xa2\xff\xff\x90",
    "a negative sequence": framed([8, -1]),
    "many messages": framed([6]) * (MAX_MESSAGES + 1),
}


@pytest.mark.parametrize("data", MALFORMED_JSON.values(), ids=MALFORMED_JSON)
def test_malformed_json(data: bytes) -> None:
    with pytest.raises(BadHubMessage) as refused:
        read_json(data)
    assert refused.value.code == "bad_packet"


@pytest.mark.parametrize("data", MALFORMED_PACKED.values(), ids=MALFORMED_PACKED)
def test_malformed_messagepack(data: bytes) -> None:
    with pytest.raises(BadHubMessage) as refused:
        read_packed(data)
    assert refused.value.code == "bad_packet"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_are_read_as_they_are_written(size: int) -> None:
    data = length_of(size) + bytes(size)
    assert messages._length(data, 0) == (size, len(length_of(size)))


def test_values_between_the_protocols() -> None:
    assert json_of(msgspec.msgpack.encode([b"ab", float("nan"), None, {1: 2}])) == b'["YWI=",null,null,{"1":2}]'
    assert json_of(b"\xd6\xff\x00\x00\x00\x01") == b'"1970-01-01T00:00:01Z"'
    assert msgspec.msgpack.decode(packed_of(b'{"a":[1,"\xc3\xa9",null,1.5,true]}')) == {"a": [1, "é", None, 1.5, True]}
    assert msgspec.msgpack.decode(packed_of(b'{"a":[123456789012345678901234567890]}')) == {
        "a": [1.2345678901234568e29]
    }
    assert msgspec.msgpack.decode(packed_of(b"-1" + b"0" * 400)) == float("-inf")
    assert msgspec.msgpack.decode(packed_of(b"1" + b"0" * 400)) == float("inf")


@pytest.mark.parametrize("text", [b"1e999", b"1" * 5000, b"1" * 400 + b".5"], ids=["exponent", "digits", "fraction"])
def test_numbers_of_json_of_any_size_have_a_form_in_message_pack(text: bytes) -> None:
    packed = packed_of(b'{"a":[%b,-%b,18446744073709551615,-9223372036854775809]}' % (text, text))
    infinite, smallest = float("inf"), -9.223372036854775808e18
    assert msgspec.msgpack.decode(packed) == {"a": [infinite, -infinite, 2**64 - 1, smallest]}


@pytest.mark.parametrize("data", [b"\xd4\x05a", b"\x91" * 5000 + b"\x90", b"\x81\x90\x01"], ids=["ext", "deep", "key"])
def test_values_without_a_form_in_json(data: bytes) -> None:
    with pytest.raises(BadHubMessage):
        json_of(data)
