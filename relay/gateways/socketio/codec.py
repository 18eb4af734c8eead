"""Translates between the packets of one namespace, and commands and events, as an application understands them.

The codec accepts and refuses clients in their namespace, and adds offsets (see `offsets`). The meaning of events is the
application's; see `apps`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from relay.gateways.base.plain_envelope import channel_of
from relay.gateways.socketio.apps.application import (
    Application,
    OutgoingPacket,
    ReplyTo,
    StatefulApplication,
    reply_to,
)
from relay.gateways.socketio.apps.relay import RETRYABLE
from relay.gateways.socketio.encoders import EventWriter, OutgoingEvent, PacketEncoder, PacketSequence
from relay.gateways.socketio.offsets import Offset, OffsetForm
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import IncomingEvent, read_name
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame

_MESSAGE: Final = b'2["message",{'

_EMITTED: Final = "ack"
"""The request that the reply keys of events for a `StatefulApplication` name."""


class _Key(Struct, forbid_unknown_fields=True):
    """The last argument of an event with a key."""

    key: Raw = msgspec.field(name="relay:key")


_key = msgspec.json.Decoder(_Key)


class Emitted(GatewayCommand):
    """An event for the client's `ApplicationClient`; its key is that of an acknowledgement, "" without a callback."""

    __slots__ = ("event",)

    about = "event"

    def __init__(self, event: IncomingEvent) -> None:
        self.event = event

    @property
    def key(self) -> str:
        """The reply key of the event."""
        return ReplyTo(_EMITTED, self.event.id).key if self.event.id else ""


class EventFrame(Frame):
    """An event of the relay for clients of a `StatefulApplication`, each of which may write it in its own way."""

    __slots__ = ("_packets", "_write", "event")

    def __init__(self, event: events.Event, write: Callable[[events.Event], Frame]) -> None:
        # The data is never sent: buffers count its size.
        super().__init__(event.body if isinstance(event, events.Message) else b"")
        self.event = event
        self._write = write
        self._packets: Frame | None = None

    @property
    def packets(self) -> Frame:
        """The packets of the application, made once for all clients."""
        if self._packets is None:
            self._packets = self._write(self.event)
        return self._packets


class StatefulCodec:
    """The `Codec` of one version, one namespace and one `StatefulApplication`: leaves events to the client's state."""

    def __init__(self, encoder: PacketEncoder, key: str, application: StatefulApplication) -> None:
        self.encoder = encoder
        self.key = f"{key}\n\n{application.key}"
        self._application = application

    def decode(self, incoming: IncomingEvent) -> Command:
        """Return the event, as it is."""
        if incoming.too_deep:
            raise BadFrame("bad_json", about="event", key=Emitted(incoming).key)
        return Emitted(incoming)

    def encode(self, event: events.Event) -> Frame:
        """Return the frame that each client has written."""
        return EventFrame(event, self._write)

    def _write(self, event: events.Event) -> Frame:
        frames = [
            self.encoder.event(packet)
            if isinstance(packet, OutgoingEvent)
            else self.encoder.ack(packet.number, *packet.values)
            for packet in self._application.packets(event)
        ]
        if len(frames) == 1:
            return frames[0]
        return PacketSequence(frames) if frames else NOTHING


class SocketIOCodec:
    """The `Codec` of one version, one namespace and one application; `encoder` writes its packets.

    Clients get offsets in this `form`. `home` is the room of the namespace.
    """

    def __init__(
        self, encoder: PacketEncoder, key: str, application: Application, *, home: str, form: OffsetForm
    ) -> None:
        self.encoder = encoder
        # No namespace of a room has a line break, so that no two namespaces and applications have the same key.
        self.key = f"{key}\n{form.value}\n{application.key}"
        self._packets = application.packets
        self._home = home
        self._form = form
        self._writer = EventWriter(encoder, form)
        # An attribute and not a method: one call less for every message.
        self.decode: Callable[[IncomingEvent], Command] = application.command

    def encode(self, event: events.Event) -> Frame:
        """Write the packets of the application, after those with which a client enters its namespace."""
        packets = self._packets(event)
        if isinstance(event, events.Message) and len(packets) == 1:
            return self._write(packets[0], event)
        if isinstance(event, events.Failure) and event.about == "join" and not event.key:
            # After a CONNECT_ERROR, a client stays away. Without one, its connection is closed, and it comes back.
            return NOTHING if event.code in RETRYABLE else self.encoder.connect_error(event.code, event.text)
        frames = [self._write(packet, event) for packet in packets]
        if isinstance(event, events.Welcome) and reply_to(event.key) is None:
            frames.insert(0, self._connect(event))
        if len(frames) == 1:
            return frames[0]
        return PacketSequence(frames) if frames else NOTHING

    def _write(self, packet: OutgoingPacket, event: events.Event) -> Frame:
        if isinstance(packet, OutgoingEvent):
            if packet.position is None:
                return self.encoder.event(packet)
            room, position = packet.position
            return self._writer.event(packet, self._offset(position, room))
        acknowledged = self._offset(event.id, event.room) if isinstance(event, events.Ack) else None
        return self._writer.ack(packet.number, packet.values, acknowledged)

    def _offset(self, position: MessageId, room: str) -> Offset:
        return Offset(position, "" if room == self._home else room)

    def _connect(self, event: events.Welcome) -> Frame:
        if self._form is OffsetForm.NONE:
            return self.encoder.connect(event.peer, "")
        # A client considers itself recovered exactly if the private id is the one that it has sent.
        if event.recovered:
            return self.encoder.connect(event.peer, event.key)
        return self.encoder.connect(event.peer, f"{event.peer}.{event.resume}.{event.id}")


def incoming_event(
    values: Sequence[bytes], number: str, attachments: Sequence[bytes], *, too_deep: bool = False
) -> IncomingEvent:
    """Make the event that a session receives from the array of an EVENT packet; raises `BadPacket`."""
    if too_deep:
        return IncomingEvent("", values, number, too_deep=True)
    if not values:
        raise BadPacket("an event without a name")
    name, arguments, key = read_name(values[0]), values[1:], None
    if arguments and b'"relay:key"' in arguments[-1]:
        key = _read_key(arguments[-1])
        arguments = arguments if key is None else arguments[:-1]
    may_be_envelope = name == "message" and len(arguments) == 1 and not attachments
    channel = channel_of(arguments[0]) if may_be_envelope else None
    return IncomingEvent(name, arguments, number, attachments, channel, key=key)


def _read_key(argument: bytes) -> bytes | None:
    """Return the JSON of the key in an argument that is an object with the one field `relay:key`; None for others."""
    try:
        return bytes(_key.decode(argument).key)
    except msgspec.MsgspecError:
        return None


def read_message_event(data: bytes) -> IncomingEvent | None:
    """Read a packet that is a `message` event with an envelope in `/`; None for all other packets.

    Most packets are of this form. Reading them here takes one pass of the JSON parser, where the general way takes
    a regular expression and two passes.
    """
    if data.startswith(_MESSAGE) and data.endswith(b"}]"):
        # If the bytes from brace to brace are one JSON object, the packet is an array of the name and this object.
        envelope = data[len(_MESSAGE) - 1 : -1]
        channel = channel_of(envelope)
        if channel is not None:
            return IncomingEvent("message", (envelope,), channel=channel)
    return None
