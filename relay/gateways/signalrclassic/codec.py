"""The codec: calls of hub methods in, and calls of the clients' methods out, with the cursor of each.

The frames of all transports are made once: WebSockets send `data`, event streams too, and polls join the items.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.base.cursor_polls import CursorFrame
from relay.gateways.signalrclassic.hubs import ClassicHub, ClassicHubs
from relay.gateways.signalrclassic.invocations import failure, read_invocation, result
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.commands import Command
from relay.model.envelope import MessageId
from relay.model.errors import (
    JOIN_CLOSES,
    NORMAL,
    REPLACED,
    SUPERSEDED,
    UNAVAILABLE,
    BadFrame,
    CloseReason,
    Refused,
)

_MOMENTARY: Final = frozenset(code for code, closes in JOIN_CLOSES.items() if closes in (UNAVAILABLE, SUPERSEDED))
"""Codes of joins that fail for a moment only: Redis is away, or a newer request of the client is ahead."""

KEEPALIVE: Final = Frame(b"{}")

LOST: Final = "onMessagesLost"
"""The clients' method that tells of messages which cannot be replayed; a page without it is not disturbed."""

_encode: Final = msgspec.json.Encoder().encode


class _Event(Struct):
    event: str
    args: list[Raw]
    attachments: Raw | UnsetType = UNSET


_event: Final = msgspec.json.Decoder(_Event)


class PushFrame(CursorFrame):
    """A frame for a client: `item` is JSON for the list of messages, b"" for none."""

    __slots__ = ("item",)

    def __init__(self, data: bytes, item: bytes, cursor: str) -> None:
        super().__init__(data, cursor)
        self.item = item


class WelcomeFrame(PushFrame):
    """The first frame of a connection; the very first one of a client is `first`, for which it waits to begin."""

    __slots__ = ()

    @property
    def first(self) -> Frame:
        """The frame that begins a connection."""
        return Frame(begun(self.cursor, self.item))


class RefusalFrame(Frame):
    """The client may not join: the error that ends it, or no data if it is to try again in a moment.

    A client that polls tries again after an HTTP error, for half a minute, and then reports the end. So if the cause
    may pass, `error` is that of its poll; else None. Over the other transports, a client counts as connected again by
    the response alone, and would try for ever: the error ends it, unless the cause is over in a moment.
    """

    __slots__ = ("error",)

    def __init__(self, data: bytes, error: Refused | None = None) -> None:
        super().__init__(data)
        self.error = error


def pushed(cursor: str, item: bytes) -> bytes:
    """Write a frame with its cursor."""
    return b'{"C":"%b","M":[%b]}' % (cursor.encode(), item)


def begun(cursor: str, item: bytes = b"") -> bytes:
    """Write the frame for which a client waits after `/connect`."""
    return b'{"C":"%b","S":1,"M":[%b]}' % (cursor.encode(), item)


def ended(text: str) -> bytes:
    """Write the error after which a client stops for good. Clients of 2.2 read no frame without messages."""
    return b'{"E":%b,"M":[]}' % _encode(text)


def end_of(reason: CloseReason) -> bytes:
    """Write why the relay has closed, to a client that is not to come back; b"" for any other."""
    if reason.reconnect or reason in (NORMAL, REPLACED):
        return b""
    return ended(f"{reason.name}: {reason.text}")


class HubCodec:
    """The `Codec` of clients that have functions for these hubs; `hubs` are all that they may call.

    A call for a hub of which a client has no proxy would throw in it: it gets those of its own hubs alone.
    """

    def __init__(self, hubs: ClassicHubs, own: Sequence[ClassicHub]) -> None:
        self.key = "signalr-classic " + " ".join(hub.name for hub in own)
        self._hubs = hubs
        self._own = own
        self._room_hub = next((hub for hub in own if hub.hears_room), None)

    def decode(self, frame: Frame) -> Command:
        """Read the call of a hub method; raises `BadFrame`."""
        if not frame.is_text:
            raise BadFrame("binary_frame")
        return read_invocation(frame.data, self._hubs)

    def encode(self, event: events.Event) -> Frame:
        """Write a message as calls of the clients' methods, and the results of the client's own calls."""
        if isinstance(event, events.Message):
            return self._push(self._calls(event), event.id)
        match event:
            case events.Ack():
                return Frame(result(event.key))
            case events.Welcome():
                cursor, item = str(event.id), b""
                if event.recovered is False:
                    item = self._lost(event.reason)
                return WelcomeFrame(pushed(cursor, item), item, cursor)
            case events.Failure(about="join"):
                return _refusal(event)
            case events.Failure(code="messages_lost"):
                item = self._lost(str(event.detail.get("reason", "")))
                return PushFrame(b'{"M":[%b]}' % item, item, "") if item else NOTHING
            case events.Failure():
                reply = failure(event.key, event.code, event.text, event.detail)
                return PushFrame(reply, reply, "")
        return NOTHING

    def _push(self, item: bytes, message_id: MessageId) -> Frame:
        cursor = str(message_id)
        return PushFrame(pushed(cursor, item) if item else b"", item, cursor)

    def _calls(self, message: events.Message) -> bytes:
        """Write the calls of a message, separated by commas; b"" if no hub of the client has one for it."""
        envelope = message.envelope
        if b'"event"' in envelope:
            named = _read_event(envelope)
            calls = [_call(hub, named.event, named.args) for hub in self._own if named and hub.calls(named.event)]
            if calls:
                return b",".join(calls)
        hub = self._room_hub
        if hub is None:
            return b""
        return b'{"H":"%b","M":"onMessageReceived","A":[%b]}' % (hub.name.encode(), _encode(envelope.decode()))

    def _lost(self, reason: str) -> bytes:
        if not self._own:
            return b""
        lost: dict[str, Any] = {"H": self._own[0].name, "M": LOST, "A": [{"reason": reason}]}
        return _encode(lost)


def _refusal(failure: events.Failure) -> Frame:
    closes = JOIN_CLOSES.get(failure.code)
    passes = closes is not None and closes.reconnect
    data = b"" if failure.code in _MOMENTARY else ended(f"{failure.code}: {failure.text}")
    return RefusalFrame(data, Refused(failure.code, failure.text) if passes else None)


def _read_event(envelope: bytes) -> _Event | None:
    """Return the event that an envelope wraps; None for any other envelope, and for one with attachments."""
    try:
        found = _event.decode(envelope)
    except msgspec.MsgspecError:
        return None
    return found if found.attachments is UNSET else None


def _call(hub: ClassicHub, method: str, arguments: Sequence[Raw]) -> bytes:
    values = b",".join([bytes(value) for value in arguments])
    return b'{"H":"%b","M":%b,"A":[%b]}' % (hub.name.encode(), _encode(method), values)
