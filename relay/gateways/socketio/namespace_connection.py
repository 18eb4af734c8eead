"""The connection of one namespace's session, which shares the client's connection with its other namespaces."""

from collections.abc import Callable
from typing import Final, Protocol

from relay.gateways.socketio.encoders import PacketEncoder, PacketSequence
from relay.gateways.socketio.resends import Resends
from relay.model.codec import Batch, Frame
from relay.model.errors import KICKED, NOT_ADMITTED, REPLACED, ROOM_CLOSED, CloseReason
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Transfer
from relay.rooms.worker import Worker

PUT_OUT: Final = frozenset({REPLACED.code, NOT_ADMITTED.code, KICKED.code, ROOM_CLOSED.code})
"""Reasons that end a membership for good: a DISCONNECT packet keeps the client from returning."""


class SharedConnection(Protocol):
    """The part of a client's session that its namespaces use; an upgrade replaces `connection`.

    `announced` says whether other clients know the id.
    """

    connection: Connection
    announced: bool

    @property
    def id(self) -> str:
        """The id of the Engine.IO session."""
        ...

    @property
    def worker(self) -> Worker:
        """The worker that the client is on."""
        ...

    @property
    def ticket(self) -> Ticket:
        """The admission of the client, with its message rate."""
        ...

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading until each caller that paused it has resumed it."""
        ...

    def transfer(self) -> Transfer | None:
        """Return how much was written and received, before and after an upgrade; None if it is not known."""
        ...

    def echo(self, answered: Callable[[], None]) -> Frame | None:
        """Return a ping to be written at once, and call back at the pong; None if the client is the one that pings."""
        ...


class NamespaceOwner(Protocol):
    """The namespaces of a client."""

    def encoder(self, name: str) -> PacketEncoder:
        """Return the encoder of packets about a namespace."""
        ...

    def has_entered(self, name: str) -> bool:
        """Return whether the client is in the room of a namespace."""
        ...

    def closed(self, connection: "NamespaceConnection", reason: CloseReason) -> None:
        """End the session of a namespace that the relay has closed."""
        ...


class NamespaceConnection:
    """The `Connection` of one namespace's session: writes to the shared connection while the namespace is open.

    `resends` are the client's events that wait for an acknowledgement; None while none does.
    """

    __slots__ = ("_namespaces", "_paused", "_shared", "name", "reason", "resends")

    def __init__(self, namespaces: NamespaceOwner, shared: SharedConnection, name: str) -> None:
        self._namespaces = namespaces
        self._shared = shared
        self._paused = False
        self.name = name
        self.reason: CloseReason | None = None
        self.resends: Resends | None = None

    @property
    def lost(self) -> bool:
        """Whether the client is gone."""
        return self._shared.connection.lost

    def write(self, frame: Frame) -> None:
        """Write a frame, but not an empty one (`codec.NOTHING`)."""
        if self.reason is None and frame.data:
            if self.resends is None:
                self._shared.connection.write(frame)
                return
            # In one write: a connection that is cut must not end between an event and its offset.
            if frames := self.resends.outgoing(frame):
                self._shared.connection.write(frames[0] if len(frames) == 1 else PacketSequence(frames))
            if self.resends.settled:
                self.resends = None

    def write_batch(self, batch: Batch) -> None:
        """Write several frames at once."""
        if self.reason is None:
            if self.resends is not None:
                batch = Batch([one for frame in batch.frames for one in self.resends.outgoing(frame)])
            self._shared.connection.write_batch(batch)

    def close(self, reason: CloseReason) -> None:
        """Close the namespace; only one that the client is put out of gets a DISCONNECT packet.

        One that it could not enter has its CONNECT_ERROR.
        """
        if self.reason is None:
            if reason is REPLACED or (reason.code in PUT_OUT and self._namespaces.has_entered(self.name)):
                self.write(self._namespaces.encoder(self.name).disconnect())
            self.reason = reason
            self.pause_reading(paused=False)
            self._namespaces.closed(self, reason)

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading from the shared connection, or resume it; the second call of a kind does nothing."""
        if paused is not self._paused:
            self._paused = paused
            self._shared.pause_reading(paused=paused)

    def announce_sid(self) -> None:
        """Take note that other clients learn the id of the Engine.IO session."""
        self._shared.announced = True

    def transfer(self) -> Transfer | None:
        """Return None: an upgrade replaces the shared connection, and Socket.IO clients have offsets of their own."""
        return None
