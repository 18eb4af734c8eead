"""The packets of Socket.IO 0.9: `type:[id[+]]:[namespace][:data]`, and the payloads in which polling carries several.

Version 0.9 has one protocol where later versions have two. So `V09Framing` picks out the packets that concern the
connection (heartbeat, noop, disconnect), and passes all others on whole, as messages, which `read_packet` reads.
Source: https://github.com/socketio/socket.io-spec.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from relay.gateways.socketio.encoders import OutgoingEvent, escaped
from relay.gateways.socketio.packets import (
    CLOSE,
    MAX_PACKETS,
    MESSAGE,
    NOOP,
    PONG,
    BadPacket,
    ControlPackets,
    EnginePacket,
    Payload,
)
from relay.model.codec import Frame
from relay.model.json_text import MAX_NESTING, nests_deeper, without_lone_surrogates

DISCONNECT, CONNECT, HEARTBEAT, TEXT, JSON, EVENT, ACK, ERROR, IGNORED = range(9)

_PACKET: Final = re.compile(rb"([0-8]):(\d{1,15})?(\+)?:([^:]*):?(.*)", re.DOTALL)
_MARK: Final = "\ufffd"
"""Stands before and after the length of each packet in a payload."""
_MAX_DIGITS: Final = 9
_json = msgspec.json.Encoder()
_any = msgspec.json.Decoder()
_syntax = msgspec.json.Decoder(Raw)


class _Event(Struct):
    name: Raw
    args: list[Raw] = msgspec.field(default_factory=list)


_event = msgspec.json.Decoder(_Event)


class V09Packet(NamedTuple):
    """One packet; `values` are the name and the arguments of an event, each as JSON.

    If the JSON is `too_deep`, it is the only value, and was not read.
    """

    kind: int
    namespace: str
    id: str = ""
    values: Sequence[bytes] = ()
    too_deep: bool = False


def read_packet(data: bytes) -> V09Packet:
    """Read a packet; a message, as text or JSON, is read as the event `message`. Raises `BadPacket`."""
    try:
        return _read_packet(data)
    except BadPacket:
        repaired = without_lone_surrogates(data)
        if repaired == data:
            raise
    return _read_packet(repaired)


def _read_packet(data: bytes) -> V09Packet:
    found = _PACKET.fullmatch(data)
    if found is None:
        raise BadPacket("not a packet of Socket.IO 0.9")
    kind, number, namespace, content = int(found[1]), (found[2] or b"").decode(), _namespace(found[4]), found[5]
    # An envelope is the whole JSON of a message, or two levels within that of an event.
    if kind in (JSON, EVENT) and nests_deeper(content, MAX_NESTING + 2 * (kind == EVENT)):
        return V09Packet(kind, namespace, number, [content], too_deep=True)
    try:
        if kind == TEXT:
            return V09Packet(kind, namespace, number, [b'"message"', _json.encode(content.decode())])
        if kind == JSON:
            _syntax.decode(content)
            return V09Packet(kind, namespace, number, [b'"message"', content])
        if kind == EVENT:
            event = _event.decode(content)
            return V09Packet(kind, namespace, number, [bytes(event.name), *map(bytes, event.args)])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadPacket("data that this packet type does not have") from None
    return V09Packet(kind, namespace, number)


class V09Framing:
    """The `Framing` of version 0.9, which has no binary data."""

    control: Final = ControlPackets(ping=Frame(b"2::"), close=Frame(b"0::"), noop=Frame(b"8::"))

    def read(self, frame: Frame) -> EnginePacket:
        """Read the packet that a WebSocket message is."""
        if not frame.is_text:
            raise BadPacket("a binary message, which this version does not have")
        return _engine_packet(frame.data)

    def read_payload(self, body: bytes, *, binary: bool) -> Sequence[EnginePacket]:
        """Read one packet, or several, each after U+FFFD, its length in UTF-16 units, and U+FFFD."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise BadPacket("not UTF-8") from None
        if not text.startswith(_MARK):
            return [_engine_packet(body)]
        packets: list[EnginePacket] = []
        # In UTF-16, a unit is two bytes, so that twice the length is an offset.
        units, at = text.encode("utf-16-le"), 0
        mark = _MARK.encode("utf-16-le")
        while at < len(units):
            end = units.find(mark, at + 2, at + 2 * _MAX_DIGITS + 4)
            digits = units[at + 2 : end].replace(b"\0", b"")
            if end < 0 or units[at : at + 2] != mark or not digits.isdigit():
                raise BadPacket("a packet without its length")
            at = end + 2 + 2 * int(digits)
            if at > len(units):
                raise BadPacket("a packet shorter than its length")
            packets.append(_engine_packet(units[end + 2 : at].decode("utf-16-le", "replace").encode()))
            if len(packets) > MAX_PACKETS:
                raise BadPacket(f"more than {MAX_PACKETS} packets")
        return packets

    def write_payload(self, frames: Iterable[Frame]) -> Payload:
        """Write a single packet as it is, and several each after its length."""
        texts = [frame.data for frame in frames]
        mark = _MARK.encode()
        if len(texts) == 1:
            return Payload(texts[0])
        return Payload(b"".join([b"%b%d%b%b" % (mark, _utf16_length(one), mark, one) for one in texts]))

    def as_text(self, frame: Frame) -> Frame:
        """Return the frame: all frames of this version are text."""
        return frame


