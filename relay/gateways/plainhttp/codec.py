"""The codecs of plain HTTP: blocks of an event stream, and items of the answer to a poll.

Both only encode: messages of a client come in requests of their own (`relay.gateways.plainhttp.posts`). Events other
than messages have the same fields as in the native protocol.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from relay.gateways.base.cursor_polls import CursorFrame
from relay.gateways.base.event_fields import event_fields
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Command
from relay.model.errors import BadFrame, CloseReason, RelayError

END_ID: Final = "end"
"""The id of the last event of a stream to which the browser is not to come back.

An `EventSource` comes back on its own after any end, and names the last id. The answer to this one is HTTP 204,
which ends it for good.
"""

_SOON: Final = 1_000
_LATER: Final = 5_000
"""Milliseconds after which a browser comes back: usually, and after trouble that takes a while."""

GREETING: Final = b":\nretry: %d\n\n" % _SOON
"""The first bytes of a stream, for which browsers wait."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_encode = msgspec.json.Encoder().encode


def event_block(name: str, fields: Mapping[str, Any], *, event_id: str = "", retry: int = 0) -> bytes:
    """Return one event of a stream, whose data is JSON."""
    head = b"event: %b\n" % name.encode("ascii")
    if retry:
        head = b"retry: %d\n%b" % (retry, head)
    if event_id:
        head += b"id: %b\n" % event_id.encode("ascii")
    return b"%bdata: %b\n\n" % (head, _encode(fields))


def refusal_block(error: RelayError) -> bytes:
    """Return a whole stream that says why there is none now; the browser comes back in a few seconds."""
    fields = {"type": "error", "code": error.code, "text": error.text, **error.detail}
    return event_block("error", fields, retry=_LATER)


def closing_block(reason: CloseReason) -> bytes:
    """Return the last event of a stream that the relay closes."""
    fields = {"type": "close", **close_fields(reason)}
    if not reason.reconnect:
        return event_block("close", fields, event_id=END_ID)
    # A worker that stops has others beside it; all other reasons are trouble that takes a while.
    return event_block("close", fields, retry=_SOON if reason.code < 4000 else _LATER)


def close_fields(reason: CloseReason) -> dict[str, Any]:
    """Return why the relay has closed, and whether the client should come back."""
    return {"code": reason.code, "reason": reason.name, "text": reason.text, "reconnect": reason.reconnect}


class _EncodingCodec:
    """The half of a codec that no client of plain HTTP uses."""

    def decode(self, incoming: Frame) -> Command:
        """Refuse: there are no frames."""
        raise BadFrame("bad_command")


class EventsCodec(_EncodingCodec):
    """Writes each event as a block of an event stream: envelopes without a name, all others by their type.

    With `lossy`, welcomes say that rooms have no history, so that a client that comes back misses messages.
    """

    def __init__(self, *, lossy: bool = False) -> None:
        self._lossy = lossy
        self.key = "http-events"

    def encode(self, event: events.Event) -> Frame:
        """Write a message as its envelope's own text, and any other event as an object with a `type`."""
        if isinstance(event, events.Message):
            body = event.body + b"}"
            if b"\n" in body or b"\r" in body:
                # White space between tokens, as strings in JSON have no line ends.
                body = _LINE_END.sub(b"\ndata: ", body)
            return Frame(b"id: %b\ndata: %b\n\n" % (event.id.encode(), body))
        fields = event_fields(event)
        name = fields["type"]
        if isinstance(event, events.Welcome) and self._lossy:
            fields["lossy"] = True
        if isinstance(event, events.Failure) and event.code == "messages_lost":
            name = "lost"
        block = event_block(name, fields, event_id=str(fields.get("id", "")))
        if isinstance(event, events.Welcome) and event.recovered is False:
            block += event_block("lost", {"type": "lost", "reason": event.reason})
        return Frame(block)


class PollFrame(CursorFrame):
    """An item of the answer to a poll: a message, or another event whose `fields` these are."""

    __slots__ = ("fields",)

    def __init__(self, data: bytes, cursor: str, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, cursor)
        self.fields = fields


class PollCodec(_EncodingCodec):
    """Writes each event as an object of JSON; `lossy` is as in `EventsCodec`."""

    def __init__(self, *, lossy: bool = False) -> None:
        self._lossy = lossy
        self.key = "http-poll"

    def encode(self, event: events.Event) -> Frame:
        """Write a message as its envelope's own text, and any other event as an object with a `type`."""
        if isinstance(event, events.Message):
            return PollFrame(event.body + b"}", str(event.id))
        fields = event_fields(event)
        if isinstance(event, events.Welcome) and self._lossy:
            fields["lossy"] = True
        return PollFrame(_encode(fields), str(fields.get("id", "")), fields)
