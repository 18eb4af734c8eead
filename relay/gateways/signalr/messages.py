"""Reads hub messages: records of JSON, each ended by a separator, or MessagePack, each behind its length."""

import json
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec
from msgspec import Raw, Struct

from relay.model.codec import Frame
from relay.model.errors import BadFrame, Refused
from relay.model.json_text import MAX_NESTING, SHALLOW_BYTES, check_nesting, read_leniently

SEPARATOR: Final = b"\x1e"

INVOCATION: Final = 1
STREAM_ITEM: Final = 2
COMPLETION: Final = 3
STREAM_INVOCATION: Final = 4
CANCEL_INVOCATION: Final = 5
PING: Final = 6
CLOSE: Final = 7
ACK: Final = 8
SEQUENCE: Final = 9

MAX_ID: Final = 128
"""Characters of an invocation id."""

MAX_NAME: Final = 255
"""Characters of the name of a method."""

MAX_ARGUMENTS: Final = 32

MAX_MESSAGES: Final = 1000
"""Messages in one frame or post; a client that sends one at a time joins those that wait."""

_NESTING: Final = MAX_NESTING + 2
"""Levels of a message: an envelope is in an array, which is in the message."""

_LENGTH_BYTES: Final = 5
_MAX_FIELDS: Final = 16
_MAX_DIGITS: Final = 20
"""Characters of a whole number that may have 64 bits."""

_ARRAY_16: Final = 0xDC
_ARRAY_32: Final = 0xDD
_EMPTY_ARRAY: Final = b"\x90"
_NEEDS_ID: Final = frozenset({STREAM_ITEM, COMPLETION, STREAM_INVOCATION, CANCEL_INVOCATION})


class BadHubMessage(Refused):
    """The client sent no message of the protocol; its connection is closed."""

    def __init__(self, text: str) -> None:
        super().__init__("bad_packet", text)


class HubMessage(Frame):
    """One message; `invocation` is its id, "" for none.

    `arguments` are JSON texts or, of a `packed` message, MessagePack. With `streams`, the client uploads some. The
    `sequence` is that of an ack or a sequence message.
    """

    __slots__ = ("arguments", "invocation", "kind", "packed", "sequence", "streams", "target")

    def __init__(
        self,
        data: bytes,
        kind: int,
        invocation: str = "",
        target: str = "",
        arguments: Sequence[Raw] = (),
        *,
        packed: bool = False,
        streams: bool = False,
        sequence: int = 0,
    ) -> None:
        # As `Frame` does, in one call less: each message of a client comes this way.
        self.data = data
        self.is_text = not packed
        self._text = self._wire = None
        self.kind = kind
        self.invocation = invocation
        self.target = target
        self.arguments = arguments
        self.packed = packed
        self.streams = streams
        self.sequence = sequence

    def argument(self, at: int) -> bytes:
        """Return the JSON text of an argument; raises `BadHubMessage` for one that JSON cannot say."""
        raw = bytes(self.arguments[at])
        return json_of(raw) if self.packed else raw


class _Record(Struct):
    """The fields of a message in JSON; others, such as headers, are not read."""

    type: int
    invocationId: str | None = None
    target: str | None = None
    arguments: list[Raw] | None = None
    streamIds: list[str] | None = None
    sequenceId: int | None = None


def _refuse_type(value: object) -> NoReturn:
    raise TypeError(f"JSON has no {type(value).__name__}")


_record = msgspec.json.Decoder(_Record)
_array = msgspec.msgpack.Decoder(list[Raw])
_whole = msgspec.msgpack.Decoder(int)
_text = msgspec.msgpack.Decoder(str)
_optional_text = msgspec.msgpack.Decoder(str | None)
_any_json = msgspec.json.Decoder()
_any_packed = msgspec.msgpack.Decoder()
_to_json = msgspec.json.Encoder(enc_hook=_refuse_type).encode
_to_packed = msgspec.msgpack.Encoder().encode

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, OverflowError, ValueError)


def records(data: bytes) -> list[bytes]:
    """Return the records of a frame, without their separators; raises `BadHubMessage`."""
    if not data.endswith(SEPARATOR):
        raise BadHubMessage("a message in JSON ends with the byte 1E")
    return _bounded(data[:-1].split(SEPARATOR, MAX_MESSAGES))


def read_json(data: bytes) -> list[HubMessage]:
    """Read the messages of a frame; raises `BadHubMessage`."""
    end = len(data) - 1
    if data.find(SEPARATOR) == end >= 0:
        return [_read_record(data[:end])]
    return [_read_record(record) for record in records(data)]


def read_packed(data: bytes) -> list[HubMessage]:
    """Read the messages of a frame in MessagePack; raises `BadHubMessage`."""
    found, at = list[bytes](), 0
    while at < len(data):
        size, at = _length(data, at)
        if at + size > len(data):
            raise BadHubMessage("a message is shorter than its length says")
        found.append(data[at : at + size])
        at += size
        if len(found) > MAX_MESSAGES:
            break
    return [_read_array(message) for message in _bounded(found)]


