"""The connection of one client of a `StatefulApplication` in one namespace."""

from collections.abc import Callable

from relay.gateways.base.arrivals import Arrivals
from relay.gateways.socketio.codec import EventFrame
from relay.gateways.socketio.namespace_connection import NamespaceConnection, NamespaceOwner, SharedConnection
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason
from relay.model.events import Event, Message
from relay.rooms.connection import Transfer


class ApplicationConnection(NamespaceConnection):
    """The connection of such a session: hands each event of the relay to `take`, which says whether it is written.

    None for `take` drops the events: the session has ended. With `counts`, it notes which messages have arrived.
    """

    __slots__ = ("_arrivals", "counts", "take")

    take: Callable[[Event], bool] | None

    def __init__(self, namespaces: NamespaceOwner, shared: SharedConnection, name: str) -> None:
        super().__init__(namespaces, shared, name)
        self.take = None
        self.counts = False
        self._arrivals = Arrivals(shared.transfer)

    def write(self, frame: Frame) -> None:
        """Write a packet, or the application's packets of an event."""
        if not isinstance(frame, EventFrame):
            super().write(frame)
            return
        if self.reason is None and self.take is not None and self.take(frame.event):
            super().write(frame.packets)
        if self.counts and isinstance(frame.event, Message) and self._is_open:
            self._arrivals.mark(frame.event.id, lost=lambda: self.lost)

    @property
    def _is_open(self) -> bool:
        return self.reason is None and self._shared.connection.reason is None

    def transfer(self) -> Transfer | None:
        """Ask the session that the namespaces share."""
        return self._shared.transfer() if self.counts else None

    def received(self) -> MessageId | None:
        """Return the newest message that is known to have arrived, with all before it; None if none is."""
        return self._arrivals.newest()

    def begin_room(self, *, counts: bool) -> None:
        """Forget the messages of the room that the client has left; `counts` is for the one that it enters."""
        self._arrivals = Arrivals(self._shared.transfer)
        self.counts = counts

    def close(self, reason: CloseReason) -> None:
        """Close the namespace; the messages that have arrived by now are known afterwards."""
        self._arrivals.newest()
        super().close(reason)

    def write_batch(self, batch: Batch) -> None:
        """Write several frames, one after the other."""
        for frame in batch.frames:
            self.write(frame)