class V09Encoder:
    """Writes packets of version 0.9, in ASCII but for the namespace in an error packet.

    There are no binary attachments: each placeholder is replaced by its attachment in Base64.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = b"" if namespace == "/" else namespace.encode()

    def event(self, event: OutgoingEvent) -> Frame:
        """Write an event packet; arguments nested too deep keep their placeholders."""
        arguments = event.arguments
        if event.attachments and not any(map(nests_deeper, arguments)):
            values = [_any.decode(value) for value in arguments]
            arguments = [_json.encode(_with_attachments(value, event.attachments)) for value in values]
        return self._ascii(b'5::%b:{"name":%b,"args":[%b]}' % (self._namespace, event.name, b",".join(arguments)))

    def ack(self, number: str, *values: object) -> Frame:
        """Write an acknowledgement packet with data."""
        return self._ascii(b"6::%b:%b+%b" % (self._namespace, number.encode("ascii"), _json.encode(values)))

    def connect(self, peer: str, private_id: str) -> Frame:
        """Write a connect packet, which has no ids."""
        return self._ascii(b"1::%b" % self._namespace)

    def connect_error(self, code: str, text: str) -> Frame:
        """Write an error packet; it has only numbers, and 2 is "unauthorized"."""
        return Frame(b"7::%b:2" % self._namespace)

    def disconnect(self) -> Frame:
        """Write a disconnect packet."""
        return self._ascii(b"0::%b" % self._namespace)

    def _ascii(self, text: bytes) -> Frame:
        return Frame(text if text.isascii() else escaped(text))


def _namespace(name: bytes) -> str:
    """Read a namespace; the query that may follow it is not read."""
    try:
        return name.decode().partition("?")[0] or "/"
    except UnicodeDecodeError:
        raise BadPacket("a namespace that is not UTF-8") from None


def _utf16_length(text: bytes) -> int:
    return len(text) if text.isascii() else len(text.decode().encode("utf-16-le")) // 2


def _engine_packet(data: bytes) -> EnginePacket:
    """Read packets that concern the connection as Engine.IO's packets of that meaning, and all others as messages."""
    if data[:2] == b"2:":
        return EnginePacket(PONG, b"")
    if data[:2] == b"8:":
        return EnginePacket(NOOP, b"")
    if data in (b"0::", b"0", b"0:::"):
        return EnginePacket(CLOSE, b"")
    return EnginePacket(MESSAGE, data)


def _with_attachments(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return [_with_attachments(one, attachments) for one in value]
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]  # msgspec writes bytes as Base64
        return {name: _with_attachments(one, attachments) for name, one in value.items()}
    return value
