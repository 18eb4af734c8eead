"""The connection of a SIP session: hands it each event of the relay, and writes the session's own frames."""

from collections.abc import Callable

from relay.gateways.base.arrivals import CountedConnection
from relay.gateways.sip.codec import UnwrittenEvent
from relay.model.codec import Frame
from relay.model.events import Event
from relay.rooms.connection import Connection


class SipConnection(CountedConnection):
    """A `CountedConnection` with a function that takes events, and marks the messages; None once the session has ended.

    It knows up to which message its client has got everything, as SIP has no cursor.
    """

    __slots__ = ("take",)

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self.take: Callable[[Event], None] | None = None

    def write(self, frame: Frame) -> None:
        """Write a frame, or have an event taken."""
        if not isinstance(frame, UnwrittenEvent):
            self._inner.write(frame)
        elif self.take is not None:
            self.take(frame.event)
