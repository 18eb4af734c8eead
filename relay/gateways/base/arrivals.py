"""The messages that were written to a client, and the newest one that has arrived there, as far as TCP shows it."""

from collections import deque
from collections.abc import Callable
from typing import Final

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason
from relay.rooms.connection import Connection, Transfer

_MOST_MARKS: Final = 64
"""Messages that are remembered: those of the last seconds, of which no position is noted yet."""


class Arrivals:
    """Remembers of each message how many bytes were written by then; it has arrived when so many were received.

    `transfer` says how much was written and received; None at the end makes no message count. It costs two system calls
    for each message, which is little for the twenty of a call. If it is never known, as over a unix socket,
    a message counts when the next one is written: else a client that comes back would get all of them again.
    Once it was known, None says that the connection has ended: such a message says nothing of those before.
    """

    __slots__ = ("_known", "_marks", "_newest", "_transfer")

    def __init__(self, transfer: Callable[[], Transfer | None]) -> None:
        self._transfer = transfer
        # Made for the first message.
        self._marks: deque[tuple[MessageId, int]] | None = None
        self._newest: MessageId | None = None
        self._known = False

    def mark(self, message: MessageId, *, lost: Callable[[], bool] = lambda: False) -> None:
        """Take note that a message was written; to be called for connections that the relay has not closed.

        `lost` tells whether the client has gone, and counts only where bytes are not known. Where they are, they tell
        more: the client may have read the message and gone before this is called.
        """
        transfer = self._transfer()
        if self._marks is None:
            self._marks = deque(maxlen=_MOST_MARKS)
        if transfer is not None:
            self._known = True
            self._marks.append((message, transfer.written))
        elif not self._known and not lost():
            if self._marks:
                self._newest = self._marks[-1][0]
                self._marks.clear()
            self._marks.append((message, 0))

    def newest(self) -> MessageId | None:
        """Return the newest message that is known to have arrived, with all before it; None if none is."""
        marks = self._marks
        transfer = self._transfer() if marks else None
        while marks and transfer is not None and transfer.received >= marks[0][1]:
            self._newest = marks.popleft()[0]
        return self._newest


class CountedConnection(WrappedConnection):
    """A `Connection` that knows up to which message its client has got everything, also when it is lost.

    It is for protocols without a cursor. A subclass or its session calls `mark` for each message that it has written.
    """

    __slots__ = ("_arrivals",)

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self._arrivals = Arrivals(inner.transfer)

    def mark(self, message: MessageId) -> None:
        """Take note that a message was written, unless the relay has closed the connection: then it was dropped."""
        if self.reason is None:
            self._arrivals.mark(message, lost=lambda: self.lost)

    def received(self) -> MessageId | None:
        """Return the newest message that is known to have arrived, with all before it; None if none is."""
        return self._arrivals.newest()

    def close(self, reason: CloseReason) -> None:
        """Close the connection; the messages that have arrived by now are known afterwards."""
        self._arrivals.newest()
        super().close(reason)
