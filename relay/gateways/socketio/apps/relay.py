"""The relay's own application: events are messages, but for `join` and `presence`.

`emit("message", data)` with one object that is a valid envelope is relayed as that envelope. Any other event is wrapped
as `{"event": name, "args": […]}`, with its binary attachments as Base64 in `attachments`. In the other direction, an
envelope of that form becomes the event that it names, and any other becomes a `message` event with the envelope as its
sender wrote it. So Socket.IO clients and clients of other protocols understand each other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from relay.gateways.socketio.apps.application import Acknowledgement, OutgoingPacket, ReplyTo, reply_to
from relay.gateways.socketio.apps.control import (
    CONTROL_EVENTS,
    CONTROL_NOTICES,
    control_event,
    read_control,
    rules_as_text,
)
from relay.gateways.socketio.apps.wrapped_events import read_wrapped, too_deep, wrap
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.offsets import POSITION_EVENT
from relay.gateways.socketio.parser import (
    INHERITED_NAMES,
    MAX_NAME,
    RESERVED_EVENTS,
    EmitKey,
    IncomingEvent,
)
from relay.model import events
from relay.model.channels import Label, label
from relay.model.commands import NO_IDENTITY, Command, Detect, Identity, Move, Publish, Refresh
from relay.model.envelope_head import MAX_KEY
from relay.model.errors import BadFrame, Refused
from relay.model.ice import IceOffer
from relay.model.names import escape_room, unescape

RETRYABLE: Final = frozenset({"too_fast", "unavailable", "outcome_unknown", "keys_unavailable"})
"""Errors that are sent as an `error` event and not as the acknowledgement, so that a client with `retries` retries."""

_JOINED: Final = "relay:joined"
_ICE: Final = "relay:ice"
_EXPIRING: Final = "relay:token-expiring"
_REFRESHED: Final = "relay:refreshed"
_RELAY_EVENTS: Final = frozenset({"error", _JOINED, _ICE, POSITION_EVENT, _EXPIRING, _REFRESHED}) | CONTROL_NOTICES
"""Events that only the relay emits."""
_NOT_DELIVERED: Final = RESERVED_EVENTS | INHERITED_NAMES | _RELAY_EVENTS | {"presence"}
"""Event names in envelopes that are delivered as `message`: as events, they would deceive or break a client."""

_MESSAGE: Final = "ack"
_JOIN: Final = "join"
"""The requests that reply keys name."""


_name = msgspec.json.Decoder(Label)
_token = msgspec.json.Decoder(Annotated[str, Meta(min_length=1)])
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
            "relay:refresh": _refresh,
            **dict.fromkeys(CONTROL_EVENTS, _control),
        }
        self._packets: Mapping[type[events.Event], Callable[[Any], Sequence[OutgoingPacket]]] = {
            events.Welcome: self._welcome,
            events.IceRenewed: _ice_renewed,
            events.Ack: _ack,
            events.Detected: _detected,
            events.TokenExpiring: _token_expiring,
            events.Refreshed: _refreshed,
            events.Failure: _failure,
            events.CurrentRules: _current_rules,
            events.Done: _done,
            **dict.fromkeys((events.RulesChanged, events.Kicked, events.RoomClosed, events.Moved), _control_event),
        }

    def command(self, event: IncomingEvent) -> Command:
        """Read an event: `join`, `presence` and those of `CONTROL_EVENTS` are commands, any other is published."""
        if event.too_deep:
            raise too_deep(_key(event))
        return self._commands.get(event.name, self._publish)(event)

    def packets(self, event: events.Event) -> Sequence[OutgoingPacket]:
        """Write a message, an answer or an error; there are no packets for presence changes and the like."""
        # First, and in one call less than the others: nearly all events are messages.
        if isinstance(event, events.Message):
            envelope, position = event.envelope, (event.room, event.id)
            wrapped = read_wrapped(envelope, _NOT_DELIVERED, position) if b'"event"' in envelope else None
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
        return Publish(wrap(event, self._max_size, key), key=key, identity=identity)

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
        # A client that moves to another room has its servers already.
        if asked is None and welcome.ice is not None:
            packets.append(_ice(welcome.ice))
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


def _refresh(event: IncomingEvent) -> Refresh:
    """Read a new token; an event without one is refused here, so that none is ever relayed to a room."""
    try:
        return Refresh(_token.decode(event.data), _key(event))
    except msgspec.MsgspecError:
        raise BadEvent("bad_event", f"{event.name} takes one token", about="refresh", key=_key(event)) from None


def _control(event: IncomingEvent) -> Command:
    return read_control(str(event.name), event.data, _key(event))


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


# Out.


def _ack(ack: events.Ack) -> Sequence[OutgoingPacket]:
    return _acknowledge(ack.key, {"id": str(ack.id)})


def _ice_renewed(renewed: events.IceRenewed) -> Sequence[OutgoingPacket]:
    return (_ice(renewed.ice),)


def _ice(offer: IceOffer) -> OutgoingEvent:
    servers = {"iceServers": offer.servers, "ttl": offer.ttl}
    return OutgoingEvent(b'"%b"' % _ICE.encode(), [_json.encode(servers)])


def _detected(detected: events.Detected) -> Sequence[OutgoingPacket]:
    presence = OutgoingEvent(b'"presence"', [_json.encode(detected.present)])
    return (presence, *_acknowledge(detected.key, detected.present))


def _token_expiring(event: events.TokenExpiring) -> Sequence[OutgoingPacket]:
    return (OutgoingEvent(b'"%b"' % _EXPIRING.encode(), [_json.encode({"in": round(event.seconds, 2)})]),)


def _refreshed(event: events.Refreshed) -> Sequence[OutgoingPacket]:
    """Acknowledge the new token; a client that asked for no acknowledgement gets an event."""
    expires = {} if event.expires is None else {"expires": event.expires}
    return _acknowledge(event.key, expires) or (OutgoingEvent(b'"%b"' % _REFRESHED.encode(), [_json.encode(expires)]),)


def _failure(failure: events.Failure) -> Sequence[OutgoingPacket]:
    error: dict[str, Any] = {"code": failure.code, "text": failure.text} | failure.detail
    if "room" in error:
        error["room"] = unescape(str(error["room"]))
    answer = () if failure.code in RETRYABLE else _acknowledge(failure.key, {"error": error})
    return answer or (OutgoingEvent(b'"error"', [_json.encode(error)]),)


def _control_event(event: events.RoomNotice) -> Sequence[OutgoingPacket]:
    return (control_event(event),)


def _current_rules(current: events.CurrentRules) -> Sequence[OutgoingPacket]:
    return _acknowledge(current.key, {"room": unescape(current.room), "rules": rules_as_text(current.rules)})


def _done(done: events.Done) -> Sequence[OutgoingPacket]:
    return _acknowledge(done.key, {"count": done.count})


def _acknowledge(key: str, value: object) -> Sequence[OutgoingPacket]:
    asked = reply_to(key)
    return (Acknowledgement(asked.number, [value]),) if asked is not None and asked.number else ()
