"""Writes the frames that wait for a client into the responses of event streams and polls."""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.base.cursor_polls import cursor_after
from relay.gateways.base.http import JSON, HttpBody
from relay.gateways.base.http_sessions import NoPosts
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.signalrclassic.codec import PushFrame, RefusalFrame, WelcomeFrame, end_of, pushed
from relay.model.codec import Frame
from relay.model.errors import REPLACED

GREETING: Final = b"data: initialized\n\n"
"""The first bytes of a stream; clients drop them."""

_KEEPALIVE: Final = b"data: {}\n\n"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_encode: Final = msgspec.json.Encoder().encode


class ClassicDialect(NoPosts):
    """Writes responses; with `first`, to a client that waits for the frame that begins its connection."""

    def __init__(self, *, first: bool) -> None:
        self._first = first

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the response to a poll: all messages in one object, with the newest cursor.

        A client that is to come back elsewhere is asked to reconnect, and one that is not gets the error that stops it.
        One that may not join now gets an HTTP error, after which it tries again, more and more slowly.
        """
        refusal = next((frame for frame in answer.frames if isinstance(frame, RefusalFrame)), None)
        end = b""
        if refusal is not None and refusal.error is not None:
            return HttpBody(_encode(refusal.error.body), JSON, refusal.error.status)
        if refusal is not None:
            end = refusal.data
        elif answer.closed is not None:
            end = end_of(answer.closed)
        if end:
            return HttpBody(end, JSON)
        pushed = [frame for frame in answer.frames if isinstance(frame, PushFrame)]
        content: dict[str, Any] = {"C": cursor_after(answer), "M": [Raw(frame.item) for frame in pushed if frame.item]}
        if self._first and any(isinstance(frame, WelcomeFrame) for frame in pushed):
            content["S"] = 1
        if answer.closed is not None and answer.closed is not REPLACED:
            content["T"] = 1
        return HttpBody(_encode(content), JSON)

    def events(self, answer: PollAnswer) -> bytes:
        """Write the next part of an event stream."""
        frames = [self._shown(frame) for frame in answer.frames]
        text = b"".join([_event(frame.data) for frame in frames if frame.data])
        if answer.closed is not None:
            told = any(isinstance(frame, RefusalFrame) for frame in frames)
            end = b"" if told else end_of(answer.closed)
            return text + (_event(end) if end else b"")
        if not text and answer.reached is not None:
            return _event(pushed(str(answer.reached), b""))
        return text or _KEEPALIVE

    def _shown(self, frame: Frame) -> Frame:
        return frame.first if self._first and isinstance(frame, WelcomeFrame) else frame


FIRST: Final = ClassicDialect(first=True)
AGAIN: Final = ClassicDialect(first=False)


def _event(data: bytes) -> bytes:
    if b"\n" in data or b"\r" in data:
        # White space between tokens of an event's arguments, as strings in JSON have no line ends.
        data = _LINE_END.sub(b"\ndata: ", data)
    return b"data: %b\r\n\r\n" % data
