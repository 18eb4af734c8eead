"""Engine.IO packets, and the payloads in which long polling carries several; revisions 4 and 3 of the protocol.

A packet is a digit for its type, then its data. Over WebSocket each is a message of its own. What goes out is a
`codec.Frame` that begins with the digit already, as it would stand in a WebSocket message.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from relay.model.codec import Frame

Revision = Literal[3, 4]
"""Which Engine.IO a client speaks: 4 with Socket.IO 3 and newer, 3 with Socket.IO 1 and 2."""

Version = Literal[2, 3, 4]
"""What a client calls that: with Socket.IO 1.0 it is 2, and only text over a WebSocket differs from 3."""

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = range(7)

MAX_PACKETS: Final = 10_000
"""Packets of one payload."""

_SEPARATOR: Final = b"\x1e"
_BINARY_MESSAGE: Final = b"\x04"
_MAX_DIGITS: Final = 9


class BadPacket(Exception):
    """What came is no packet of this protocol; the connection ends with it, as no protocol version has an answer."""


@dataclass(frozen=True, slots=True)
class ControlPackets:
    """The packets without data that a server sends; without a `ping`, it is the client that asks."""

    ping: Frame | None
    close: Frame
    noop: Frame


class Framing(Protocol):
    """How packets stand in messages and payloads, in one revision of the protocol."""

    @property
    def wording(self) -> ControlPackets:
        """What is said without data."""
        ...

    def read(self, frame: Frame) -> "EnginePacket":
        """Read the packet in a WebSocket message; raises `BadPacket`."""
        ...

    def read_payload(self, body: bytes, *, binary: bool) -> "Sequence[EnginePacket]":
        """Read the body of a POST, which is `binary` if it says so; raises `BadPacket`."""
        ...

    def write_payload(self, frames: Iterable[Frame]) -> "Payload":
        """Write what answers a poll; `frames` are what a codec made, each part by itself."""
        ...

    def as_text(self, frame: Frame) -> Frame:
        """Return the frame as text, for clients that take no binary messages."""
        ...


class EnginePacket(NamedTuple):
    """One packet: its type (0 to 6), and its data, which is UTF-8 unless it is `binary`."""

    kind: int
    data: bytes
    binary: bool = False


class Payload(NamedTuple):
    """The body that answers a poll; who is to take it for `binary` is told so by its media type."""

    body: bytes
    binary: bool = False


class EngineFraming:
    """See `Framing`; Engine.IO's own.

    Clients of revision 3 that take binary payloads are given no others: up to Socket.IO 1.3, they take nothing else.
    Who `encodes_twice` does so with text over a WebSocket.
    """

    def __init__(self, revision: Revision, *, binary: bool = False, encodes_twice: bool = False) -> None:
        self._revision: Revision = revision
        self._binary = binary
        self._encodes_twice = encodes_twice
        self.wording = ControlPackets(Frame(b"2") if revision == 4 else None, Frame(b"1"), Frame(b"6"))

    def read(self, frame: Frame) -> EnginePacket:
        """See `Framing.read`."""
        if frame.is_text:
            text = _undo_double_encoding(frame.data.decode()) if self._encodes_twice else frame.data
            return _read_text(text, self._revision)
        if self._revision == 4:
            return EnginePacket(MESSAGE, frame.data, binary=True)
        return _read_binary(frame.data)

    def read_payload(self, body: bytes, *, binary: bool) -> Sequence[EnginePacket]:
        """See `Framing.read_payload`."""
        packets: list[EnginePacket] = []
        for packet in _packets(body, self._revision, binary=binary):
            packets.append(packet)
            if len(packets) > MAX_PACKETS:
                raise BadPacket(f"more than {MAX_PACKETS} packets")
        if not packets:
            raise BadPacket("an empty payload")
        return packets

    def write_payload(self, frames: Iterable[Frame]) -> Payload:
        """See `Framing.write_payload`."""
        # In revision 3 texts are ASCII, see `encoder`; so characters, which the length counts, are bytes.
        if self._binary:
            return Payload(b"".join(map(_counted, frames)), binary=True)
        texts = [self.as_text(frame).data for frame in frames]
        if self._revision == 4:
            return Payload(_SEPARATOR.join(texts))
        return Payload(b"".join([b"%d:%b" % (len(text), text) for text in texts]))

    def as_text(self, frame: Frame) -> Frame:
        """See `Framing.as_text`: in Base64, after a `b`."""
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
"""For clients that take no binary payloads."""


def attachment(data: bytes, revision: Revision) -> Frame:
    """Make the binary frame that carries these bytes as a message."""
    return Frame(data if revision == 4 else _BINARY_MESSAGE + data, is_text=False)


def _counted(frame: Frame) -> bytes:
    """A packet in a binary payload; see `_split_binary`."""
    digits = bytes([digit - 48 for digit in b"%d" % len(frame.data)])
    return b"%b%b\xff%b" % (b"\0" if frame.is_text else b"\1", digits, frame.data)


def _packets(body: bytes, revision: Revision, *, binary: bool) -> Iterator[EnginePacket]:
    if binary:
        if revision == 4:
            raise BadPacket("a binary payload")
        return _split_binary(body)
    if revision == 3:
        return (_read_text(text, 3) for text in _split_counted(body))
    _check_text(body)
    return (_read_text(text, 4) for text in body.split(_SEPARATOR))


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise BadPacket("not UTF-8") from None


def _read_text(text: bytes, revision: Revision) -> EnginePacket:
    if text[:1] == b"b":
        start = 1
        if revision == 3:
            if text[1:2] != b"4":
                raise BadPacket("a binary packet that is no message")
            start = 2
        try:
            return EnginePacket(MESSAGE, base64.b64decode(text[start:], validate=True), binary=True)
        except binascii.Error:
            raise BadPacket("not Base64") from None
    kind = text[:1]
    if not b"0" <= kind <= b"6":
        raise BadPacket("an unknown packet type")
    return EnginePacket(kind[0] - 48, text[1:])


def _read_binary(data: bytes) -> EnginePacket:
    if data[:1] != _BINARY_MESSAGE:
        raise BadPacket("a binary packet that is no message")
    return EnginePacket(MESSAGE, data[1:], binary=True)


def _split_counted(body: bytes) -> Iterator[bytes]:
    """Split `length:packet…`, where a length counts UTF-16 units."""
    try:
        # Two bytes a unit, so that lengths are offsets.
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
    """Return the UTF-8 of a text that clients of Socket.IO 1 encode twice, by which alone they can be told apart."""
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
    """Split packets that each follow a byte that tells text (0) from binary (1), the digits of a length, and 255."""
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
            _check_text(packet)
            yield _read_text(packet, 3)
