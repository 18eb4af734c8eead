"""The inbox of a session: requests that the client has sent, and that the session cannot serve yet."""

from collections import deque
from typing import Final

from relay.model.commands import Command
from relay.model.errors import BadFrame
from relay.rooms.connection import Connection

LARGE: Final = 16_384
"""Bytes of a publish that count as one of those in flight; a larger one counts as several."""

Request = Command | BadFrame
"""A command; or the error that answers a request which cannot be decoded, or which is over a limit."""


def weight(size: int) -> int:
    """Return as how many publishes in flight one of this size counts, so that their number also bounds their bytes."""
    return 1 if size < LARGE else 1 + size // LARGE


class Inbox:
    """The requests of one client that wait, in the order in which they came.

    Requests wait while an `exclusive` command runs, while `max_in_flight` publishes have no outcome yet, behind
    requests that wait already, and when the client is above its rate. Reading from the connection pauses as soon as one
    waits, so the operating system's buffers fill and TCP slows the client down; a client that polls gets no answer to
    its post. That bounds the queue: only requests that were read before the pause go into it.

    The session sets `exclusive`, counts `in_flight` by `weight` and looks at `waiting`, which only this class changes.
    These are plain attributes, and not behind methods, because they are needed for every message.
    """

    # A worker has one inbox for each idle connection: no `__dict__`, and no deque until a request waits.
    __slots__ = ("_connection", "_max_in_flight", "_stopped", "exclusive", "in_flight", "waiting")

    def __init__(self, connection: Connection, max_in_flight: int) -> None:
        self._connection = connection
        self._max_in_flight = max_in_flight
        self.waiting: deque[tuple[Request, int]] | None = None
        self._stopped = False
        self.exclusive = False
        self.in_flight = 0

    def must_wait(self) -> bool:
        """Return whether a request that arrives now has to wait."""
        # A method and not a property: CPython 3.11 calls methods faster, and this runs for every request.
        return self.exclusive or self.in_flight >= self._max_in_flight or bool(self.waiting)

    def is_idle(self) -> bool:
        """Return whether no request waits and no command is being executed."""
        return not (self.exclusive or self.in_flight or self.waiting)

    def put(self, request: Request, size: int) -> None:
        """Queue a request of so many bytes, and pause reading."""
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append((request, size))
        self._connection.pause_reading(paused=True)

    def peek(self) -> tuple[Request, int] | None:
        """Return the next request and its size if it can be served now, else None; `drop` takes it out."""
        if not self.waiting or self.exclusive or self.in_flight >= self._max_in_flight:
            return None
        return self.waiting[0]

    def drop(self) -> None:
        """Take out the next request."""
        if self.waiting:
            self.waiting.popleft()

    def resume_reading(self) -> None:
        """Read on from the connection if reading was paused for requests that have all been served since."""
        if self.waiting is not None and not self.waiting:
            self.waiting = None
            self._connection.pause_reading(paused=self._stopped)

    def stop_reading(self) -> None:
        """Pause reading for good. Requests that were read before are still queued and served."""
        self._stopped = True
        self._connection.pause_reading(paused=True)

    def clear(self) -> None:
        """Drop the requests that wait."""
        self.waiting = None
