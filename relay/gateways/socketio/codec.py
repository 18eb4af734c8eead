"""Socket.IO events and the envelopes they travel in.

`emit("message", data)` with one object that is an envelope is that envelope. Whatever else is emitted travels as
`{"event": name, "args": […]}`, with `attachments` (in Base64) where there are binary ones. And back: an envelope of
that form is the event it names, and any other is `message` with the envelope, as its sender wrote it.
"""

import base64
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.gateways.socketio.encoders import OutgoingEvent, PacketEncoder
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import (
    INHERITED,
    MAX_ATTACHMENTS,
    MAX_NAME,
    RESERVED,
    IncomingEvent,
    check_placeholders,
    read_name,
)
from relay.model import events
from relay.model.codec import NOTHING, Bundle, Frame
from relay.model.commands import Command, Detect, Move, Publish
from relay.model.envelope import MAX_CHANNEL, Channel, unseal
from relay.model.errors import BadFrame

RETRYABLE: Final = frozenset({"too_fast", "unavailable", "outcome_unknown"})
"""Failures that are not acknowledged: a client that wants to be sure waits for that, and sends again."""

_JOINED: Final = "relay:joined"
_OURS: Final = frozenset({"error", _JOINED})
"""Events that nobody but the relay emits."""
_NEVER_TOLD: Final = RESERVED | INHERITED | _OURS | {"presence"}
"""Events that no other member has a client told of."""

_MESSAGE: Final = b'2["message",{'
_ACK: Final = "ack:"
_JOIN: Final = "join:"


class _Plain(Struct):
    """An object that is an envelope as it stands: none of these fields, and a channel as envelopes have it."""

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


_plain = msgspec.json.Decoder(_Plain)
_event = msgspec.json.Decoder(_Event)
_texts = msgspec.json.Decoder(str | int)
_json = msgspec.json.Encoder()


