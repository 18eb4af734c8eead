"""The connection of a PeerJS session: it takes note of each message of the room."""

from relay.gateways.base.arrivals import CountedConnection
from relay.gateways.peerjs.codec import MessageFrame
from relay.model.codec import Batch, Frame


class PeerConnection(CountedConnection):
    """A `CountedConnection` that leaves frames without data out."""

    __slots__ = ()

    def write(self, frame: Frame) -> None:
        """Write a frame, unless there is nothing to write."""
        if frame.data:
            self._inner.write(frame)
        if isinstance(frame, MessageFrame):
            self.mark(frame.id)

    def write_batch(self, batch: Batch) -> None:
        """Write several frames at once."""
        self._inner.write_batch(batch)
        last = batch.frames[-1]
        if isinstance(last, MessageFrame):
            self.mark(last.id)
