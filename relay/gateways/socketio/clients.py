"""Socket.IO clients of versions 1 to 4: their packets, and how they come in and come back."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from relay.codec import Frame
from relay.envelope import MessageId
from relay.errors import BAD_REQUEST, CloseReason, Refused
from relay.gateways.entry import Entry, Return
from relay.gateways.socketio.codec import call_of, plain_message
from relay.gateways.socketio.engine import Engine
from relay.gateways.socketio.packets import BadPacket, Revision
from relay.gateways.socketio.parser import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Parcel,
    Reader,
)
from relay.gateways.socketio.spaces import Spaces, Tongue, home_of
from relay.names import check_peer, check_room


class SocketClient:
    """See `engine.Listener`."""

    __slots__ = ("_engine", "_reader", "_returns", "_revision", "_spaces", "_timer")

    def __init__(self, tongue: Tongue, revision: Revision, room: str | None, engine: Engine) -> None:
        self._engine = engine
        self._revision: Revision = revision
        self._returns = tongue.offsets
        self._reader = Reader()
        self._spaces = Spaces(engine, room, tongue)
        self._timer: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """See `Listener.opened`; in revision 3 all are in `/` from the beginning.

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
        """See `Listener.message`."""
        call = None if binary or self._reader.waiting else plain_message(data)
        space = self._spaces.get("/") if call is not None else None
        if call is not None and space is not None:
            space.session.received(call)
            return
        parcel = self._reader.read(data, binary=binary, limit=self._engine.largest)
        if parcel is None:
            return
        space = self._spaces.get(parcel.namespace)
        if space is None:
            self._take_first(parcel)
        elif parcel.kind in (EVENT, BINARY_EVENT):
            space.session.received(call_of(parcel.values, parcel.id, parcel.attachments))
        elif parcel.kind == DISCONNECT:
            self._spaces.leave(space.name)
        elif parcel.kind == CONNECT_ERROR or (parcel.kind == CONNECT and self._revision == 4):
            raise BadPacket("a packet that a client in a namespace does not send")

    def quit(self, reason: CloseReason, *, now: bool) -> None:
        """See `Listener.quit`."""
        self._spaces.quit(reason, now=now)

    def lost(self, *, goodbye: bool) -> None:
        """See `Listener.lost`."""
        self._stop_timer()
        self._spaces.lost(goodbye=goodbye)

    def _take_first(self, parcel: Parcel) -> None:
        """Take a packet for a namespace that the client is not in; its name may bear a query in revision 3."""
        name = parcel.namespace.partition("?")[0] if self._revision == 3 else parcel.namespace
        if parcel.kind == CONNECT:
            if self._spaces.get(name) is None:
                self._enter(name, parcel.auth or {})
        elif parcel.kind not in (DISCONNECT, ACK, BINARY_ACK):
            raise BadPacket("a packet for a namespace that the client is not in")

    def _enter(self, name: str, auth: Mapping[str, Any]) -> None:
        self._spaces.enter(name, partial(self._entry, name, auth))
        if self._spaces.get(name) is not None:
            self._stop_timer()

    def _entry(self, name: str, auth: Mapping[str, Any], room: str) -> Entry:
        """Whoever has no place to come back to is somebody new."""
        peer = self._engine.worker.random.peer_id()
        claim = read_claim(auth, home_of(name, self._engine.worker.settings)) if self._returns else None
        if claim is None:
            return Entry(room, peer, returns=self._returns)
        before = Return(room, claim.peer, claim.resume, claim.place)
        if claim.offset is not None:
            since = max(claim.place, claim.offset) if claim.room == room else claim.offset
            before = Return(claim.room, claim.peer, claim.resume, since)
        return Entry(room, peer, key=auth["pid"], before=before)

    def _give_up(self) -> None:
        self._engine.connection.close(BAD_REQUEST)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Claim(NamedTuple):
    """What a client that comes back says of itself; its `offset`, if it has one, is a place in `room`."""

    peer: str
    resume: str
    place: MessageId
    offset: MessageId | None
    room: str


def read_claim(auth: Mapping[str, Any], home: str) -> Claim | None:
    """Read the private id and the offset with which a client comes back; None for what the relay has not given.

    `pid` holds the peer id, the resume key and the place in the room as of when it was given; `offset` is that of the
    newest message since, see `SocketCodec`.
    """
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str) or pid.count(".") != 2 or len(pid) > 256:
        return None
    peer, resume, place = pid.split(".")
    try:
        began = MessageId.parse(place)
        if not isinstance(offset, str):
            return Claim(check_peer(peer), resume, began, None, home)
        newest, _, room = offset.partition("@")
        return Claim(check_peer(peer), resume, began, MessageId.parse(newest), check_room(room or home))
    except (ValueError, Refused):
        return None


def greeting(engine: Engine) -> Frame:
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
