"""A WebSocket of a client that cannot read binary frames."""

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.socketio.packets import Framing
from relay.model.codec import Frame
from relay.rooms.connection import Connection


class TextConnection(WrappedConnection):
    """A `Connection` that writes every frame as text to another one."""

    def __init__(self, inner: Connection, framing: Framing) -> None:
        super().__init__(inner)
        self._framing = framing

    def write(self, frame: Frame) -> None:
        """Write each part of the frame as text."""
        for part in frame.parts:
            self._inner.write(self._framing.as_text(part))
