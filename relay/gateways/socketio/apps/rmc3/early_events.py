"""Events for its room that a page emits while the relay still tries to bring it back there."""

from typing import Final

from relay.gateways.socketio.parser import IncomingEvent

MOST: Final = 100
"""Events of one page that wait; further ones are dropped."""


class EarlyEvents:
    """The events of one page that wait until it is in its room, in their order: at most `MOST`, of so many bytes.

    A Socket.IO client emits at once, when it has connected again, all that its page has said meanwhile.
    """

    __slots__ = ("_events", "_left")

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._events: list[IncomingEvent] = []

    def hold(self, event: IncomingEvent) -> None:
        """Keep an event, if there is room for it."""
        size = len(event.data) + sum(map(len, event.attachments))
        if len(self._events) < MOST and size <= self._left:
            self._left -= size
            self._events.append(event)

    def drop(self) -> None:
        """Drop the events that wait: the page does not come back."""
        self._events = []

    def take(self) -> list[IncomingEvent]:
        """Return the events that wait, and keep none."""
        taken, self._events = self._events, []
        return taken
