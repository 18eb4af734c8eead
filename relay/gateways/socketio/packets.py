"""Engine.IO packets, and the payloads in which long polling carries several; revisions 4 and 3 of the protocol.

A packet is one digit, its type, and then its data. Over a WebSocket, each packet is one message. An outgoing packet is
a `codec.Frame` that already begins with its digit, as in a WebSocket message.

Revision 4 (Socket.IO 3 and newer) joins the packets of a payload with U+001E. Revision 3 (Socket.IO 1 and 2) writes a
length before each packet, as text or in a binary form. Both write binary data as Base64 where they need text.
Source: https://github.com/socketio/engine.io-protocol, whose branch `v3` has revision 3.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from relay.model.base64_text import read_base64
from relay.model.codec import Frame

Revision = Literal[3, 4]
"""The Engine.IO revision of a client: 4 with Socket.IO 3 and newer, 3 with Socket.IO 1 and 2."""

Version = Literal[2, 3, 4]
"""The value of a client's `EIO` parameter. Socket.IO 1.0 sends 2; only its text over a WebSocket differs from 3."""

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = range(7)

MAX_PACKETS: Final = 10_000
"""Packets in one payload."""

_TOO_MANY: Final = f"more than {MAX_PACKETS} packets"
_SEPARATOR: Final = b"\x1e"
_BINARY_MESSAGE: Final = b"\x04"
_MAX_DIGITS: Final = 9
"""Digits of a packet's length in a payload; larger lengths are refused unread."""


class BadPacket(Exception):
    """The client sent something that is not a packet of its protocol; the connection is closed.

    Engine.IO and Socket.IO have no answer to such a packet, and the reference implementation closes as well.
    """


@dataclass(frozen=True, slots=True)
class ControlPackets:
    """The packets without data that a server sends; `ping` is None if the client is the one that pings."""

    ping: Frame | None
    close: Frame
    noop: Frame


class Framing(Protocol):
    """How packets are written in messages and payloads, in one version of the protocol."""

    @property
    def control(self) -> ControlPackets:
        """The packets without data."""
        ...

    def read(self, frame: Frame) -> "EnginePacket":
        """Read the packet in a WebSocket message; raises `BadPacket`."""
        ...

    def read_payload(self, body: bytes, *, binary: bool) -> "Sequence[EnginePacket]":
        """Read the body of a POST, `binary` by its media type; raises `BadPacket`."""
        ...

    def write_payload(self, frames: Iterable[Frame]) -> "Payload":
        """Write the answer to a poll from single frames (the parts of a bundle, not the bundle)."""
        ...

    def as_text(self, frame: Frame) -> Frame:
        """Return the frame as a text frame, for clients that cannot read binary messages."""
        ...


class EnginePacket(NamedTuple):
    """One packet: its type (0 to 6), and its data, which is UTF-8 unless it is `binary`."""

    kind: int
    data: bytes
    binary: bool = False


class Payload(NamedTuple):
    """The body of the answer to a poll; `binary` decides its media type."""

    body: bytes
    binary: bool = False


class EngineFraming:
    """Engine.IO's own `Framing`.

    `binary` is for clients of revision 3 that read binary payloads: they get nothing else, because clients up to
    Socket.IO 1.3 read nothing else. `encodes_twice` is for clients that also double-encode text over a WebSocket.
    """

    def __init__(self, revision: Revision, *, binary: bool = False, encodes_twice: bool = False) -> None:
        self._revision: Revision = revision
        self._binary = binary
        self._encodes_twice = encodes_twice
        self.control = ControlPackets(Frame(b"2") if revision == 4 else None, Frame(b"1"), Frame(b"6"))

    def read(self, frame: Frame) -> EnginePacket:
        """Read a text message by its first digit; a binary one is a message, in revision 3 after a byte 4."""
        if frame.is_text:
            text = _undo_double_encoding(frame.data.decode()) if self._encodes_twice else frame.data
            return _read_text(text, self._revision)
        if self._revision == 4:
            return EnginePacket(MESSAGE, frame.data, binary=True)
        return _read_binary(frame.data)

    def read_payload(self, body: bytes, *, binary: bool) -> Sequence[EnginePacket]:
        """Read at most `MAX_PACKETS` packets, in the form of the revision and of the media type."""
        packets: list[EnginePacket] = []
        for packet in _packets(body, self._revision, binary=binary):
            packets.append(packet)
            if len(packets) > MAX_PACKETS:
                raise BadPacket(_TOO_MANY)
        if not packets:
            raise BadPacket("an empty payload")
        return packets

    def write_payload(self, frames: Iterable[Frame]) -> Payload:
        """Write a binary payload for clients that read only those, else a text payload."""
        if self._binary:
            return Payload(b"".join(map(_binary_packet, frames)), binary=True)
        texts = [self.as_text(frame).data for frame in frames]
        if self._revision == 4:
            return Payload(_SEPARATOR.join(texts))
        # Lengths count characters. The encoder writes ASCII in revision 3, so characters are bytes here.
        return Payload(b"".join([b"%d:%b" % (len(text), text) for text in texts]))

    def as_text(self, frame: Frame) -> Frame:
        """Write a binary frame as Base64 after `b` (`b4` in revision 3, which keeps the packet type)."""
        if frame.is_text:
            return frame
        if self._revision == 4:
            return Frame(b"b" + base64.b64encode(frame.data))
        return Frame(b"b4" + base64.b64encode(frame.data[1:]))


