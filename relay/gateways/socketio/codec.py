"""Translates Socket.IO events to envelopes, and envelopes to events.

`emit("message", data)` with one object that is a valid envelope is relayed as that envelope. Any other event is wrapped
as `{"event": name, "args": […]}`, with its binary attachments as Base64 in `attachments`. In the other direction, an
envelope of that form becomes the event that it names, and any other becomes a `message` event with the envelope as its
sender wrote it. So Socket.IO clients and clients of other protocols understand each other.
"""

import base64
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.gateways.socketio.encoders import OutgoingEvent, PacketEncoder
from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import (
    INHERITED_NAMES,
    MAX_ATTACHMENTS,
    MAX_NAME,
    RESERVED_EVENTS,
    IncomingEvent,
    check_placeholders,
    read_name,
)
from relay.model import events
from relay.model.codec import NOTHING, Bundle, Frame
from relay.model.commands import Command, Detect, Move, Publish
from relay.model.envelope import MAX_CHANNEL, Channel, MessageId
from relay.model.errors import BadFrame, Refused
from relay.model.json_text import MAX_NESTING, SHALLOW_BYTES, nests_deeper
from relay.model.names import escape_room, unescape

RETRYABLE: Final = frozenset({"too_fast", "unavailable", "outcome_unknown"})
"""Errors that are sent as an `error` event and not as the acknowledgement, so that a client with `retries` retries."""

_JOINED: Final = "relay:joined"
_RELAY_EVENTS: Final = frozenset({"error", _JOINED})
"""Events that only the relay emits."""
_NOT_DELIVERED: Final = RESERVED_EVENTS | INHERITED_NAMES | _RELAY_EVENTS | {"presence"}
"""Event names in envelopes that are delivered as `message`: as events, they would deceive or break a client."""

_MESSAGE: Final = b'2["message",{'
_ACK: Final = "ack:"
_JOIN: Final = "join:"


class _Envelope(Struct):
    """An argument that can be relayed as an envelope without change: it has none of these fields but the channel."""

    type: Raw | UnsetType = UNSET
    sender: Raw | UnsetType = msgspec.field(name="from", default=UNSET)
    id: Raw | UnsetType = UNSET
    room: Raw | UnsetType = UNSET
    to: Raw | UnsetType = UNSET
    key: Raw | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    channel: Channel | int | None = None


class _Event(Struct):
    """An event in an envelope."""

    event: Annotated[str, Meta(max_length=MAX_NAME)] | int
    args: list[Raw]
    attachments: Annotated[list[str], Meta(max_length=MAX_ATTACHMENTS)] = msgspec.field(default_factory=list)


_envelope = msgspec.json.Decoder(_Envelope)
_event = msgspec.json.Decoder(_Event)
_name = msgspec.json.Decoder(str | int)
_json = msgspec.json.Encoder()


