"""The namespaces of one client, each a session of its own over the one connection that they share."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, Protocol
from urllib.parse import unquote

from relay.config import Settings
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.session import Session
from relay.gateways.socketio.codec import SocketIOCodec
from relay.gateways.socketio.encoders import PacketEncoder
from relay.limits import TokenBucket
from relay.model.codec import Batch, Frame
from relay.model.errors import (
    BAD_REQUEST,
    GOING_AWAY,
    NORMAL,
    PEER_TAKEN,
    REPLACED,
    ROOM_FULL,
    TOO_FAST,
    CloseReason,
    Refused,
)
from relay.model.names import check_room
from relay.rooms.connection import Connection
from relay.rooms.worker import Worker

_ROOMS: Final = "/rooms/"

_OF_ONE_NAMESPACE: Final = frozenset({REPLACED.code, ROOM_FULL.code, PEER_TAKEN.code, BAD_REQUEST.code})
"""Why a client is put out of a namespace, or not let in, and keeps its connection."""

JoinRequestFor = Callable[[str], JoinRequest]
"""Says how a client comes into a room."""


class ProtocolVersion:
    """What is spoken with the clients of one version, by namespace; `name` is that of the version.

    With `offsets`, clients can come back to their place.
    """

    def __init__(
        self, settings: Settings, name: str, encoder: Callable[[str], PacketEncoder], *, offsets: bool = False
    ) -> None:
        self.offsets = offsets
        self.encoder = encoder
        self._settings = settings
        self._name = name
        # Of names that may be entered alone, as any other may be as long as a message.
        self.codec = lru_cache(maxsize=1024)(self._codec)

    def _codec(self, namespace: str) -> SocketIOCodec:
        return SocketIOCodec(
            self.encoder(namespace),
            self._name + namespace,
            home=home_of(namespace, self._settings),
            offsets=self.offsets,
            allowed=self._settings.socketio_events,
            max_size=self._settings.max_message,
        )


class SharedConnection(Protocol):
    """What carries the namespaces of a client; its `connection` may change."""

    connection: Connection

    @property
    def worker(self) -> Worker:
        """The worker that it is on."""
        ...

    def pause_reading(self, *, paused: bool) -> None:
        """Read no further until everybody who paused says so."""
        ...


class Namespaces:
    """The namespaces that a client is in. `room` is the one that its handshake asks for as the scope of `/`, if any."""

    __slots__ = ("_bucket", "_namespaces", "_room", "_shared", "_version")

    def __init__(self, shared: SharedConnection, room: str | None, version: ProtocolVersion) -> None:
        self._shared = shared
        self._room = room
        self._version = version
        self._bucket: TokenBucket | None = None
        self._namespaces: dict[str, Namespace] = {}

    def get(self, name: str) -> "Namespace | None":
        """The namespace, if the client is in it or on the way in."""
        return self._namespaces.get(name)

    def enter(self, name: str, join_request_for: JoinRequestFor) -> None:
        """Let the client in, or tell it why not."""
        worker = self._shared.worker
        bucket = self._shared_bucket()
        try:
            if not bucket.take():
                raise Refused("too_fast")
            room = self._room_of(name)
            if len(self._namespaces) >= worker.settings.rooms_per_connection:
                raise Refused("too_many_rooms")
        except Refused as error:
            worker.metrics.errors.labels(error.code).inc()
            self._shared.connection.write(self._version.encoder(name).refused(error.code, error.text))
            if bucket.overrun:
                self._shared.connection.close(TOO_FAST)
            return
        space = self._namespaces[name] = Namespace(self, self._shared, name, self._version.codec(name), bucket)
        worker.spawn(space.session.enter(partial(join_request_for, room)))

    def leave(self, name: str) -> None:
        """The client has left a namespace, and keeps its connection."""
        space = self._namespaces.pop(name)
        space.pause_reading(paused=False)
        space.session.disconnected(NORMAL.code, None)

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """See `Client.close_gracefully`."""
        if not self._namespaces:
            self._shared.connection.close(reason)
        for space in list(self._namespaces.values()):
            space.session.close_gracefully(reason, now=now)

    def disconnected(self, *, goodbye: bool) -> None:
        """The connection has ended."""
        namespaces, self._namespaces = self._namespaces, {}
        for space in namespaces.values():
            space.session.disconnected(NORMAL.code if goodbye else 1006, None)

    def put_out(self, space: "Namespace", reason: CloseReason) -> None:
        """The relay closes a namespace: it alone, where that is what the reason means, or the connection."""
        if reason.code in _OF_ONE_NAMESPACE:
            if self._namespaces.get(space.name) is space:
                del self._namespaces[space.name]
            space.session.disconnected(reason.code, reason.name)
        elif reason is not GOING_AWAY or all(other.reason is not None for other in self._namespaces.values()):
            self._shared.connection.close(reason)

    def _shared_bucket(self) -> TokenBucket:
        """What limits the client, in all its namespaces together: how often it goes in, and its messages."""
        if self._bucket is None:
            settings = self._shared.worker.settings
            self._bucket = TokenBucket(settings.message_rate, settings.message_burst, self._shared.worker.clock)
        return self._bucket

    def _room_of(self, name: str) -> str:
        if name == "/" and self._room is not None:
            return check_room(self._room)
        return check_room(home_of(name, self._shared.worker.settings))


class Namespace:
    """A client in one namespace: the `Connection` of its session."""

    __slots__ = ("_codec", "_held_back", "_namespaces", "_shared", "name", "reason", "session")

    def __init__(
        self, namespaces: Namespaces, shared: SharedConnection, name: str, codec: SocketIOCodec, bucket: TokenBucket
    ) -> None:
        self._namespaces = namespaces
        self._shared = shared
        self._codec = codec
        self._held_back = False
        self.name = name
        self.reason: CloseReason | None = None
        codecs = CodecPair(codec, codec)
        self.session = Session(
            self, shared.worker, codecs, address=None, pause_reading=self.pause_reading, bucket=bucket
        )

    def write(self, frame: Frame) -> None:
        """See `Connection.write`."""
        if self.reason is None and frame.data:
            self._shared.connection.write(frame)

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        if self.reason is None:
            self._shared.connection.write_batch(batch)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        if self.reason is None:
            if reason is REPLACED:
                self.write(self._codec.encoder.left())
            self.reason = reason
            self.pause_reading(paused=False)
            self._namespaces.put_out(self, reason)

    def pause_reading(self, *, paused: bool) -> None:
        """See `PauseReading`."""
        if paused is not self._held_back:
            self._held_back = paused
            self._shared.pause_reading(paused=paused)


def home_of(namespace: str, settings: Settings) -> str:
    """The room that a namespace stands for, if it is one; raises `Refused`."""
    if namespace == "/":
        return settings.default_room
    if not namespace.startswith(_ROOMS):
        raise Refused("bad_namespace", "Invalid namespace")
    return unquote(namespace.removeprefix(_ROOMS))
