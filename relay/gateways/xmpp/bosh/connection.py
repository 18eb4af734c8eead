"""The connection of a client over BOSH: elements without the framing of WebSockets, and without stream management."""

from relay.gateways.xmpp.codec import FramingFrame
from relay.gateways.xmpp.connection import XmppConnection
from relay.model.codec import Frame


class BoshConnection(XmppConnection):
    """Leaves out elements of the framing. BOSH repeats lost requests by itself, so that no stream is managed."""

    manages = False

    def write(self, frame: Frame) -> None:
        """Write an element, or let the session write the stanzas of an event."""
        if not isinstance(frame, FramingFrame):
            super().write(frame)
