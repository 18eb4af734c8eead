"""Writes Socket.IO packets for clients: revisions 5 and 4 of the protocol here, version 0.9 in `v09.packets`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from relay.gateways.socketio.offsets import POSITION_EVENT, Offset, OffsetForm
from relay.gateways.socketio.packets import Revision, attachment
from relay.model.codec import Bundle, Frame, text_wire
from relay.model.envelope import MessageId

_json = msgspec.json.Encoder()
_POSITION_NAME: Final = b'"%b"' % POSITION_EVENT.encode("ascii")


class OutgoingEvent(Struct):
    """An event for clients: its name and its arguments, each as JSON, and the bytes of its attachments.

    `position` is the room, and the id up to which a client that gets this event has the events of that room.
    """

    name: bytes
    arguments: list[bytes]
    attachments: Sequence[bytes] = ()
    position: tuple[str, MessageId] | None = None


class PacketEncoder(Protocol):
    """Writes the packets of one protocol version for one namespace."""

    def event(self, event: OutgoingEvent) -> Frame:
        """Write an event."""
        ...

    def ack(self, number: str, *values: object) -> Frame:
        """Write the acknowledgement of the client's packet with this number."""
        ...

    def connect(self, peer: str, private_id: str) -> Frame:
        """Accept the client in the namespace; it recovers its membership with the `private_id` ("": it cannot)."""
        ...

    def connect_error(self, code: str, text: str) -> Frame:
        """Refuse the client in the namespace."""
        ...

    def disconnect(self) -> Frame:
        """Remove the client from the namespace; it does not connect to it again by itself."""
        ...


class EventWriter:
    """Writes events with offsets in one `form`; `encoder` writes their packets."""

    __slots__ = ("_encoder", "_form", "_position_head")

    def __init__(self, encoder: PacketEncoder, form: OffsetForm) -> None:
        self._encoder = encoder
        self._form = form
        # The packet up to its argument.
        self._position_head = encoder.event(OutgoingEvent(_POSITION_NAME, [b""])).data[:-1]

    def event(self, event: OutgoingEvent, offset: Offset) -> Frame:
        """Write an event, and the offset of a client that has got it."""
        form = self._form
        if form is OffsetForm.EVENT:
            # Nearly all messages come this way.
            position = b'%b"%b"]' % (self._position_head, offset.encode())
            return PositionedFrame(self._encoder.event(event), position, offset, event, self)
        if form is OffsetForm.NONE:
            return self._encoder.event(event)
        arguments = [*event.arguments, b'"%b"' % offset.encode()]
        packet = self._encoder.event(OutgoingEvent(event.name, arguments, event.attachments))
        return PositionedFrame(packet, b"", offset, event, self)

    def position(self, offset: Offset) -> Frame:
        """Write the event that only carries an offset."""
        return Frame(b'%b"%b"]' % (self._position_head, offset.encode()))

    def ack(self, number: str, values: Sequence[object], offset: Offset | None) -> Frame:
        """Write an acknowledgement; `offset` has the id of the acknowledged message, if it is one."""
        frame = self._encoder.ack(number, *values)
        return frame if self._form is OffsetForm.NONE else AckFrame(frame.data, number, offset, self)


class PositionedFrame(Frame):
    """An event with the offset of a client that has got it; `position` is the packet with the offset, b"" for none."""

    __slots__ = ("_event", "_packet", "_position", "_writer", "offset")

    def __init__(
        self, packet: Frame, position: bytes, offset: Offset, event: OutgoingEvent, writer: EventWriter
    ) -> None:
        # As the base class does, without its call: this runs for nearly every message.
        self.data, self.is_text, self._text, self._wire = packet.data, packet.is_text, None, None
        self._packet = packet
        self._position = position
        self.offset = offset
        self._event = event
        self._writer = writer

    @property
    def parts(self) -> Sequence[Frame]:
        """The frames of the event, and that of its offset."""
        return (*self._packet.parts, Frame(self._position)) if self._position else self._packet.parts

    @property
    def wire(self) -> bytes:
        """The bytes of all frames; made on first use."""
        if self._wire is None:
            wire, position = self._packet.wire, self._position
            self._wire = wire + text_wire(position) if position else wire
        return self._wire

    def with_offset(self, offset: Offset) -> Frame:
        """Return the event with another offset."""
        return self._writer.event(self._event, offset)


