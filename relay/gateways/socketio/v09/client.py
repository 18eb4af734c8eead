"""Socket.IO clients of version 0.9."""

from collections.abc import Mapping

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.codec import incoming_event
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
    read_packet,
)
from relay.model.errors import CloseReason


class V09Client:
    """The `EngineHandler` of a client of version 0.9, which is in `/` from the beginning and cannot recover."""

    __slots__ = ("_engine_session", "_namespaces")

    def __init__(self, version: ProtocolVersion, query: Mapping[str, str], engine_session: EngineSession) -> None:
        self._engine_session = engine_session
        self._namespaces = Namespaces(engine_session, query, version)

    async def opened(self) -> None:
        """Accept the client in `/`; the connect packet greets it."""
        self._namespaces.enter("/", self._join_request)

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched."""
        return self._namespaces.watched

    def message(self, data: bytes, *, binary: bool) -> None:
        """Handle one packet."""
        packet = read_packet(data)
        session = self._namespaces.session(packet.namespace)
        if packet.kind == CONNECT:
            if session is None:
                self._namespaces.enter(packet.namespace, self._join_request)
            elif packet.namespace != "/":
                raise BadPacket("a packet that a client in a namespace does not send")
        elif packet.kind in (TEXT, JSON, EVENT):
            if session is None:
                raise BadPacket("a packet for a namespace that the client is not in")
            session.received(incoming_event(packet.values, packet.id, (), too_deep=packet.too_deep))
        elif packet.kind == DISCONNECT:
            if session is not None:
                self._namespaces.leave(packet.namespace)
        elif packet.kind != ACK:
            raise BadPacket("a packet that a client does not send")

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """Close all namespaces, and with the last one the connection."""
        self._namespaces.close_gracefully(reason, now=now)

    def disconnected(self, *, goodbye: bool) -> None:
        """End the sessions of all namespaces."""
        self._namespaces.disconnected(goodbye=goodbye)

    def _join_request(self, room: str) -> JoinRequest:
        return JoinRequest(room, self._engine_session.worker.random.peer_id(), can_resume=False)
