"""Events for its room that a page emits while the relay still tries to bring it back there."""

import logging
from typing import Final

from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.parser import IncomingEvent
from relay.logs import LogIntervals

log = logging.getLogger("relay.socketio")

MOST: Final = 100
"""Events of one page that wait; further ones are refused."""


class EarlyEvents:
    """The events of one page that wait until it is in its room, in their order: at most `MOST`, of so many bytes.

    A Socket.IO client emits at once, when it has connected again, all that its page has said meanwhile. `lines` bounds
    the log lines of all pages together.
    """

    __slots__ = ("_events", "_left", "_lines")

    def __init__(self, most_bytes: int, lines: LogIntervals) -> None:
        self._left = most_bytes
        self._lines = lines
        self._events: list[IncomingEvent] = []

    def hold(self, event: IncomingEvent) -> None:
        """Keep an event; raises `SocketIORefused` (`not_back`) if as many wait as may."""
        size = len(event.data) + sum(map(len, event.attachments))
        if len(self._events) >= MOST or size > self._left:
            self._log()
            raise SocketIORefused("not_back")
        self._left -= size
        self._events.append(event)

    def take(self) -> list[IncomingEvent]:
        """Return the events that wait, and keep none."""
        taken, self._events = self._events, []
        return taken

    def _log(self) -> None:
        unlogged = self._lines.due()
        if unlogged is not None:
            log.warning(
                "a page of RTCMultiConnection emits more than %d events, or bytes than max-message, while its room is "
                "looked for; it gets not_back for the others, and has to emit them again (%d such events since the "
                "last of these lines)", MOST, unlogged,
            )  # fmt: skip