class AckFrame(Frame):
    """An acknowledgement; `number` is that of the client's packet, and `offset` has the id of the message, if any."""

    __slots__ = ("_writer", "number", "offset")

    def __init__(self, data: bytes, number: str, offset: Offset | None, writer: EventWriter) -> None:
        super().__init__(data)
        self.number = number
        self.offset = offset
        self._writer = writer

    def position_frame(self, offset: Offset) -> Frame:
        """Return the event that only carries an offset, for the same client."""
        return self._writer.position(offset)


class PacketSequence(Bundle):
    """Several packets that are written together; `packets` are their frames, of which each may have parts."""

    __slots__ = ("packets",)

    def __init__(self, packets: Sequence[Frame]) -> None:
        super().__init__([part for packet in packets for part in packet.parts])
        self.packets = packets


class ModernEncoder:
    """Writes revision 5 (over Engine.IO 4) or 4 (over Engine.IO 3); each packet begins with Engine.IO's type, 4."""

    def __init__(self, revision: Revision, namespace: str) -> None:
        self._revision: Revision = revision
        # A namespace that is not ASCII is always refused. A client of version 2 gets that refusal for `/`, which its
        # other namespaces hear too: its payloads carry only ASCII, and a name cannot be escaped as JSON can.
        unnamed = namespace == "/" or (revision == 3 and not namespace.isascii())
        self._namespace = b"" if unnamed else namespace.encode() + b","
        self._event = b"42" + self._namespace + b"["

    def event(self, event: OutgoingEvent) -> Frame:
        """Write an EVENT packet, or a BINARY_EVENT packet and its attachments."""
        text = b",".join([event.name, *event.arguments]) + b"]"
        if not event.attachments:
            return self._text(self._event + text)
        head = b"45%d-%b[" % (len(event.attachments), self._namespace)
        binary = [attachment(data, self._revision) for data in event.attachments]
        return Bundle([self._text(head + text), *binary])

    def ack(self, number: str, *values: object) -> Frame:
        """Write an ACK packet."""
        return self._text(b"43%b%b%b" % (self._namespace, number.encode("ascii"), _json.encode(values)))

    def connect(self, peer: str, private_id: str) -> Frame:
        """Write a CONNECT packet; in revision 4 it has no ids, and clients use the id of their connection."""
        if self._revision == 3:
            return Frame(b"40" + self._namespace)
        fields: Mapping[str, str] = {"sid": peer, "pid": private_id} if private_id else {"sid": peer}
        return Frame(b"40" + self._namespace + _json.encode(fields))

    def connect_error(self, code: str, text: str) -> Frame:
        """Write a CONNECT_ERROR packet; in revision 4 it is the ERROR packet, whose data is the text alone."""
        if self._revision == 3:
            return Frame(b"44" + self._namespace + _json.encode(text))
        error: dict[str, Any] = {"message": text}
        if code != "bad_namespace":  # the reference implementation sends no `data` for this one
            error["data"] = {"code": code, "text": text}
        return Frame(b"44" + self._namespace + _json.encode(error))

    def disconnect(self) -> Frame:
        """Write a DISCONNECT packet."""
        return Frame(b"41" + self._namespace)

    def _text(self, text: bytes) -> Frame:
        return Frame(text if self._revision == 4 or text.isascii() else escaped(text))


def escaped(json: bytes) -> bytes:
    r"""Return the JSON as ASCII, other characters as `\u` escapes.

    Clients of versions 0.9, 1 and 2 disagree on how polling encodes and counts characters that are not ASCII.
    """
    text = json.decode().encode("utf-16-be")
    units = [text[at] << 8 | text[at + 1] for at in range(0, len(text), 2)]
    return "".join([chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in units]).encode("ascii")
