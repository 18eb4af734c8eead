"""The relay's own application: events are messages, but for `join` and `presence`.

`emit("message", data)` with one object that is a valid envelope is relayed as that envelope. Any other event is wrapped
as `{"event": name, "args": […]}`, with its binary attachments as Base64 in `attachments`. In the other direction, an
envelope of that form becomes the event that it names, and any other becomes a `message` event with the envelope as its
sender wrote it. So Socket.IO clients and clients of other protocols understand each other.
"""

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from relay.gateways.socketio.apps.application import Acknowledgement, OutgoingPacket, ReplyTo, reply_to
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.offsets import POSITION_EVENT
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import (
    INHERITED_NAMES,
    MAX_ATTACHMENTS,
    MAX_NAME,
    RESERVED_EVENTS,
    EmitKey,
    IncomingEvent,
    check_placeholders,
    compact_placeholders,
)
from relay.model import events
from relay.model.base64_text import read_base64
from relay.model.channels import Label, label
from relay.model.commands import NO_IDENTITY, Command, Detect, Identity, Move, Publish
from relay.model.envelope import MAX_KEY, MessageId
from relay.model.errors import BadFrame, Refused
from relay.model.json_text import MAX_NESTING, nests_deeper
from relay.model.names import escape_room, unescape

RETRYABLE: Final = frozenset({"too_fast", "unavailable", "outcome_unknown"})
"""Errors that are sent as an `error` event and not as the acknowledgement, so that a client with `retries` retries."""

_JOINED: Final = "relay:joined"
_RELAY_EVENTS: Final = frozenset({"error", _JOINED, POSITION_EVENT})
"""Events that only the relay emits."""
_NOT_DELIVERED: Final = RESERVED_EVENTS | INHERITED_NAMES | _RELAY_EVENTS | {"presence"}
"""Event names in envelopes that are delivered as `message`: as events, they would deceive or break a client."""

_MESSAGE: Final = "ack"
_JOIN: Final = "join"
"""The requests that reply keys name."""


_Base64 = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/_=\s-]*$")]
"""As `read_base64` reads it, but only characters of Base64 and white space; any other text is no attachment."""


class _Event(Struct):
    """An event in an envelope."""

    event: Annotated[str, Meta(max_length=MAX_NAME)] | int
    args: list[Raw]
    attachments: Annotated[list[_Base64], Meta(max_length=MAX_ATTACHMENTS)] = msgspec.field(default_factory=list)


_event = msgspec.json.Decoder(_Event)
_name = msgspec.json.Decoder(Label)
_given_key = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=MAX_KEY)] | int)
_json = msgspec.json.Encoder()


class RelayApplication:
    """The `Application` of most clients.

    `allowed` are the events that clients may emit, `*` for all; `max_size` is in bytes. With `offsets`, clients follow
    their position, and `relay:joined` brings a new one.
    """

    key = ""

    def __init__(self, *, allowed: Collection[str], max_size: int, offsets: bool) -> None:
        self._allowed = allowed
        self._max_size = max_size
        self._offsets = offsets
        self._commands: Mapping[str | int, Callable[[IncomingEvent], Command]] = {
            "join": _join,
            "presence": _detect,
        }
        self._packets: Mapping[type[events.Event], Callable[[Any], Sequence[OutgoingPacket]]] = {
            events.Welcome: self._welcome,
            events.Ack: _ack,
            events.Detected: _detected,
            events.Failure: _failure,
        }

    def command(self, event: IncomingEvent) -> Command:
        """Read an event: `join` and `presence` are commands, any other is published."""
        if event.too_deep:
            raise _too_deep(_key(event))
        return self._commands.get(event.name, self._publish)(event)

    def packets(self, event: events.Event) -> Sequence[OutgoingPacket]:
        """Write a message, an answer or an error; there are no packets for presence changes and the like."""
        # First, and in one call less than the others: nearly all events are messages.
        if isinstance(event, events.Message):
            envelope, position = event.envelope, (event.room, event.id)
            wrapped = _read_event(envelope, position) if b'"event"' in envelope else None
            return (wrapped or OutgoingEvent(b'"message"', [envelope], position=position),)
        write = self._packets.get(type(event))
        return write(event) if write is not None else ()

    def _publish(self, event: IncomingEvent) -> Publish:
        name, key = event.name, _key(event)
        reserved = name in _RELAY_EVENTS or name in INHERITED_NAMES
        if reserved or len(str(name)) > MAX_NAME:
            raise BadEvent("reserved_event" if reserved else "bad_event", about="event", key=key)
        if "*" not in self._allowed and str(name) not in self._allowed:
            raise BadEvent("event_not_allowed", about="event", key=key)
        identity = NO_IDENTITY if event.key is None else _identity(event.key, key)
        if event.channel is not None:
            return Publish(event.data, (), event.channel, key, identity=identity)
        attachments = b""
        if event.attachments:
            texts = [base64.b64encode(data).decode("ascii") for data in event.attachments]
            attachments = b',"attachments":' + _json.encode(texts)
        envelope = b'{"event":%b,"args":[%b]%b}' % (_json.encode(name), event.data, attachments)
        if nests_deeper(envelope):
            raise _too_deep(key)
        if attachments and len(envelope) > self._max_size:
            # The session has checked the size of the text, but attachments grow by a third in Base64.
            raise BadFrame("too_large", f"at most {self._max_size} bytes are relayed", about="event", key=key)
        return Publish(envelope, key=key, identity=identity)

    def _welcome(self, welcome: events.Welcome) -> Sequence[OutgoingPacket]:
        """Acknowledge a `join`, and send the client its new position, so that it does not recover from an older one."""
        packets: list[OutgoingPacket] = []
        asked = reply_to(welcome.key)
        joined = {"room": unescape(welcome.room), "id": str(welcome.id)}
        if asked is not None and asked.number:
            packets.append(Acknowledgement(asked.number, [joined]))
        # A client that enters its namespace has its position, unless it has tried to recover in vain.
        if self._offsets and (asked is not None or (welcome.key and not welcome.recovered)):
            position = welcome.room, welcome.id
            packets.append(OutgoingEvent(b'"%b"' % _JOINED.encode(), [_json.encode(joined)], position=position))
        return packets