class SocketIOCodec:
    """See `Codec`; `decode` takes a `parser.IncomingEvent`, `encoder` writes what a version has for an event.

    With `offsets`, messages have their place as the last argument, from which a client comes back (Socket.IO 4.6): the
    id, and `@room` where that is not `home`, the namespace's room. `allowed` are the events that may be emitted, `*`
    for all. The marks of commands are for answers to find their way back.
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

    def decode(self, frame: Frame) -> Command:
        """See `Codec.decode`."""
        assert isinstance(frame, IncomingEvent)  # noqa: S101  # nobody else hands frames to a session of this gateway
        name, mark = frame.name, _ACK + frame.id if frame.id else ""
        if name == "join":
            return Move(_argument(frame), _JOIN + frame.id)
        if name == "presence":
            return Detect(_argument(frame), key=mark)
        reserved = name in _OURS or name in INHERITED
        if reserved or len(str(name)) > MAX_NAME:
            raise BadFrame("reserved_event" if reserved else "bad_event", about="event", key=mark)
        if "*" not in self._allowed and str(name) not in self._allowed:
            raise BadFrame("event_not_allowed", about="event", key=mark)
        return self._publish(frame, mark)

    def encode(self, event: events.Event) -> Frame:
        """See `Codec.encode`."""
        if isinstance(event, events.Message):
            return self._message(event)
        match event:
            case events.Welcome():
                return self._welcome(event)
            case events.Ack():
                return self._ack(event.key, {"id": str(event.id)})
            case events.Detected():
                told = self.encoder.event(OutgoingEvent(b'"presence"', [_json.encode(event.present)]))
                return _together(told, self._ack(event.key, event.present))
            case events.Failure():
                return self._failure(event)
        return NOTHING

    # In.

    def _publish(self, call: IncomingEvent, mark: str) -> Publish:
        if call.channel is not None:
            return Publish(call.data, (), call.channel, mark, once=False)
        attachments = b""
        if call.attachments:
            texts = [base64.b64encode(data).decode("ascii") for data in call.attachments]
            attachments = b',"attachments":' + _json.encode(texts)
        envelope = b'{"event":%b,"args":[%b]%b}' % (_json.encode(call.name), call.data, attachments)
        if attachments and len(envelope) > self._max_size:
            raise BadFrame("too_large", f"at most {self._max_size} bytes are relayed", about="event", key=mark)
        return Publish(envelope, key=mark, once=False)

    # Out.

    def _message(self, message: events.Message) -> Frame:
        text, place = unseal(message.body)
        told = _read_event(text) if b'"event"' in text else None
        if told is None:
            told = OutgoingEvent(b'"message"', [text])
        if self._offsets:
            told.arguments.append(self._offset(message.room, place))
        return self.encoder.event(told)

    def _welcome(self, event: events.Welcome) -> Frame:
        if event.key.startswith(_JOIN):
            joined = {"room": event.room, "id": str(event.id)}
            acknowledged = self._ack(_ACK + event.key.removeprefix(_JOIN), joined)
            return _together(acknowledged, self._joined(event)) if self._offsets else acknowledged
        if not self._offsets:
            return self.encoder.entered(event.peer, "")
        # A client takes its place for recovered if it is told the same private id again.
        if event.recovered:
            return self.encoder.entered(event.peer, event.key)
        entered = self.encoder.entered(event.peer, f"{event.peer}.{event.resume}.{event.id}")
        return _together(entered, self._joined(event)) if event.key else entered

    def _joined(self, event: events.Welcome) -> Frame:
        """Tell a client of its new place, or it would come back to the last one from which it heard something."""
        place = str(event.id)
        joined = _json.encode({"room": event.room, "id": place})
        return self.encoder.event(
            OutgoingEvent(b'"%b"' % _JOINED.encode(), [joined, self._offset(event.room, place.encode())])
        )

    def _offset(self, room: str, place: bytes) -> bytes:
        return b'"%b"' % place if room == self._home else b'"%b@%b"' % (place, room.encode("ascii"))

    def _ack(self, mark: str, value: object) -> Frame:
        number = mark.removeprefix(_ACK)
        return self.encoder.ack(number, value) if number and number != mark else NOTHING

    def _failure(self, failure: events.Failure) -> Frame:
        mark = _ACK + failure.key.removeprefix(_JOIN) if failure.key.startswith(_JOIN) else failure.key
        if failure.about == "join" and not mark:
            return NOTHING if failure.code in RETRYABLE else self.encoder.refused(failure.code, failure.text)
        error: dict[str, Any] = {"code": failure.code, "text": failure.text} | failure.detail
        answer = NOTHING if failure.code in RETRYABLE else self._ack(mark, {"error": error})
        return answer if answer.data else self.encoder.event(OutgoingEvent(b'"error"', [_json.encode(error)]))


def _together(*frames: Frame) -> Frame:
    said = [frame for frame in frames if frame.data]
    return Bundle(said) if len(said) > 1 else said[0]


def _channel_if_plain(data: bytes) -> str | None:
    """The channel of an object that is an envelope as it stands; None for everything else."""
    try:
        head = _plain.decode(data)
    except (msgspec.MsgspecError, RecursionError):
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


def _read_event(text: bytes) -> OutgoingEvent | None:
    """Read an envelope of the form that events have; None for one that clients would not survive, or not understand."""
    try:
        event = _event.decode(text)
        if event.event in _NEVER_TOLD:
            return None
        arguments = [bytes(value) for value in event.args]
        attachments = [base64.b64decode(data, validate=True) for data in event.attachments]
        if attachments:
            check_placeholders(arguments, len(attachments))
        return OutgoingEvent(_json.encode(event.event), arguments, attachments)
    except (msgspec.MsgspecError, RecursionError, ValueError, BadPacket):
        return None


def _argument(call: IncomingEvent) -> str:
    """The one argument of the relay's own events: a name, as text or number."""
    try:
        return str(_texts.decode(call.data))
    except msgspec.MsgspecError:
        raise BadFrame("bad_event", f"{call.name} takes one name", about="event", key=_mark(call)) from None


def _mark(call: IncomingEvent) -> str:
    return _ACK + call.id if call.id else ""


def incoming_event_of(values: Sequence[bytes], number: str, attachments: Sequence[bytes]) -> IncomingEvent:
    """Make of an event's array what a session receives; raises `BadPacket`."""
    if not values:
        raise BadPacket("an event without a name")
    name, arguments = read_name(values[0]), values[1:]
    plain = name == "message" and len(arguments) == 1 and not attachments
    return IncomingEvent(name, arguments, number, attachments, _channel_if_plain(arguments[0]) if plain else None)


def read_plain_message(data: bytes) -> IncomingEvent | None:
    """Read a packet that is a `message` in `/` with an envelope and no more, as most are; None for all others."""
    if data.startswith(_MESSAGE) and data.endswith(b"}]"):
        # If that is one JSON object from the brace to the brace, the packet is what it looks like.
        envelope = data[len(_MESSAGE) - 1 : -1]
        channel = _channel_if_plain(envelope)
        if channel is not None:
            return IncomingEvent("message", (envelope,), channel=channel)
    return None