class SocketIOCodec:
    """The `Codec` of one version and one namespace; `encoder` writes its packets.

    With `offsets`, each message has its position as the last argument, with which a client recovers (Socket.IO 4.6):
    the message id, followed by `@` and the escaped name of the room in another one than `home`, the namespace's own.
    Clients give and get room names as text otherwise. `allowed` are the events that clients may emit, `*` for all.
    The number of a client's packet is the key of its command, after a prefix, so that the answer is written as the
    acknowledgement of that packet.
    """

    def __init__(
        self, encoder: PacketEncoder, key: str, *, home: str, offsets: bool, allowed: Collection[str], max_size: int
    ) -> None:
        self.encoder = encoder
        self.key = key + "+" * offsets
        self._home = home
        self._offsets = offsets
        self._allowed = allowed
        self._max_size = max_size

    def decode(self, incoming: IncomingEvent) -> Command:
        """Read an event: `join` and `presence` are commands, any other is published. Raises `BadFrame`."""
        name, key = incoming.name, _ack_key(incoming)
        if incoming.too_deep:
            raise _too_deep(key)
        if name == "join":
            return Move(_only_room(incoming), _JOIN + incoming.id)
        if name == "presence":
            return Detect(_only_name(incoming), key=key)
        reserved = name in _RELAY_EVENTS or name in INHERITED_NAMES
        if reserved or len(str(name)) > MAX_NAME:
            raise BadEvent("reserved_event" if reserved else "bad_event", about="event", key=key)
        if "*" not in self._allowed and str(name) not in self._allowed:
            raise BadEvent("event_not_allowed", about="event", key=key)
        return self._publish(incoming, key)

    def encode(self, event: events.Event) -> Frame:
        """Write a message, an answer or an error; Socket.IO has no packets for presence changes and the like."""
        if isinstance(event, events.Message):
            return self._message(event)
        match event:
            case events.Welcome():
                return self._welcome(event)
            case events.Ack():
                return self._ack(event.key, {"id": str(event.id)})
            case events.Detected():
                detected = self.encoder.event(OutgoingEvent(b'"presence"', [_json.encode(event.present)]))
                return _bundle(detected, self._ack(event.key, event.present))
            case events.Failure():
                return self._failure(event)
        return NOTHING

    # In.

    def _publish(self, event: IncomingEvent, key: str) -> Publish:
        if event.channel is not None:
            return Publish(event.data, (), event.channel, key, once=False)
        attachments = b""
        if event.attachments:
            texts = [base64.b64encode(data).decode("ascii") for data in event.attachments]
            attachments = b',"attachments":' + _json.encode(texts)
        envelope = b'{"event":%b,"args":[%b]%b}' % (_json.encode(event.name), event.data, attachments)
        if nests_deeper(envelope):
            raise _too_deep(key)
        if attachments and len(envelope) > self._max_size:
            # The session has checked the size of the text, but attachments grow by a third in Base64.
            raise BadFrame("too_large", f"at most {self._max_size} bytes are relayed", about="event", key=key)
        return Publish(envelope, key=key, once=False)

    # Out.

    def _message(self, message: events.Message) -> Frame:
        envelope = message.envelope
        event = _read_event(envelope) if b'"event"' in envelope else None
        if event is None:
            event = OutgoingEvent(b'"message"', [envelope])
        if self._offsets:
            event.arguments.append(self._offset(message.room, message.id))
        return self.encoder.event(event)

    def _welcome(self, event: events.Welcome) -> Frame:
        if event.key.startswith(_JOIN):
            joined = {"room": unescape(event.room), "id": str(event.id)}
            acknowledged = self._ack(_ACK + event.key.removeprefix(_JOIN), joined)
            return _bundle(acknowledged, self._joined(event)) if self._offsets else acknowledged
        if not self._offsets:
            return self.encoder.connect(event.peer, "")
        # A client considers itself recovered exactly if the private id is the one that it has sent.
        if event.recovered:
            return self.encoder.connect(event.peer, event.key)
        connected = self.encoder.connect(event.peer, f"{event.peer}.{event.resume}.{event.id}")
        return _bundle(connected, self._joined(event)) if event.key else connected

    def _joined(self, event: events.Welcome) -> Frame:
        """Write an event with the client's new position, so that it does not recover from an older one."""
        message_id = str(event.id)
        joined = _json.encode({"room": unescape(event.room), "id": message_id})
        return self.encoder.event(
            OutgoingEvent(b'"%b"' % _JOINED.encode(), [joined, self._offset(event.room, event.id)])
        )

    def _offset(self, room: str, position: MessageId) -> bytes:
        text = str(position) if room == self._home else f"{position}@{room}"
        return b'"%b"' % text.encode("ascii")

    def _ack(self, key: str, value: object) -> Frame:
        number = key.removeprefix(_ACK)
        return self.encoder.ack(number, value) if number and number != key else NOTHING

    def _failure(self, failure: events.Failure) -> Frame:
        key = _ACK + failure.key.removeprefix(_JOIN) if failure.key.startswith(_JOIN) else failure.key
        if failure.about == "join" and not key:
            # After a CONNECT_ERROR, a client stays away. Without one, its connection is closed, and it comes back.
            return NOTHING if failure.code in RETRYABLE else self.encoder.connect_error(failure.code, failure.text)
        error: dict[str, Any] = {"code": failure.code, "text": failure.text} | failure.detail
        if "room" in error:
            error["room"] = unescape(str(error["room"]))
        answer = NOTHING if failure.code in RETRYABLE else self._ack(key, {"error": error})
        return answer if answer.data else self.encoder.event(OutgoingEvent(b'"error"', [_json.encode(error)]))


