"""The connection of a SIP session: hands it each event of the relay, and writes the session's own frames."""

from collections import deque
from collections.abc import Callable
from typing import Final

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.sip.codec import UnwrittenEvent
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason
from relay.model.events import Event
from relay.rooms.connection import Connection

_MOST_MARKS: Final = 64
"""Messages that are remembered: those of the last seconds, of which no position is noted yet."""


class SipConnection(WrappedConnection):
    """A `Connection` with a function that takes events; None once the session has ended.

    It knows up to which message its client has got everything, also when it is lost: SIP has no cursor.
    """

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self.take: Callable[[Event], None] | None = None
        self._marks: deque[tuple[MessageId, int]] = deque(maxlen=_MOST_MARKS)
        self._received: MessageId | None = None

    def write(self, frame: Frame) -> None:
        """Write a frame, or have an event taken."""
        if not isinstance(frame, UnwrittenEvent):
            self._inner.write(frame)
        elif self.take is not None:
            self.take(frame.event)

    def close(self, reason: CloseReason) -> None:
        """Close the connection; the messages that have arrived by now are known afterwards."""
        self._received = self.received()
        self._inner.close(reason)

    def mark(self, message: MessageId) -> None:
        """Take note that a message of the room was written, as far as the client gets it."""
        transfer = self._inner.transfer()
        if transfer is not None:
            self._marks.append((message, transfer.written))

    def received(self) -> MessageId | None:
        """Return the newest message that is known to have arrived, with all before it; None if none is."""
        transfer = self._inner.transfer() if self._marks else None
        while self._marks and transfer is not None and transfer.received >= self._marks[0][1]:
            self._received = self._marks.popleft()[0]
        return self._received
