"""Socket.IO clients of versions 1 to 4: their packets, and how they come in and come back."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from relay.gateways.base.join_request import JoinRequest, ResumeClaim
from relay.gateways.socketio.codec import incoming_event_of, read_plain_message
from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.namespaces import Namespaces, ProtocolVersion, home_of
from relay.gateways.socketio.packets import BadPacket, Revision
from relay.gateways.socketio.parser import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    PacketReader,
    SocketPacket,
)
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import BAD_REQUEST, CloseReason, Refused
from relay.model.names import check_peer, check_room


class SocketIOClient:
    """See `engine.EngineHandler`."""

    __slots__ = ("_engine", "_namespaces", "_reader", "_returns", "_revision", "_timer")

    def __init__(self, version: ProtocolVersion, revision: Revision, room: str | None, engine: EngineSession) -> None:
        self._engine = engine
        self._revision: Revision = revision
        self._returns = version.offsets
        self._reader = PacketReader()
        self._namespaces = Namespaces(engine, room, version)
        self._timer: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """See `EngineHandler.opened`; in revision 3 all are in `/` from the beginning.

        In revision 4, who enters no namespace in time is not a client.
        """
        engine = self._engine
        engine.connection.write(greeting(engine))
        if self._revision == 3:
            self._enter("/", {})
        else:
            patience = engine.worker.settings.handshake_timeout
            self._timer = asyncio.get_running_loop().call_later(patience, self._give_up)

    def message(self, data: bytes, *, binary: bool) -> None:
        """See `EngineHandler.message`."""
        call = None if binary or self._reader.waiting else read_plain_message(data)
        space = self._namespaces.get("/") if call is not None else None
        if call is not None and space is not None:
            space.session.received(call)
            return
        parcel = self._reader.read(data, binary=binary, limit=self._engine.largest)
        if parcel is None:
            return
        space = self._namespaces.get(parcel.namespace)
        if space is None:
            self._take_first(parcel)
        elif parcel.kind in (EVENT, BINARY_EVENT):
            space.session.received(incoming_event_of(parcel.values, parcel.id, parcel.attachments))
        elif parcel.kind == DISCONNECT:
            self._namespaces.leave(space.name)
        elif parcel.kind == CONNECT_ERROR or (parcel.kind == CONNECT and self._revision == 4):
            raise BadPacket("a packet that a client in a namespace does not send")

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """See `EngineHandler.quit`."""
        self._namespaces.close_gracefully(reason, now=now)

    def disconnected(self, *, goodbye: bool) -> None:
        """See `EngineHandler.lost`."""
        self._stop_timer()
        self._namespaces.disconnected(goodbye=goodbye)

    def _take_first(self, parcel: SocketPacket) -> None:
        """Take a packet for a namespace that the client is not in; its name may bear a query in revision 3."""
        name = parcel.namespace.partition("?")[0] if self._revision == 3 else parcel.namespace
        if parcel.kind == CONNECT:
            if self._namespaces.get(name) is None:
                self._enter(name, parcel.auth or {})
        elif parcel.kind not in (DISCONNECT, ACK, BINARY_ACK):
            raise BadPacket("a packet for a namespace that the client is not in")

    def _enter(self, name: str, auth: Mapping[str, Any]) -> None:
        self._namespaces.enter(name, partial(self._join_request, name, auth))
        if self._namespaces.get(name) is not None:
            self._stop_timer()

    def _join_request(self, name: str, auth: Mapping[str, Any], room: str) -> JoinRequest:
        """Whoever has no place to come back to is somebody new."""
        peer = self._engine.worker.random.peer_id()
        claim = read_claim(auth, home_of(name, self._engine.worker.settings)) if self._returns else None
        if claim is None:
            return JoinRequest(room, peer, returns=self._returns)
        before = ResumeClaim(room, claim.peer, claim.resume, claim.place)
        if claim.offset is not None:
            since = max(claim.place, claim.offset) if claim.room == room else claim.offset
            before = ResumeClaim(claim.room, claim.peer, claim.resume, since)
        return JoinRequest(room, peer, key=auth["pid"], before=before)

    def _give_up(self) -> None:
        self._engine.connection.close(BAD_REQUEST)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class RecoveryClaim(NamedTuple):
    """What a client that comes back says of itself; its `offset`, if it has one, is a place in `room`."""

    peer: str
    resume: str
    place: MessageId
    offset: MessageId | None
    room: str


def read_claim(auth: Mapping[str, Any], home: str) -> RecoveryClaim | None:
    """Read the private id and the offset with which a client comes back; None for what the relay has not given.

    `pid` holds the peer id, the resume key and the place in the room as of when it was given; `offset` is that of the
    newest message since, see `SocketIOCodec`.
    """
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str) or pid.count(".") != 2 or len(pid) > 256:
        return None
    peer, resume, place = pid.split(".")
    try:
        began = MessageId.parse(place)
        if not isinstance(offset, str):
            return RecoveryClaim(check_peer(peer), resume, began, None, home)
        newest, _, room = offset.partition("@")
        return RecoveryClaim(check_peer(peer), resume, began, MessageId.parse(newest), check_room(room or home))
    except (ValueError, Refused):
        return None


def greeting(engine: EngineSession) -> Frame:
    """The packet that opens a session of Engine.IO; times are in milliseconds."""
    settings = engine.worker.settings
    opened = {
        "sid": engine.sid,
        "upgrades": ["websocket"] if engine.polls else [],
        "pingInterval": round(settings.ping_interval * 1000),
        "pingTimeout": round(settings.ping_timeout * 1000),
        "maxPayload": engine.largest * 15 // 16,  # clients count what is binary a little too low
    }
    return Frame(b"0" + msgspec.json.encode(opened))