def _bundle(*frames: Frame) -> Frame:
    parts = [frame for frame in frames if frame.data]
    return Bundle(parts) if len(parts) > 1 else parts[0]


def _envelope_channel(data: bytes) -> str | None:
    """Return the channel of an object that can be relayed as an envelope, and None for everything else."""
    if len(data) > SHALLOW_BYTES and nests_deeper(data):
        return None
    try:
        head = _envelope.decode(data)
    except msgspec.MsgspecError:
        return None
    if (
        head.type is UNSET
        and head.sender is UNSET
        and head.id is UNSET
        and head.room is UNSET
        and head.to is UNSET
        and head.key is UNSET
        and head.event is UNSET
    ):
        channel = "" if head.channel is None else str(head.channel)
        return channel if len(channel) <= MAX_CHANNEL else None
    return None


def _read_event(envelope: bytes) -> OutgoingEvent | None:
    """Read the event that an envelope wraps; None for any other envelope, and for events that would break a client.

    Messages on the bus are within the bound on nesting, so that no parser here meets its own.
    """
    try:
        event = _event.decode(envelope)
        if event.event in _NOT_DELIVERED:
            return None
        arguments = [bytes(value) for value in event.args]
        attachments = [base64.b64decode(data, validate=True) for data in event.attachments]
        if attachments:
            check_placeholders(arguments, len(attachments))
        return OutgoingEvent(_json.encode(event.event), arguments, attachments)
    except (msgspec.MsgspecError, ValueError, BadPacket):
        return None


def _only_name(event: IncomingEvent) -> str:
    """Return the one argument of `join` or `presence`: a name, as text or number."""
    try:
        return str(_name.decode(event.data))
    except msgspec.MsgspecError:
        raise BadEvent("bad_event", f"{event.name} takes one name", about="event", key=_ack_key(event)) from None


def _only_room(event: IncomingEvent) -> str:
    """Return the escaped name of the room that a `join` names by its text."""
    name = _only_name(event)
    try:
        return escape_room(name)
    except Refused as error:
        raise BadFrame(error.code, error.text, about="event", key=_ack_key(event)) from None


def _ack_key(event: IncomingEvent) -> str:
    return _ACK + event.id if event.id else ""


def _too_deep(key: str) -> BadFrame:
    return BadFrame("bad_json", f"nested more than {MAX_NESTING} levels deep as an envelope", about="event", key=key)


def incoming_event(
    values: Sequence[bytes], number: str, attachments: Sequence[bytes], *, too_deep: bool = False
) -> IncomingEvent:
    """Make the event that a session receives from the array of an EVENT packet; raises `BadPacket`."""
    if too_deep:
        return IncomingEvent("", values, number, too_deep=True)
    if not values:
        raise BadPacket("an event without a name")
    name, arguments = read_name(values[0]), values[1:]
    may_be_envelope = name == "message" and len(arguments) == 1 and not attachments
    channel = _envelope_channel(arguments[0]) if may_be_envelope else None
    return IncomingEvent(name, arguments, number, attachments, channel)


def read_message_event(data: bytes) -> IncomingEvent | None:
    """Read a packet that is a `message` event with an envelope in `/`; None for all other packets.

    Most packets are of this form. Reading them here takes one pass of the JSON parser, where the general way takes
    a regular expression and two passes.
    """
    if data.startswith(_MESSAGE) and data.endswith(b"}]"):
        # If the bytes from brace to brace are one JSON object, the packet is an array of the name and this object.
        envelope = data[len(_MESSAGE) - 1 : -1]
        channel = _envelope_channel(envelope)
        if channel is not None:
            return IncomingEvent("message", (envelope,), channel=channel)
    return None