FRAMINGS: Final[Mapping[Version, EngineFraming]] = {
    4: EngineFraming(4),
    3: EngineFraming(3, binary=True),
    2: EngineFraming(3, binary=True, encodes_twice=True),
}
TEXT_FRAMINGS: Final[Mapping[Version, EngineFraming]] = {
    4: FRAMINGS[4],
    3: EngineFraming(3),
    2: EngineFraming(3, encodes_twice=True),
}
"""For clients that ask for text with `b64=1`, because they cannot read binary payloads."""


def attachment(data: bytes, revision: Revision) -> Frame:
    """Make the binary frame that carries these bytes as a message."""
    return Frame(data if revision == 4 else _BINARY_MESSAGE + data, is_text=False)


def _binary_packet(frame: Frame) -> bytes:
    """Write a packet of a binary payload, in the form that `_split_binary` reads."""
    digits = bytes([digit - 48 for digit in b"%d" % len(frame.data)])
    return b"%b%b\xff%b" % (b"\0" if frame.is_text else b"\1", digits, frame.data)


def _packets(body: bytes, revision: Revision, *, binary: bool) -> Iterator[EnginePacket]:
    if binary:
        if revision == 4:
            raise BadPacket("a binary payload in revision 4, which has none")
        return _split_binary(body)
    if revision == 3:
        return (_read_text(text, 3) for text in _split_by_length(body))
    _check_utf8(body)
    # Ahead of the split, which would make a list of as many parts as there are bytes.
    if body.count(_SEPARATOR) >= MAX_PACKETS:
        raise BadPacket(_TOO_MANY)
    return (_read_text(text, 4) for text in body.split(_SEPARATOR))


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise BadPacket("not UTF-8") from None


def _read_text(text: bytes, revision: Revision) -> EnginePacket:
    if text[:1] == b"b":
        return _read_base64(text, revision)
    kind = text[:1]
    if not b"0" <= kind <= b"6":
        raise BadPacket("an unknown packet type")
    return EnginePacket(kind[0] - 48, text[1:])


def _read_base64(text: bytes, revision: Revision) -> EnginePacket:
    """Read a binary message written as text: `b` and Base64, with the type 4 in between in revision 3."""
    start = 1
    if revision == 3:
        if text[1:2] != b"4":
            raise BadPacket("a binary packet of another type than message")
        start = 2
    return EnginePacket(MESSAGE, read_base64(text[start:]), binary=True)


def _read_binary(data: bytes) -> EnginePacket:
    if data[:1] != _BINARY_MESSAGE:
        raise BadPacket("a binary packet of another type than message")
    return EnginePacket(MESSAGE, data[1:], binary=True)


def _split_by_length(body: bytes) -> Iterator[bytes]:
    """Split `length:packet…`. JavaScript counts a string in UTF-16 units, and so do these lengths."""
    try:
        # In UTF-16, a unit is two bytes, so that twice the length is an offset.
        units = body.decode().encode("utf-16-le")
    except UnicodeDecodeError:
        raise BadPacket("not UTF-8") from None
    at = 0
    while at < len(units):
        end = units.find(b":\0", at, at + 2 * _MAX_DIGITS + 2)
        digits = units[at:end].replace(b"\0", b"") if end >= 0 else b""
        if not digits.isdigit():
            raise BadPacket("a packet without its length")
        at = end + 2 + 2 * int(digits)
        if at > len(units):
            raise BadPacket("a packet shorter than its length")
        try:
            yield _undo_double_encoding(units[end + 2 : at].decode("utf-16-le"))
        except UnicodeError:
            raise BadPacket("a length that splits a character") from None


def _undo_double_encoding(text: str) -> bytes:
    """Return the UTF-8 of a text, decoded once more where that is possible.

    Socket.IO 1 clients encode text as UTF-8 and then send each byte as a character, which is encoded again on the
    wire. Socket.IO 2 clients do not, and use the same `EIO=3` when polling. So the text decides: one that decodes
    twice is decoded twice. The price: a 2.x client's text that happens to decode twice, such as "Ã©", is read wrongly.
    """
    if not text.isascii():
        try:
            once = text.encode("latin-1")
            once.decode()
        except UnicodeError:
            pass
        else:
            return once
    return text.encode()


def _split_binary(body: bytes) -> Iterator[EnginePacket]:
    """Split a binary payload: before each packet stand 0 (text) or 1 (binary), the length's digits as bytes, and 255.

    The digits are the values 0 to 9, not their characters.
    """
    at = 0
    while at < len(body):
        end = body.find(b"\xff", at, at + _MAX_DIGITS + 2)
        digits = body[at + 1 : end]
        if end < 0 or not digits or max(digits) > 9 or body[at] > 1:
            raise BadPacket("a packet without its length")
        is_binary = body[at] == 1
        at = end + 1 + int("".join(map(str, digits)))
        if at > len(body):
            raise BadPacket("a packet shorter than its length")
        packet = body[end + 1 : at]
        if is_binary:
            yield _read_binary(packet)
        else:
            _check_utf8(packet)
            yield _read_text(packet, 3)
