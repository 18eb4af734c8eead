"""Socket.IO clients: the namespaces that one of them is in over its one Engine.IO session."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from relay.auth import Random
from relay.codec import Batch, Frame
from relay.config import Settings
from relay.envelope import MessageId
from relay.errors import (
    BAD_REQUEST,
    GOING_AWAY,
    NORMAL,
    PEER_TAKEN,
    REPLACED,
    ROOM_FULL,
    CloseReason,
    Refused,
)
from relay.gateways.session import Dialect, Entry, Session
from relay.gateways.socketio.codec import SocketCodec, call_of
from relay.gateways.socketio.engine import Engine
from relay.gateways.socketio.packets import BadPacket
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
from relay.names import check_peer, check_room

log = logging.getLogger("relay.socketio")

_ROOMS: Final = "/rooms/"

_OF_ONE_NAMESPACE: Final = frozenset({REPLACED.code, ROOM_FULL.code, PEER_TAKEN.code, BAD_REQUEST.code})
"""Why a client is put out of a namespace, or not let in, and keeps its connection."""


class Claim(NamedTuple):
    """What a client that comes back says of itself."""

    peer: str
    resume: str
    since: MessageId


class Codecs:
    """One codec for all clients of a protocol version and a namespace."""

    def __init__(self, settings: Settings) -> None:
        allowed: Collection[str] = frozenset(settings.socketio_events)
        self.offsets = settings.replay_length > 0
        make = partial(SocketCodec, offsets=self.offsets, allowed=allowed, max_size=settings.max_message)
        self.get = lru_cache(maxsize=1024)(make)


class SocketClient:
    """See `engine.Listener`. `room` is the one that the handshake asks for, if it does, as the scope of `/`."""

    __slots__ = ("_codecs", "_engine", "_reader", "_room", "_timer", "spaces")

    def __init__(self, codecs: Codecs, room: str | None, engine: Engine) -> None:
        self._codecs = codecs
        self._engine = engine
        self._room = room
        self._reader = Reader()
        self._timer: asyncio.TimerHandle | None = None
        self.spaces: dict[str, Namespace] = {}

    # Listener.

    async def opened(self) -> None:
        """See `Listener.opened`; a client that enters no namespace in time is not one. In revision 3 all are in `/`."""
        if self._engine.revision == 3:
            self._connect("/", {})
        else:
            patience = self._engine.worker.settings.handshake_timeout
            self._timer = asyncio.get_running_loop().call_later(patience, self._engine.connection.close, BAD_REQUEST)

    def message(self, data: bytes, *, binary: bool) -> None:
        """See `Listener.message`."""
        parcel = self._reader.read(data, binary=binary, limit=self._engine.largest)
        if parcel is None:
            return
        space = self.spaces.get(parcel.namespace)
        if space is None:
            self._take_first(parcel)
        elif parcel.kind in (EVENT, BINARY_EVENT):
            space.session.received(call_of(parcel.values, parcel.id, parcel.attachments))
        elif parcel.kind == DISCONNECT:
            del self.spaces[space.name]
            space.left()
        elif parcel.kind == CONNECT_ERROR or (parcel.kind == CONNECT and self._engine.revision == 4):
            raise BadPacket("a packet that a client in a namespace does not send")

    def quit(self, reason: CloseReason, *, now: bool) -> None:
        """See `Listener.quit`."""
        if not self.spaces:
            self._engine.connection.close(reason)
        for space in list(self.spaces.values()):
            space.session.quit(reason, now=now)

    def lost(self, *, goodbye: bool) -> None:
        """See `Listener.lost`."""
        self._stop_timer()
        spaces, self.spaces = self.spaces, {}
        for space in spaces.values():
            space.session.lost(NORMAL.code if goodbye else 1006, None)

    # Namespaces.

    def _take_first(self, parcel: Parcel) -> None:
        name, _, query = parcel.namespace.partition("?")
        if self._engine.revision == 3 and query and name in self.spaces:
            return
        if parcel.kind == CONNECT:
            self._connect(name, parcel.auth or {})
        elif parcel.kind not in (DISCONNECT, ACK, BINARY_ACK):
            raise BadPacket("a packet for a namespace that the client is not in")

    def _connect(self, name: str, auth: Mapping[str, Any]) -> None:
        worker = self._engine.worker
        room = self._room_of(name)
        try:
            codec = self._codecs.get(self._engine.revision, name)
            if room is None:
                raise Refused("bad_namespace", "Invalid namespace")
            if len(self.spaces) >= worker.settings.rooms_per_connection:
                raise Refused("too_many_rooms")
        except Refused as error:
            worker.metrics.refused.labels(error.code).inc()
            self._engine.connection.write(codec.connect_error(error.code, error.text))
            return
        self._stop_timer()
        space = self.spaces[name] = Namespace(self, self._engine, name, codec)
        worker.spawn(space.session.enter(partial(self._entry, room, auth)))

    def _room_of(self, name: str) -> str | None:
        if name == "/":
            return self._engine.worker.settings.default_room if self._room is None else self._room
        return unquote(name.removeprefix(_ROOMS)) if name.startswith(_ROOMS) else None

    def _entry(self, room: str, auth: Mapping[str, Any]) -> Entry:
        check_room(room)
        returns = self._codecs.offsets and self._engine.revision == 4
        claim = read_claim(auth) if returns else None
        if claim is None:
            random: Random = self._engine.worker.random
            return Entry(room, random.peer_id(), returns=returns)
        return Entry(room, claim.peer, resume=claim.resume, since=claim.since, key=auth["pid"])

    def put_out(self, space: "Namespace", reason: CloseReason) -> None:
        """The relay closes a namespace: it alone, where that is what the reason means, or the connection."""
        if reason.code in _OF_ONE_NAMESPACE:
            if self.spaces.get(space.name) is space:
                del self.spaces[space.name]
            space.session.lost(reason.code, reason.name)
        elif reason is not GOING_AWAY or all(other.reason is not None for other in self.spaces.values()):
            self._engine.connection.close(reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Namespace:
    """A client in one namespace: the `Connection` of its session, which is over the one that all of them share."""

    __slots__ = ("_client", "_codec", "_engine", "_held_back", "name", "reason", "session")

    def __init__(self, client: SocketClient, engine: Engine, name: str, codec: SocketCodec) -> None:
        self._client = client
        self._engine = engine
        self._codec = codec
        self._held_back = False
        self.name = name
        self.reason: CloseReason | None = None
        dialect = Dialect(codec, codec)
        self.session = Session(self, engine.worker, dialect, address=None, hold_back=self._hold_back)

    def write(self, frame: Frame) -> None:
        """See `Connection.write`."""
        if self.reason is None and frame.data:
            self._engine.connection.write(frame)

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        if self.reason is None:
            self._engine.connection.write_batch(batch)

    def left(self) -> None:
        """The client has left the namespace, and keeps its connection."""
        self._hold_back(paused=False)
        self.session.lost(NORMAL.code, None)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        if self.reason is None:
            if reason is REPLACED:
                self.write(self._codec.disconnect)
            self.reason = reason
            self._hold_back(paused=False)
            self._client.put_out(self, reason)

    def _hold_back(self, *, paused: bool) -> None:
        if paused is not self._held_back:
            self._held_back = paused
            self._engine.hold_back(paused=paused)


def read_claim(auth: Mapping[str, Any]) -> Claim | None:
    """Read the private id and the offset with which a client comes back; None for what the relay has not given.

    `pid` holds the peer id, the resume key and the place in the room as of when it was given; `offset` is that of the
    newest message since.
    """
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str) or pid.count(".") != 2 or len(pid) > 256:
        return None
    peer, resume, place = pid.split(".")
    try:
        since = MessageId.parse(place)
        if isinstance(offset, str):
            since = max(since, MessageId.parse(offset))
        return Claim(check_peer(peer), resume, since)
    except (ValueError, Refused):
        return None
