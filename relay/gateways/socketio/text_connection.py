"""A WebSocket of a client that cannot read binary frames."""

from relay.gateways.socketio.packets import Framing
from relay.model.codec import Batch, Frame
from relay.model.errors import CloseReason
from relay.rooms.connection import Connection, Transfer


class TextConnection:
    """A `Connection` that writes every frame as text to another one."""

    def __init__(self, inner: Connection, framing: Framing) -> None:
        self._inner = inner
        self._framing = framing

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
        """Write each part of the frame as text."""
        for part in frame.parts:
            self._inner.write(self._framing.as_text(part))

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
