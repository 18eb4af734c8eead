"""The transport `webSockets`."""

from typing import Final

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import WebSocketSession
from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.signalrclassic.codec import KEEPALIVE, PushFrame, RefusalFrame, WelcomeFrame, end_of, pushed
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import NORMAL, CloseReason
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.worker import Worker

KEEPALIVE_SECONDS: Final = 10.0
"""Seconds between two signs of life, over WebSockets and event streams; clients wait for twice as long."""

LOST_CODE: Final = 1006
"""The close code of a connection that was lost (RFC 6455, 7.4.1)."""


def keepalive() -> Keepalive:
    """Make the timer of one worker. Clients answer nothing: the server's own pings find those that are gone."""
    return Keepalive(KeepaliveTiming(KEEPALIVE_SECONDS, KEEPALIVE_SECONDS, KEEPALIVE_SECONDS))


class ClassicConnection(WrappedConnection):
    """The connection of one client; with `first`, the client waits for the frame that begins it."""

    __slots__ = ("_first", "_told", "cursor")

    def __init__(self, inner: Connection, *, first: bool) -> None:
        super().__init__(inner)
        self._first = first
        self._told = False
        # The cursor of a client that has all frames.
        self.cursor = ""

    def write(self, frame: Frame) -> None:
        """Write a frame, unless there is nothing to write."""
        if isinstance(frame, PushFrame) and frame.cursor:
            self.cursor = frame.cursor
        if self._first and isinstance(frame, WelcomeFrame):
            frame = frame.first
        elif isinstance(frame, RefusalFrame):
            self._told = True
        if frame.data:
            self._inner.write(frame)

    def write_keepalive(self, newest: MessageId | None) -> None:
        """Write a sign of life. `newest` is the newest id of the room: events that are for others move it as well."""
        if newest is None or str(newest) == self.cursor:
            self._inner.write(KEEPALIVE)
        else:
            self.write(PushFrame(pushed(str(newest), b""), b"", str(newest)))

    def close(self, reason: CloseReason) -> None:
        """Close the connection; a client that is not to come back gets the error that stops it."""
        end = b"" if self._told else end_of(reason)
        if end and self.reason is None:
            self._inner.write(Frame(end))
        self._inner.close(reason)


class SocketSession(WebSocketSession):
    """The session of a client that has a WebSocket.

    Clients close their sockets without a code, on purpose and also when they take them for dead. So a close is no
    goodbye: that is a request of its own.
    """

    __slots__ = ("_keepalive", "_over", "keepalive_slot")

    def __init__(
        self,
        connection: ClassicConnection,
        worker: Worker,
        codecs: CodecPair[Frame],
        ticket: Ticket,
        keepalive: Keepalive,
    ) -> None:
        self._over = connection
        super().__init__(connection, worker, codecs, ticket)
        self.keepalive_slot = 0
        self._keepalive = keepalive
        keepalive.add(self)

    def leave(self) -> None:
        """End the membership and the connection of a client that has said goodbye."""
        self.end(goodbye=True)
        self._connection.close(NORMAL)

    def ping(self) -> None:
        """Send a sign of life."""
        self._over.write_keepalive(self.newest_id())

    def check(self) -> None:
        """Do nothing: clients do not answer."""

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """End the session, and hold the membership."""
        self._keepalive.remove(self)
        super().disconnected(LOST_CODE, relay_closed)
