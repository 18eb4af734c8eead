"""The application of the channels of socketio-over-nodejs, a server of demos: pages send data in the name of a sender.

`emit("message", {sender, data})` reaches the others as a `message` with the data alone. In the room, the data is the
message of an envelope with the channel, so that clients of other protocols understand it, and are understood. All other
events are those of the relay's own application.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.socketio.apps.application import Application, OutgoingPacket
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.parser import IncomingEvent
from relay.model import events
from relay.model.commands import Command, Publish
from relay.model.json_text import nests_deeper
from relay.model.names import MAX_ESCAPED

_MOST_USER: Final = 1024
"""Bytes of the name of a user, as JSON; a longer one does not count as a name."""

_NO_NAMES: Final = frozenset({b"null", b"false", b"0", b'""'})
"""Names that are false in JavaScript."""


class _Sent(Struct):
    sender: Raw
    data: Raw


class _User(Struct):
    sender: Raw | UnsetType = UNSET


class _Envelope(Struct):
    message: Raw | UnsetType = UNSET


_sent = msgspec.json.Decoder(_Sent)
_user = msgspec.json.Decoder(_User)
_envelope = msgspec.json.Decoder(_Envelope)
_encode = msgspec.json.Encoder().encode


def is_channel(namespace: str) -> bool:
    """Return whether a namespace may be that of a channel: all but `/` and those below `/rooms`."""
    if len(namespace) > MAX_ESCAPED or not namespace.startswith("/"):
        return False
    return namespace.split("/")[1] not in ("", "rooms")


class ChannelApplication:
    """The `Application` of one channel; `relay` is that of the same clients elsewhere."""

    key = "channel"

    def __init__(self, channel: str, relay: Application) -> None:
        self._channel = channel
        self._relay = relay

    def command(self, event: IncomingEvent) -> Command:
        """Read an event: the data of a `message` is published in an envelope."""
        data = data_of(event)
        if data is None:
            return self._relay.command(event)
        envelope = b'{"channel":%b,"message":%b}' % (_encode(self._channel), data)
        if nests_deeper(envelope):
            return self._relay.command(IncomingEvent("", (), event.id, too_deep=True))
        return self._relay.command(IncomingEvent("message", (envelope,), event.id, channel=self._channel))

    def packets(self, event: events.Event) -> Sequence[OutgoingPacket]:
        """Write the message of an envelope as data; any other event as the relay's own application does."""
        if isinstance(event, events.Message):
            message = _envelope.decode(event.envelope).message
            if message is not UNSET:
                return (OutgoingEvent(b'"message"', [bytes(message)], position=(event.room, event.id)),)
        return self._relay.packets(event)


def data_of(event: IncomingEvent) -> bytes | None:
    """Return the data of a `message` in a channel, as JSON; None for any other event."""
    if event.name != "message" or event.attachments or event.too_deep:
        return None
    try:
        return bytes(_sent.decode(event.data).data)
    except msgspec.MsgspecError:
        return None


def user_of(data: bytes) -> bytes:
    """Return the name of the user in data, which is its field `sender`, as JSON; b"" if there is none."""
    try:
        sender = _user.decode(data).sender
    except msgspec.MsgspecError:
        return b""
    name = b"" if sender is UNSET else bytes(sender)
    return name if len(name) <= _MOST_USER and name not in _NO_NAMES else b""


def user_left(user: bytes) -> Publish:
    """Return the command that tells the others in a channel that a user has left: the event `user-left`."""
    return Publish(b'{"event":"user-left","args":[%b]}' % user)