def json_of(packed: bytes) -> bytes:
    """Return the JSON text of a value in MessagePack; raises `BadHubMessage` for one that JSON cannot say.

    Bytes become Base64, and times text (RFC 3339).
    """
    try:
        return _to_json(_any_packed.decode(packed))
    except _UNREADABLE:
        raise BadHubMessage("a value in MessagePack has no form in JSON, or nests too deep") from None


def packed_of(text: bytes) -> bytes:
    """Return a value of JSON in MessagePack; whole numbers of more than 64 bits become floating ones.

    A number that is too large for these, such as 1e999, becomes infinite, as it does where JavaScript reads it.
    """
    try:
        return _to_packed(_any_json.decode(text))
    except (msgspec.DecodeError, OverflowError):
        return _to_packed(_any_number.decode(text.decode()))


def _bounded(found: list[bytes]) -> list[bytes]:
    if len(found) > MAX_MESSAGES:
        raise BadHubMessage(f"a frame has at most {MAX_MESSAGES} messages")
    return found


def _read_record(text: bytes) -> HubMessage:
    try:
        if len(text) > SHALLOW_BYTES:
            check_nesting(text, _NESTING)
        record = read_leniently(_decode_record, text)
    except Refused:
        raise BadHubMessage("a message in JSON is an object with a type and its fields") from None
    message = HubMessage(
        text, record.type, record.invocationId or "", record.target or "", record.arguments or (),
        streams=bool(record.streamIds), sequence=record.sequenceId or 0,
    )  # fmt: skip
    return _checked(message, has_target=record.target is not None and record.arguments is not None)


def _decode_record(text: bytes) -> _Record:
    try:
        return _record.decode(text)
    except _UNREADABLE:
        raise BadFrame("bad_json") from None


def _read_array(data: bytes) -> HubMessage:
    try:
        parts = _values(data, _MAX_FIELDS)
        kind = _whole.decode(parts[0]) if parts else 0
        if kind in (INVOCATION, STREAM_INVOCATION):
            return _read_packed_invocation(data, kind, parts)
        if kind in (STREAM_ITEM, COMPLETION, CANCEL_INVOCATION):
            return _checked(HubMessage(data, kind, _text.decode(parts[2]), packed=True), has_target=True)
        sequence = _whole.decode(parts[1]) if kind in (ACK, SEQUENCE) else 0
        return _checked(HubMessage(data, kind, packed=True, sequence=sequence), has_target=True)
    except (*_UNREADABLE, IndexError):
        raise BadHubMessage("a message in MessagePack is an array that begins with its type") from None


def _values(data: bytes, most: int) -> list[Raw]:
    """Return the values of an array; of one that says that it has more than `most`, none is read."""
    first = data[0]
    if first == _ARRAY_16:
        count = int.from_bytes(data[1:3], "big")
    elif first == _ARRAY_32:
        count = int.from_bytes(data[1:5], "big")
    else:
        count = first & 0x0F
    if count > most:
        raise BadHubMessage(f"an array of a message has {count} values; at most {most}")
    return _array.decode(data)


def _read_packed_invocation(data: bytes, kind: int, parts: Sequence[Raw]) -> HubMessage:
    # The client in JavaScript leaves the stream ids out, if there are none.
    invocation, target = _optional_text.decode(parts[2]) or "", _text.decode(parts[3])
    streams = len(parts) > 5 and bytes(parts[5]) != _EMPTY_ARRAY
    arguments = _values(bytes(parts[4]), MAX_ARGUMENTS)
    message = HubMessage(data, kind, invocation, target, arguments, packed=True, streams=streams)
    return _checked(message, has_target=True)


def _checked(message: HubMessage, *, has_target: bool) -> HubMessage:
    if message.kind < 1:
        raise BadHubMessage("the type of a message is a number from 1 on")
    if message.kind in (INVOCATION, STREAM_INVOCATION) and not has_target:
        raise BadHubMessage("an invocation has a target and arguments")
    if message.kind in _NEEDS_ID and not message.invocation:
        raise BadHubMessage("a message of this type has an invocation id")
    if len(message.invocation) > MAX_ID or len(message.target) > MAX_NAME:
        raise BadHubMessage(f"an invocation id has at most {MAX_ID} characters, and a target {MAX_NAME}")
    if len(message.arguments) > MAX_ARGUMENTS:
        raise BadHubMessage(f"an invocation has at most {MAX_ARGUMENTS} arguments")
    if message.sequence < 0:
        raise BadHubMessage("a sequence id is not negative")
    return message


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Read the length in front of a message: seven bits a byte, low ones first; returns it, and where it ends."""
    size = 0
    for number in range(_LENGTH_BYTES):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << (7 * number)
        if byte < 0x80:
            return size, at
    raise BadHubMessage("a message in MessagePack begins with its length, in at most 5 bytes")


def length_of(size: int) -> bytes:
    """Write the length in front of a message."""
    found = bytearray()
    while size >= 0x80:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)


def _whole_number(text: str) -> int | float:
    value = int(text) if len(text) <= _MAX_DIGITS else float(text)
    return value if -(2**63) <= value < 2**64 else float(value)


_any_number: Final = json.JSONDecoder(parse_int=_whole_number)
"""Reads numbers of any size, of which msgspec refuses the largest."""
