"""Socket.IO clients of versions 1 to 4: the packets they send, and how they enter and recover."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from relay.gateways.base.join_request import JoinRequest, ResumeClaim
from relay.gateways.socketio.codec import incoming_event, read_message_event
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.namespaces import Arrival, Namespaces, ProtocolVersion, room_of
from relay.gateways.socketio.offsets import Offset
from relay.gateways.socketio.packets import BadPacket, Revision
from relay.gateways.socketio.parser import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    IncomingEvent,
    PacketReader,
    SocketPacket,
)
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import BAD_REQUEST, CloseReason, Refused
from relay.model.names import check_peer
from relay.model.rules import MAX_PASSWORD

_MAX_PRIVATE_ID = 256
_text = msgspec.json.Decoder(str)


class SocketIOClient:
    """The `EngineHandler` of a client of versions 1 to 4.

    `token` is the one of its handshake, "" for none; it counts in each namespace that the client enters without one.
    `origin` is that of its page.
    """

    __slots__ = ("_engine_session", "_enter_timer", "_namespaces", "_reader", "_revision", "_token")

    def __init__(
        self,
        version: ProtocolVersion,
        revision: Revision,
        query: Mapping[str, str],
        token: str,
        engine_session: EngineSession,
        *,
        origin: str = "",
    ) -> None:
        self._engine_session = engine_session
        self._token = token
        self._revision: Revision = revision
        # Made for each packet, and kept while attachments of it are missing: an idle client has none.
        self._reader: PacketReader | None = None
        self._namespaces = Namespaces(engine_session, query, version, origin=origin)
        self._enter_timer: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """Send the open packet. A client of revision 3 is in `/` from the beginning.

        A client of revision 4 must enter a namespace within the handshake timeout.
        """
        engine_session = self._engine_session
        engine_session.connection.write(open_packet(engine_session))
        if self._revision == 3:
            engine_session.when_polled(partial(self._enter, "/", {}, unasked=True))
        else:
            timeout = engine_session.worker.settings.handshake_timeout
            self._enter_timer = asyncio.get_running_loop().call_later(timeout, self._close_idle)

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched."""
        return self._namespaces.watched

    def message(self, data: bytes, *, binary: bool) -> None:
        """Handle a message: part of a packet, or a whole one."""
        event = None if binary or self._reader is not None else read_message_event(data)
        session = None if event is None else self._namespaces.session("/")
        if event is not None and session is not None:
            session.received(event)
            return
        packet = self._read(data, binary=binary)
        if binary or packet is None:
            # The event counts as a message; the parts of it only count with their bytes.
            self._engine_session.count_packet(len(data), least=0)
        if packet is None:
            return
        session = self._namespaces.session(packet.namespace)
        counts = session is None or packet.kind not in (EVENT, BINARY_EVENT)
        if counts and not (packet.kind == CONNECT and self._namespaces.opens_with(len(data))):
            # To enter a namespace is counted there.
            self._engine_session.count_packet(0 if binary else len(data), least=packet.kind != CONNECT)
        if session is None:
            self._handle_outside(packet)
        elif packet.kind in (EVENT, BINARY_EVENT):
            event = incoming_event(packet.values, packet.id, packet.attachments, too_deep=packet.too_deep)
            if self._namespaces.opens_channel(packet.namespace, event):
                self._engine_session.count_packet(len(data))
                return
            if event.id and event.key is None and self._namespaces.recovers(packet.namespace):
                self._identify(packet.namespace, event)
            session.received(event)
        elif packet.kind == DISCONNECT:
            self._namespaces.leave(packet.namespace)
        elif packet.kind == CONNECT_ERROR or (packet.kind == CONNECT and self._revision == 4):
            raise BadPacket("a packet that a client in a namespace does not send")

    def _read(self, data: bytes, *, binary: bool) -> SocketPacket | None:
        reader = self._reader or PacketReader()
        packet = reader.read(data, binary=binary, limit=self._engine_session.max_payload)
        self._reader = reader if reader.awaits_attachments else None
        return packet

    def _identify(self, name: str, event: IncomingEvent) -> None:
        """Give an event that wants an acknowledgement the key by which it is recognised when it is emitted again."""
        resends = self._namespaces.resends(name)
        if resends is not None:
            content = b"\0".join([str(event.name).encode(), event.data, *event.attachments])
            event.key = resends.emitted(event.id, content)

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """Close all namespaces, and with the last one the connection."""
        self._namespaces.close_gracefully(reason, now=now)

    def disconnected(self, *, goodbye: bool) -> None:
        """End the sessions of all namespaces."""
        self._stop_timer()
        self._namespaces.disconnected(goodbye=goodbye)

    def _handle_outside(self, packet: SocketPacket) -> None:
        """Handle a packet for a namespace that the client is not in; in revision 3, a query may follow its name."""
        name = packet.namespace.partition("?")[0] if self._revision == 3 else packet.namespace
        if packet.kind == CONNECT:
            if self._namespaces.session(name) is None:
                self._enter(name, packet.auth or {})
        elif packet.kind not in (DISCONNECT, ACK, BINARY_ACK):
            raise BadPacket("a packet for a namespace that the client is not in")

    def _enter(self, name: str, auth: Mapping[str, bytes], *, unasked: bool = False) -> None:
        arrival = Arrival(self._token_of(auth), auth)
        self._namespaces.enter(name, partial(self._join_request, name, auth), unasked=unasked, arrival=arrival)
        if self._namespaces.session(name) is not None:
            self._stop_timer()

    def _token_of(self, auth: Mapping[str, bytes]) -> str:
        return _read_text(auth.get("token")) or self._token

    def _join_request(self, name: str, auth: Mapping[str, bytes], room: str) -> JoinRequest:
        """Make the request to join; a client without a valid claim gets a new peer id."""
        worker, recovers = self._engine_session.worker, self._namespaces.recovers(name)
        token, password = self._token_of(auth), _read_password(auth)
        claim = read_claim(auth, room_of(name, worker.settings)) if recovers else None
        if claim is None:
            return JoinRequest(room, can_resume=recovers, token=token, password=password)
        since, offset = claim.joined_at, claim.offset
        resumed = room if offset is None else offset.room
        if offset is not None:
            since = max(since, offset.position) if resumed == room else offset.position
        self._namespaces.recover(name, (offset and offset.acknowledged) or since)
        return JoinRequest(
            room,
            key=claim.private_id,
            claim=ResumeClaim(resumed, claim.peer, claim.resume, since),
            token=token,
            password=password,
        )

    def _close_idle(self) -> None:
        self._engine_session.connection.close(BAD_REQUEST)

    def _stop_timer(self) -> None:
        if self._enter_timer is not None:
            self._enter_timer.cancel()
            self._enter_timer = None


