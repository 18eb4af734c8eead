"""The connection of a client of XMPP: events go to its session first, and a close ends the stream in its own words."""

from collections.abc import Callable
from typing import Final

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.xmpp.codec import FramingFrame, RoomFrame
from relay.gateways.xmpp.errors import stream_error
from relay.gateways.xmpp.namespaces import FRAMING
from relay.gateways.xmpp.writing import tag
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY, CloseReason, RelayError
from relay.rooms.connection import Connection

CLOSE: Final = FramingFrame(tag("close", {"xmlns": FRAMING}).encode())


class XmppConnection(WrappedConnection):
    """Hands each event to `take`, None once the session has ended.

    `fault` and `condition` are about the error that is to be told at the end; without them, the reason of the close is.
    A stream that is not `opened` or that the client has closed itself gets no error. `address` is the one to which the
    client has connected, "" if it is not known. `manages` says whether the relay
    offers stream management over this kind of connection.
    """

    manages = True

    def __init__(self, inner: Connection, address: str = "") -> None:
        super().__init__(inner)
        self.address = address
        self.take: Callable[[RoomFrame], None] | None = None
        self.fault: RelayError | None = None
        self.condition = ""
        self.opened = False
        self.resumable = False

    def write(self, frame: Frame) -> None:
        """Write an element, or let the session write the stanzas of an event."""
        if not isinstance(frame, RoomFrame):
            self._inner.write(frame)
        elif self.take is not None:
            self.take(frame)

    def close(self, reason: CloseReason) -> None:
        """End the stream with an error, and close the connection.

        A stream that can be resumed elsewhere is not ended where the client is to reconnect: the end of a stream is the
        end of its session (XEP-0198, section 6). A stream that has not begun is redirected to the same address, where
        another worker is: libraries follow that only in place of the first answer (RFC 7395, section 3.6.1).
        """
        if self.reason is None and not self.opened and reason is GOING_AWAY and self.address:
            redirect = {"xmlns": FRAMING, "see-other-uri": self.address}
            self.write(FramingFrame(tag("close", redirect).encode()))
        elif self.reason is None and self.opened:
            self.opened = False
            if not (self.resumable and reason.reconnect and self.fault is None):
                fault = self.fault
                code, text = (fault.code, fault.text) if fault else ("", "")
                error = stream_error(reason, condition=self.condition, code=code, text=text)
                self.write(Frame(error.encode()))
                self.write(CLOSE)
        self._inner.close(reason)
