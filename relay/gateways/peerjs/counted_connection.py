"""A connection that knows up to which message its client has got everything, also when it is lost."""

from collections import deque
from typing import Final

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.peerjs.codec import MessageFrame
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason
from relay.rooms.connection import Connection

_MOST_MARKS: Final = 64
"""Messages that are remembered: those of the last seconds, of which no position is noted yet."""


class CountedConnection(WrappedConnection):
    """A `Connection` that notes for each message how many bytes were written by then.

    That costs two system calls for each message, which is little where a call has some twenty of them.
    """

    __slots__ = ("_marks", "_received")

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        # Made for the first message.
        self._marks: deque[tuple[MessageId, int]] | None = None
        self._received: MessageId | None = None

    def write(self, frame: Frame) -> None:
        """Write a frame, unless there is nothing to write."""
        if frame.data:
            self._inner.write(frame)
        if isinstance(frame, MessageFrame):
            self._mark(frame.id)

    def write_batch(self, batch: Batch) -> None:
        """Write several frames at once."""
        self._inner.write_batch(batch)
        last = batch.frames[-1]
        if isinstance(last, MessageFrame):
            self._mark(last.id)

    def close(self, reason: CloseReason) -> None:
        """Close the connection; what has arrived by now is known afterwards."""
        self._received = self.received()
        self._inner.close(reason)

    def received(self) -> MessageId | None:
        """Return the newest message that is known to have arrived, with all before it; None if none is."""
        marks, transfer = self._marks, self._inner.transfer() if self._marks else None
        while marks and transfer is not None and transfer.received >= marks[0][1]:
            self._received = marks.popleft()[0]
        return self._received

    def _mark(self, message: MessageId) -> None:
        transfer = self._inner.transfer()
        if transfer is None:
            return
        if self._marks is None:
            self._marks = deque(maxlen=_MOST_MARKS)
        self._marks.append((message, transfer.written))
