"""Clients of Socket.IO 0.9."""

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.codec import incoming_event_of
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.namespaces import Namespaces, ProtocolVersion
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.v09.packets import (
    ACK,
    CONNECT,
    DISCONNECT,
    EVENT,
    JSON,
    TEXT,
    read_parcel,
)
from relay.model.errors import CloseReason


class V09Client:
    """See `engine.EngineHandler`. A client is in `/` from the beginning, and cannot come back to a place."""

    __slots__ = ("_engine", "_namespaces")

    def __init__(self, version: ProtocolVersion, room: str | None, engine: EngineSession) -> None:
        self._engine = engine
        self._namespaces = Namespaces(engine, room, version)

    async def opened(self) -> None:
        """See `EngineHandler.opened`; the client takes the welcome to `/` for its greeting."""
        self._namespaces.enter("/", self._join_request)

    def message(self, data: bytes, *, binary: bool) -> None:
        """See `EngineHandler.message`."""
        parcel = read_parcel(data)
        space = self._namespaces.get(parcel.namespace)
        if parcel.kind == CONNECT:
            if space is None:
                self._namespaces.enter(parcel.namespace, self._join_request)
            elif parcel.namespace != "/":
                raise BadPacket("a packet that a client in a namespace does not send")
        elif parcel.kind in (TEXT, JSON, EVENT):
            if space is None:
                raise BadPacket("a packet for a namespace that the client is not in")
            space.session.received(incoming_event_of(parcel.values, parcel.id, ()))
        elif parcel.kind == DISCONNECT:
            if space is not None:
                self._namespaces.leave(parcel.namespace)
        elif parcel.kind != ACK:
            raise BadPacket("a packet that a client does not send")

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """See `EngineHandler.quit`."""
        self._namespaces.close_gracefully(reason, now=now)

    def disconnected(self, *, goodbye: bool) -> None:
        """See `EngineHandler.lost`."""
        self._namespaces.disconnected(goodbye=goodbye)

    def _join_request(self, room: str) -> JoinRequest:
        return JoinRequest(room, self._engine.worker.random.peer_id(), returns=False)
