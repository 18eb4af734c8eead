"""The connection of a client over a WebSocket: it knows how far its client has got, and tells it why it is closed."""

import asyncio
from typing import Final, Protocol

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.signalr.client import HubClient
from relay.gateways.signalr.codec import RoomEventFrame
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason
from relay.rooms.connection import Connection, Transfer

_SYNC: Final = 0.2
"""Seconds between two questions to the system how much was written and received: they cost as much as a write."""

_MOST_MARKS: Final = 256


class EventOutlet(Protocol):
    """The connection to which events are written."""

    @property
    def lost(self) -> bool:
        """Whether the client is gone, as far as that is known."""
        ...

    def transfer(self) -> Transfer | None:
        """Return how much was written and received; None if that is not known, or the connection has ended."""
        ...


class Marks:
    """Events that were written, and the number of bytes that were written by then, until they have arrived.

    `outlet` asks the system how much was written and received, and whether the client is gone. It is asked after
    `every` so many seconds, and the number of written bytes is compared with the caller's own. In between, the
    caller's number counts: a ping that the server writes by itself makes an event seem to arrive these few bytes early.

    If the system never tells, as behind a worker that has forwarded the request, an event counts when the next one
    is written. Once it has told, it only stops at the end of the connection: the events that are written from then on
    reach nobody, and say nothing of those before.
    """

    __slots__ = ("_asked", "_before", "_every", "_known", "_marks", "_outlet", "_received")

    def __init__(self, outlet: EventOutlet, every: float = _SYNC) -> None:
        self._outlet = outlet
        self._every = every
        self._asked = 0.0
        self._before = 0
        self._known = False
        # Short in most cases, where a deque would take ten times as much.
        self._marks: list[tuple[MessageId, int]] | None = None
        self._received: MessageId | None = None

    def add(self, position: MessageId, written: int) -> None:
        """Note an event; so many bytes were written with it, as the caller counts them."""
        now = asyncio.get_running_loop().time()
        if now - self._asked >= self._every:
            if self._outlet.lost:
                # The event was dropped, and the system would say that all has arrived which it has taken.
                return
            transfer = self._outlet.transfer()
            if transfer is None:
                if not self._known:
                    if self._marks:
                        self._received = self._marks[-1][0]
                    self._marks = [(position, 0)]
                return
            self._asked = now
            self._known = True
            self._before = transfer.written - written
            self._drop(transfer.received)
        if self._marks is None:
            self._marks = []
        elif len(self._marks) == _MOST_MARKS:
            del self._marks[0]
        self._marks.append((position, self._before + written))

    @property
    def waiting(self) -> bool:
        """Whether there are events which are not known to have arrived, and the system tells about arrivals."""
        return self._known and bool(self._marks)

    def received(self) -> MessageId | None:
        """Return the newest event that is known to have arrived, with all before it; None if none is."""
        transfer = self._outlet.transfer() if self._marks else None
        if transfer is not None:
            self._drop(transfer.received)
        return self._received

    def arrived(self) -> None:
        """Note that all events have arrived: the client has answered a frame that was written after them."""
        if self._marks:
            self._received, self._marks = self._marks[-1][0], None

    def _drop(self, received: int) -> None:
        marks = self._marks
        if not marks:
            return
        arrived = 0
        while arrived < len(marks) and received >= marks[arrived][1]:
            arrived += 1
        if arrived:
            self._received = marks[arrived - 1][0]
            self._marks = marks[arrived:] or None


class HubConnection(WrappedConnection):
    """A `Connection` that notes for each event how many bytes were written by then."""

    def __init__(self, inner: Connection, client: HubClient) -> None:
        super().__init__(inner)
        self._client = client
        self._written = 0
        # Made for the first event.
        self._marks: Marks | None = None

    def write(self, frame: Frame) -> None:
        """Write a frame, unless there is nothing to write."""
        if not frame.data or self._inner.reason is not None:
            return
        self._client.greeted = True
        self._inner.write(frame)
        if self._client.tracked:
            self._written += len(frame.wire)
            if isinstance(frame, RoomEventFrame):
                self._mark(frame.id)

    def write_batch(self, batch: Batch) -> None:
        """Write several frames at once."""
        if self._inner.reason is not None:
            return
        self._inner.write_batch(batch)
        if self._client.tracked:
            self._written += len(batch.wire)
            last = batch.frames[-1]
            if isinstance(last, RoomEventFrame):
                self._mark(last.id)

    def refuse(self, frame: Frame) -> None:
        """Write the answer to a handshake that is refused."""
        self._inner.write(frame)

    def close(self, reason: CloseReason) -> None:
        """Tell the client why, and close the connection."""
        if self._inner.reason is None:
            self.received()
            words = self._client.last_words(reason)
            if words is not None:
                self._inner.write(words)
            self._inner.close(reason)

    def received(self) -> MessageId | None:
        """Return the newest event that is known to have arrived, with all before it; None if none is."""
        return None if self._marks is None else self._marks.received()

    def closed_by_both(self) -> None:
        """Note that the client has answered the close of the relay: it has got all that was written before."""
        if self._marks is not None:
            self._marks.arrived()

    def _mark(self, position: MessageId) -> None:
        if self._marks is None:
            self._marks = Marks(self._inner)
        self._marks.add(position, self._written)
