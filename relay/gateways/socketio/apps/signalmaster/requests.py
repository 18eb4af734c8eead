"""Reads the events of SimpleWebRTC as requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, structs

from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.commands import NO_IDENTITY, Identity, Publish
from relay.model.envelope import read_envelope
from relay.model.errors import Refused
from relay.model.json_text import check_nesting
from relay.model.names import escape_peer, escape_room

CHANNEL: Final = "simplewebrtc"
"""The channel of envelopes that carry the messages of SimpleWebRTC."""

REFRESH: Final = "relay:refresh"
SEND: Final = "relay"
"""Events that SignalMaster does not have: a newer token, and an envelope for members of other protocols."""


@dataclass(frozen=True, slots=True)
class EnterRoom:
    """Enter a room, and leave the one before; with `creates`, only if nobody is there.

    The room "" is one whose name the relay makes.
    """

    room: str
    creates: bool = False


@dataclass(frozen=True, slots=True)
class LeaveRoom:
    """Leave the room, if there is one."""


@dataclass(frozen=True, slots=True)
class ShareScreen:
    """Tell the members of the room that the client's screen is `shared`, or no more."""

    shared: bool


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Publish a message of SimpleWebRTC for one member of the room."""

    command: Publish


@dataclass(frozen=True, slots=True)
class SendEnvelope:
    """Publish an envelope in the room, and acknowledge it."""

    command: Publish


@dataclass(frozen=True, slots=True)
class NewToken:
    """Go on with a newer token."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Trace:
    """Do nothing: SignalMaster writes such a text into its log."""


Request = EnterRoom | LeaveRoom | ShareScreen | SendMessage | SendEnvelope | NewToken | Trace

_text = msgspec.json.Decoder(str)
_token = msgspec.json.Decoder(Annotated[str, Meta(min_length=1)])
_arguments = msgspec.json.Decoder(list[Raw])
_object = msgspec.json.Decoder(dict[str, Raw])
_envelope = msgspec.json.Encoder()


def read_request(event: IncomingEvent) -> Request:
    """Read an event; raises `Refused` or `BadFrame`."""
    read = _READERS.get(event.name)
    if read is None:
        raise BadEvent("bad_event", "SignalMaster has no such event")
    if event.attachments:
        raise BadEvent("bad_event", f"{event.name} takes no binary data")
    return read(event)


def _join(event: IncomingEvent) -> Request:
    return EnterRoom(escape_room(_read_name(event)))


def _create(event: IncomingEvent) -> Request:
    """Read `create(name, callback)`, `create(callback)` or `create(name)`; no name is as good as an empty one."""
    name = _read_name(event) if event.data not in (b"", b"null") else ""
    return EnterRoom(name and escape_room(name), creates=True)


def _message(event: IncomingEvent) -> Request:
    """Read a message to one member. Its sender is the relay's to say."""
    try:
        fields = _object.decode(event.data)
        receiver = escape_peer(_text.decode(fields.pop("to")))
    except (msgspec.MsgspecError, KeyError, Refused):
        raise BadEvent("bad_event", "message takes one object, with a peer id in `to`") from None
    fields.pop("from", None)
    envelope = _envelope.encode({"channel": CHANNEL, "message": fields})
    check_nesting(envelope)
    return SendMessage(Publish(envelope, (receiver,), CHANNEL))


def _send(event: IncomingEvent) -> Request:
    command = read_envelope(event.data)
    # The callback answers the client, and a key of its own only tells a repeated envelope.
    identity = Identity(command.key) if command.key else NO_IDENTITY
    return SendEnvelope(structs.replace(command, key="", identity=identity))


def _refresh(event: IncomingEvent) -> Request:
    try:
        return NewToken(_token.decode(event.data))
    except msgspec.MsgspecError:
        raise BadEvent("bad_event", f"{REFRESH} takes one token") from None


_READERS: Final[Mapping[str | int, Callable[[IncomingEvent], Request]]] = {
    "join": _join,
    "create": _create,
    "message": _message,
    "leave": lambda event: LeaveRoom(),
    "shareScreen": lambda event: ShareScreen(shared=True),
    "unshareScreen": lambda event: ShareScreen(shared=False),
    "trace": lambda event: Trace(),
    SEND: _send,
    REFRESH: _refresh,
}


def _read_name(event: IncomingEvent) -> str:
    """Return the first argument, the name of a room."""
    try:
        arguments: Sequence[Raw] = _arguments.decode(b"[%b]" % event.data)
        return _text.decode(arguments[0])
    except (msgspec.MsgspecError, IndexError):
        raise BadEvent("bad_event", f"{event.name} takes the name of a room") from None
