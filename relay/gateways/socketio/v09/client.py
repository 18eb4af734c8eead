"""Socket.IO clients of version 0.9."""

from collections.abc import Mapping
from functools import partial

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.codec import incoming_event
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.namespaces import Arrival, Namespaces, ProtocolVersion
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
    """The `EngineHandler` of a client of version 0.9, which is in `/` from the beginning and cannot recover.

    `token` is the one of its request, "" for none; it counts in each namespace.
    """

    __slots__ = ("_engine_session", "_namespaces", "_token")

    def __init__(
        self, version: ProtocolVersion, query: Mapping[str, str], token: str, engine_session: EngineSession
    ) -> None:
        self._engine_session = engine_session
        self._token = token
        self._namespaces = Namespaces(engine_session, query, version)

    async def opened(self) -> None:
        """Accept the client in `/`; the connect packet greets it."""
        self._engine_session.when_polled(partial(self._enter, "/", unasked=True))

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched."""
        return self._namespaces.watched

    def message(self, data: bytes, *, binary: bool) -> None:
        """Handle one packet."""
        packet = read_packet(data)
        if packet.kind not in (TEXT, JSON, EVENT):
            # To enter a namespace is counted there.
            self._engine_session.count_packet(len(data), least=packet.kind != CONNECT)
        session = self._namespaces.session(packet.namespace)
        if packet.kind == CONNECT:
            if session is None:
                self._enter(packet.namespace)
            elif packet.namespace != "/":
                raise BadPacket("a packet that a client in a namespace does not send")
        elif packet.kind in (TEXT, JSON, EVENT):
            if session is None:
                raise BadPacket("a packet for a namespace that the client is not in")
            event = incoming_event(packet.values, packet.id, (), too_deep=packet.too_deep)
            if self._namespaces.opens_channel(packet.namespace, event):
                self._engine_session.count_packet(len(data))
            else:
                session.received(event)
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

    def _enter(self, name: str, *, unasked: bool = False) -> None:
        self._namespaces.enter(name, self._join_request, unasked=unasked, arrival=Arrival(self._token))

    def _join_request(self, room: str) -> JoinRequest:
        return JoinRequest(room, can_resume=False, token=self._token)