# In.


def _join(event: IncomingEvent) -> Move:
    name = _only_name(event)
    try:
        return Move(escape_room(name), ReplyTo(_JOIN, event.id).key)
    except Refused as error:
        raise BadFrame(error.code, error.text, about="event", key=_key(event)) from None


def _detect(event: IncomingEvent) -> Detect:
    return Detect(_only_name(event), key=_key(event))


def _only_name(event: IncomingEvent) -> str:
    """Return the one argument of `join` or `presence`: a name, as text, number or boolean."""
    try:
        return label(_name.decode(event.data))
    except (msgspec.MsgspecError, Refused):
        raise BadEvent("bad_event", f"{event.name} takes one name", about="event", key=_key(event)) from None


def _key(event: IncomingEvent) -> str:
    """Return the key of a command whose answer is the acknowledgement of the event; "" without a number."""
    return ReplyTo(_MESSAGE, event.id).key if event.id else ""


def _identity(given: bytes | EmitKey, key: str) -> Identity:
    """Return the identity of an event with a key: one that the gateway has made, or the JSON that the client gave."""
    if isinstance(given, EmitKey):
        return Identity(*given)
    try:
        return Identity(str(_given_key.decode(given)))
    except msgspec.MsgspecError:
        text = f"relay:key is text of 1 to {MAX_KEY} characters, or a whole number"
        raise BadEvent("bad_event", text, about="event", key=key) from None


def _too_deep(key: str) -> BadFrame:
    return BadFrame("bad_json", f"nested more than {MAX_NESTING} levels deep as an envelope", about="event", key=key)


# Out.


def _read_event(envelope: bytes, position: tuple[str, MessageId]) -> OutgoingEvent | None:
    """Read the event that an envelope wraps; None for any other envelope, and for events that would break a client.

    Messages on the bus are within the bound on nesting, so that no parser here meets its own.
    """
    try:
        event = _event.decode(envelope)
        if event.event in _NOT_DELIVERED:
            return None
        arguments = [bytes(value) for value in event.args]
        attachments = [read_base64(data.encode()) for data in event.attachments]
        if attachments:
            check_placeholders(arguments, len(attachments))
            arguments = [compact_placeholders(value) for value in arguments]
        return OutgoingEvent(_json.encode(event.event), arguments, attachments, position)
    except (msgspec.MsgspecError, BadPacket):
        return None


def _ack(ack: events.Ack) -> Sequence[OutgoingPacket]:
    return _acknowledge(ack.key, {"id": str(ack.id)})


def _detected(detected: events.Detected) -> Sequence[OutgoingPacket]:
    presence = OutgoingEvent(b'"presence"', [_json.encode(detected.present)])
    return (presence, *_acknowledge(detected.key, detected.present))


def _failure(failure: events.Failure) -> Sequence[OutgoingPacket]:
    error: dict[str, Any] = {"code": failure.code, "text": failure.text} | failure.detail
    if "room" in error:
        error["room"] = unescape(str(error["room"]))
    answer = () if failure.code in RETRYABLE else _acknowledge(failure.key, {"error": error})
    return answer or (OutgoingEvent(b'"error"', [_json.encode(error)]),)


def _acknowledge(key: str, value: object) -> Sequence[OutgoingPacket]:
    asked = reply_to(key)
    return (Acknowledgement(asked.number, [value]),) if asked is not None and asked.number else ()
