"""The events that wait for the user of a room."""

import asyncio

from relay.client.events import Event


class EventQueue:
    """A bounded queue with an end; a full queue holds the reader of the connection back."""

    def __init__(self, size: int) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(size)
        self._draining = False
        self._closed = False

    async def put(self, event: Event) -> None:
        """Add an event, once there is room for it; after `drain`, drop it instead."""
        if not (self._draining and self._queue.full()):
            await self._queue.put(event)

    def drain(self) -> None:
        """Stop holding the reader back: no caller takes events any more, but acknowledgements must still arrive."""
        self._draining = True
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()

    def close(self) -> None:
        """Let `get` return None after the events that wait."""
        self._closed = True
        self._wake_one()

    async def get(self) -> Event | None:
        """Return the next event, or None at the end."""
        event = await self._queue.get() if not (self._closed and self._queue.empty()) else None
        if event is None:
            # Several callers may wait; each passes the end on to the next.
            self._wake_one()
        return event

    def _wake_one(self) -> None:
        # No `get` waits while the queue is full.
        if not self._queue.full():
            self._queue.put_nowait(None)
