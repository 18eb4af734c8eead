"""Clients of Socket.IO 0.9."""

from relay.errors import CloseReason
from relay.gateways.entry import Entry
from relay.gateways.socketio.codec import call_of
from relay.gateways.socketio.engine import Engine
from relay.gateways.socketio.legacy.packets import (
    ACK,
    CONNECT,
    DISCONNECT,
    EVENT,
    JSON,
    TEXT,
    read_parcel,
)
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.spaces import Spaces, Tongue


class LegacyClient:
    """See `engine.Listener`. A client is in `/` from the beginning, and cannot come back to a place."""

    __slots__ = ("_engine", "_spaces")

    def __init__(self, tongue: Tongue, room: str | None, engine: Engine) -> None:
        self._engine = engine
        self._spaces = Spaces(engine, room, tongue)

    async def opened(self) -> None:
        """See `Listener.opened`; the client takes the welcome to `/` for its greeting."""
        self._spaces.enter("/", self._entry)

    def message(self, data: bytes, *, binary: bool) -> None:
        """See `Listener.message`."""
        parcel = read_parcel(data)
        space = self._spaces.get(parcel.namespace)
        if parcel.kind == CONNECT:
            if space is None:
                self._spaces.enter(parcel.namespace, self._entry)
            elif parcel.namespace != "/":
                raise BadPacket("a packet that a client in a namespace does not send")
        elif parcel.kind in (TEXT, JSON, EVENT):
            if space is None:
                raise BadPacket("a packet for a namespace that the client is not in")
            space.session.received(call_of(parcel.values, parcel.id, ()))
        elif parcel.kind == DISCONNECT:
            if space is not None:
                self._spaces.leave(parcel.namespace)
        elif parcel.kind != ACK:
            raise BadPacket("a packet that a client does not send")

    def quit(self, reason: CloseReason, *, now: bool) -> None:
        """See `Listener.quit`."""
        self._spaces.quit(reason, now=now)

    def lost(self, *, goodbye: bool) -> None:
        """See `Listener.lost`."""
        self._spaces.lost(goodbye=goodbye)

    def _entry(self, room: str) -> Entry:
        return Entry(room, self._engine.worker.random.peer_id(), returns=False)
