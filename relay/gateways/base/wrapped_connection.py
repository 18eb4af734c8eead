"""A connection around another one, for gateways that change or drop some of the frames."""

from relay.model.codec import Batch, Frame
from relay.model.errors import CloseReason
from relay.rooms.connection import Connection, Transfer


class WrappedConnection:
    """A `Connection` that passes everything on; a batch frame by frame, so that a subclass sees each in `write`."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Connection) -> None:
        self._inner = inner

    @property
    def reason(self) -> CloseReason | None:
        """Why the relay closes the connection; None while it does not."""
        return self._inner.reason

    @reason.setter
    def reason(self, reason: CloseReason | None) -> None:
        self._inner.reason = reason

    @property
    def lost(self) -> bool:
        """Whether the client is gone."""
        return self._inner.lost

    def write(self, frame: Frame) -> None:
        """Write a frame."""
        self._inner.write(frame)

    def write_batch(self, batch: Batch) -> None:
        """Write the frames one by one."""
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        """Close the connection."""
        self._inner.close(reason)

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading from the connection."""
        self._inner.pause_reading(paused=paused)

    def transfer(self) -> Transfer | None:
        """Ask the connection."""
        return self._inner.transfer()


class SilentConnection(WrappedConnection):
    """A `Connection` of a protocol that has no frame for some events: frames without data are not written."""

    def write(self, frame: Frame) -> None:
        """Write a frame, unless there is nothing to write."""
        if frame.data:
            self._inner.write(frame)