class RecoveryClaim(NamedTuple):
    """The data that a client sends to recover: its private id, taken apart, and the last offset that it got.

    `joined_at` is the position of the room when the private id was issued.
    """

    private_id: str
    peer: str
    resume: str
    joined_at: MessageId
    offset: Offset | None


def read_claim(auth: Mapping[str, bytes], home: str) -> RecoveryClaim | None:
    """Read `pid` and `offset` of a CONNECT packet; None unless the relay may have issued them.

    The private id is `PEER.RESUME-KEY.POSITION`; `SocketIOCodec` writes it. `home` is the room of an offset that names
    none.
    """
    private_id, text = _read_text(auth.get("pid")), _read_text(auth.get("offset"))
    if private_id is None or private_id.count(".") != 2 or len(private_id) > _MAX_PRIVATE_ID:
        return None
    peer, resume, position = private_id.split(".")
    try:
        joined_at, offset = MessageId.parse(position), None if text is None else Offset.parse(text)
        if offset is not None and not offset.room:
            offset = offset._replace(room=home)
        return RecoveryClaim(private_id, check_peer(peer), resume, joined_at, offset)
    except (ValueError, Refused):
        return None


def _read_text(json: bytes | None) -> str | None:
    """Return the text that the JSON is; None for any other value."""
    try:
        return None if json is None else _text.decode(json)
    except msgspec.MsgspecError:
        return None


def _read_password(auth: Mapping[str, bytes]) -> str:
    """Return the password for a room; one that is too long is cut, and is that of no room."""
    # Not refused: pages send a field of this name for purposes of their own, and most rooms have no password.
    return (_read_text(auth.get("password")) or "")[: MAX_PASSWORD + 1]


def open_packet(session: EngineSession) -> Frame:
    """Make the packet that opens an Engine.IO session; times are in milliseconds."""
    settings = session.worker.settings
    opened = {
        "sid": session.id,
        "upgrades": [] if session.polling is None else ["websocket"],
        "pingInterval": round(settings.ping_interval * 1000),
        "pingTimeout": round(settings.ping_timeout * 1000),
        # Clients estimate the size of binary data in Base64 a little too low.
        "maxPayload": session.max_payload * 15 // 16,
    }
    return Frame(b"0" + msgspec.json.encode(opened))
