"""The connection of one client of a `StatefulApplication` in one namespace."""

from collections import deque
from collections.abc import Callable
from typing import Final

from relay.gateways.socketio.codec import EventFrame
from relay.gateways.socketio.namespace_connection import NamespaceConnection, NamespaceOwner, SharedConnection
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.events import Event, Message
from relay.rooms.connection import Transfer

_MOST_MARKS: Final = 64
"""Messages that are remembered: those of the last seconds, of which no position is noted yet."""


class ApplicationConnection(NamespaceConnection):
    """The connection of such a session: hands each event of the relay to `take`, which says whether it is written.

    None for `take` drops the events: the session has ended. With `counts`, it notes for each message how many bytes
    were written by then.
    """

    __slots__ = ("_marks", "_received", "counts", "take")

    take: Callable[[Event], bool] | None

    def __init__(self, namespaces: NamespaceOwner, shared: SharedConnection, name: str) -> None:
        super().__init__(namespaces, shared, name)
        self.take = None
        self.counts = False
        self._marks: deque[tuple[MessageId, int]] = deque(maxlen=_MOST_MARKS)
        self._received: MessageId | None = None

    def write(self, frame: Frame) -> None:
        """Write a packet, or the application's packets of an event."""
        if not isinstance(frame, EventFrame):
            super().write(frame)
            return
        if self.reason is None and self.take is not None and self.take(frame.event):
            super().write(frame.packets)
        if self.counts and isinstance(frame.event, Message):
            self._mark(frame.event.id)

    def transfer(self) -> Transfer | None:
        """Ask the connection that the namespaces share."""
        return self._shared.connection.transfer() if self.counts else None

    def received(self) -> MessageId | None:
        """Return the newest message that has arrived, with all before it, as far as is known; None if none has.

        A client that closes the connection in the orderly way is taken to have got all that was written to it.
        """
        transfer = self._shared.connection.transfer() if self._marks else None
        while self._marks and (transfer is None or transfer.received >= self._marks[0][1]):
            self._received = self._marks.popleft()[0]
        return self._received

    def begin_room(self, *, counts: bool) -> None:
        """Forget the messages of the room that the client has left; `counts` is for the one that it enters."""
        self._marks.clear()
        self._received = None
        self.counts = counts

    def _mark(self, message: MessageId) -> None:
        connection = self._shared.connection
        transfer = connection.transfer()
        if transfer is None:
            if connection.lost:
                # A write has failed, and the connection is about to report its end.
                return
            # A client that polls does not say which messages it has got.
            self._marks.clear()
            self._received = message
        else:
            self._marks.append((message, transfer.written))

    def write_batch(self, batch: Batch) -> None:
        """Write several frames, one after the other."""
        for frame in batch.frames:
            self.write(frame)
