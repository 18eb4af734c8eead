"""The packets of Socket.IO 0.9: `type:[id[+]]:[namespace][:data]`, and the payloads in which polling carries several.

What other versions keep apart in two protocols is one here; the heartbeat is read as Engine.IO's.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
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
from relay.model.json_text import without_lone_surrogates

DISCONNECT, CONNECT, HEARTBEAT, TEXT, JSON, EVENT, ACK, ERROR, IGNORED = range(9)

_PACKET: Final = re.compile(rb"([0-8]):(\d{1,15})?(\+)?:([^:]*):?(.*)", re.DOTALL)
_MARK: Final = "\ufffd"
_MAX_DIGITS: Final = 9
_json = msgspec.json.Encoder()
_any = msgspec.json.Decoder()


class _Event(Struct):
    name: Raw
    args: list[Raw] = msgspec.field(default_factory=list)


_event = msgspec.json.Decoder(_Event)


class V09Packet(NamedTuple):
    """One packet; `values` are the name and the arguments of an event, each as JSON."""

    kind: int
    namespace: str
    id: str = ""
    values: Sequence[bytes] = ()


def read_parcel(data: bytes) -> V09Packet:
    """Read a packet; a message, as text or JSON, is the event `message`. Raises `BadPacket`."""
    try:
        return _parcel(data)
    except BadPacket:
        whole = without_lone_surrogates(data)
        if whole == data:
            raise
    return _parcel(whole)


def _parcel(data: bytes) -> V09Packet:
    found = _PACKET.fullmatch(data)
    if found is None:
        raise BadPacket("not a packet of Socket.IO 0.9")
    kind, number, namespace = int(found[1]), (found[2] or b"").decode(), _namespace(found[4])
    try:
        match kind:
            case _ if kind == TEXT:
                return V09Packet(kind, namespace, number, [b'"message"', _json.encode(found[5].decode())])
            case _ if kind == JSON:
                _any.decode(found[5])
                return V09Packet(kind, namespace, number, [b'"message"', found[5]])
            case _ if kind == EVENT:
                event = _event.decode(found[5])
                return V09Packet(kind, namespace, number, [bytes(event.name), *map(bytes, event.args)])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadPacket("a payload that this type does not have") from None
    return V09Packet(kind, namespace, number)


class V09Framing:
    """See `Framing`."""

    wording: Final = ControlPackets(ping=Frame(b"2::"), close=Frame(b"0::"), noop=Frame(b"8::"))

    def read(self, frame: Frame) -> EnginePacket:
        """See `Framing.read`."""
        if not frame.is_text:
            raise BadPacket("a binary message, which this version does not have")
        return _packet(frame.data)

    def read_payload(self, body: bytes, *, binary: bool) -> Sequence[EnginePacket]:
        """See `Framing.read_payload`; of several packets, each stands behind its length in UTF-16 units."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise BadPacket("not UTF-8") from None
        if not text.startswith(_MARK):
            return [_packet(body)]
        packets: list[EnginePacket] = []
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
            packets.append(_packet(units[end + 2 : at].decode("utf-16-le", "replace").encode()))
            if len(packets) > MAX_PACKETS:
                raise BadPacket(f"more than {MAX_PACKETS} packets")
        return packets

    def write_payload(self, frames: Iterable[Frame]) -> Payload:
        """See `Framing.write_payload`."""
        texts = [frame.data for frame in frames]
        mark = _MARK.encode()
        if len(texts) == 1:
            return Payload(texts[0])
        return Payload(b"".join([b"%b%d%b%b" % (mark, _units(one), mark, one) for one in texts]))

    def as_text(self, frame: Frame) -> Frame:
        """See `Framing.as_text`: there are no others."""
        return frame


class V09Encoder:
    """See `PacketEncoder`; attachments are told as Base64, in the places of their placeholders.

    All is ASCII but the names of namespaces that are refused for it.
    """

    def __init__(self, namespace: str) -> None:
        self._space = b"" if namespace == "/" else namespace.encode()

    def event(self, event: OutgoingEvent) -> Frame:
        """See `PacketEncoder.event`."""
        arguments = event.arguments
        if event.attachments:
            with suppress(RecursionError):  # nested so deep, placeholders stay
                values = [_any.decode(value) for value in event.arguments]
                arguments = [_json.encode(_filled(value, event.attachments)) for value in values]
        return self._write(b'5::%b:{"name":%b,"args":[%b]}' % (self._space, event.name, b",".join(arguments)))

    def ack(self, number: str, value: object) -> Frame:
        """See `PacketEncoder.ack`."""
        return self._write(b"6::%b:%b+[%b]" % (self._space, number.encode("ascii"), _json.encode(value)))

    def entered(self, peer: str, private: str) -> Frame:
        """See `PacketEncoder.entered`."""
        return self._write(b"1::%b" % self._space)

    def refused(self, code: str, text: str) -> Frame:
        """See `PacketEncoder.refused`; reason 2 is "unauthorized"."""
        return Frame(b"7::%b:2" % self._space)

    def left(self) -> Frame:
        """See `PacketEncoder.left`."""
        return self._write(b"0::%b" % self._space)

    def _write(self, text: bytes) -> Frame:
        return Frame(text if text.isascii() else escaped(text))


def _namespace(found: bytes) -> str:
    try:
        name = found.decode().partition("?")[0]
    except UnicodeDecodeError:
        raise BadPacket("a namespace that is not UTF-8") from None
    return name or "/"


def _units(text: bytes) -> int:
    """How long a text is in UTF-16."""
    return len(text) if text.isascii() else len(text.decode().encode("utf-16-le")) // 2


def _packet(data: bytes) -> EnginePacket:
    """Tell what is of the connection from what is of a namespace."""
    if data[:2] == b"2:":
        return EnginePacket(PONG, b"")
    if data[:2] == b"8:":
        return EnginePacket(NOOP, b"")
    if data in (b"0::", b"0", b"0:::"):
        return EnginePacket(CLOSE, b"")
    return EnginePacket(MESSAGE, data)


def _filled(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return [_filled(one, attachments) for one in value]
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]  # msgspec writes bytes as Base64
        return {name: _filled(one, attachments) for name, one in value.items()}
    return value
