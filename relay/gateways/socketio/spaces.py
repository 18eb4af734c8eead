"""The namespaces of one client, each a session of its own over the one connection that they share."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, Protocol
from urllib.parse import unquote

from relay.codec import Batch, Frame
from relay.config import Settings
from relay.connection import Connection
from relay.errors import (
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
from relay.gateways.entry import Dialect, Entry
from relay.gateways.session import Session
from relay.gateways.socketio.codec import SocketCodec
from relay.gateways.socketio.words import Words
from relay.limits import TokenBucket
from relay.names import check_room
from relay.worker import Worker

_ROOMS: Final = "/rooms/"

_OF_ONE_NAMESPACE: Final = frozenset({REPLACED.code, ROOM_FULL.code, PEER_TAKEN.code, BAD_REQUEST.code})
"""Why a client is put out of a namespace, or not let in, and keeps its connection."""

EntryTo = Callable[[str], Entry]
"""Says how a client comes into a room."""


class Tongue:
    """What is spoken with the clients of one version, by namespace; `name` is that of the version.

    With `offsets`, clients can come back to their place.
    """

    def __init__(self, settings: Settings, name: str, words: Callable[[str], Words], *, offsets: bool = False) -> None:
        self.offsets = offsets
        self.words = words
        self._settings = settings
        self._name = name
        # Of names that may be entered alone, as any other may be as long as a message.
        self.codec = lru_cache(maxsize=1024)(self._codec)

    def _codec(self, namespace: str) -> SocketCodec:
        return SocketCodec(
            self.words(namespace),
            self._name + namespace,
            home=home_of(namespace, self._settings),
            offsets=self.offsets,
            allowed=self._settings.socketio_events,
            max_size=self._settings.max_message,
        )


class Carrier(Protocol):
    """What carries the namespaces of a client; its `connection` may change."""

    connection: Connection

    @property
    def worker(self) -> Worker:
        """The worker that it is on."""
        ...

    def hold_back(self, *, paused: bool) -> None:
        """Read no further until everybody who paused says so."""
        ...


class Spaces:
    """The namespaces that a client is in. `room` is the one that its handshake asks for as the scope of `/`, if any."""

    __slots__ = ("_bucket", "_carrier", "_room", "_spaces", "_tongue")

    def __init__(self, carrier: Carrier, room: str | None, tongue: Tongue) -> None:
        self._carrier = carrier
        self._room = room
        self._tongue = tongue
        self._bucket: TokenBucket | None = None
        self._spaces: dict[str, Namespace] = {}

    def get(self, name: str) -> "Namespace | None":
        """The namespace, if the client is in it or on the way in."""
        return self._spaces.get(name)

    def enter(self, name: str, entry_to: EntryTo) -> None:
        """Let the client in, or tell it why not."""
        worker = self._carrier.worker
        bucket = self._shared_bucket()
        try:
            if not bucket.take():
                raise Refused("too_fast")
            room = self._room_of(name)
            if len(self._spaces) >= worker.settings.rooms_per_connection:
                raise Refused("too_many_rooms")
        except Refused as error:
            worker.metrics.refused.labels(error.code).inc()
            self._carrier.connection.write(self._tongue.words(name).refused(error.code, error.text))
            if bucket.overrun:
                self._carrier.connection.close(TOO_FAST)
            return
        space = self._spaces[name] = Namespace(self, self._carrier, name, self._tongue.codec(name), bucket)
        worker.spawn(space.session.enter(partial(entry_to, room)))

    def leave(self, name: str) -> None:
        """The client has left a namespace, and keeps its connection."""
        space = self._spaces.pop(name)
        space.hold_back(paused=False)
        space.session.lost(NORMAL.code, None)

    def quit(self, reason: CloseReason, *, now: bool) -> None:
        """See `Client.quit`."""
        if not self._spaces:
            self._carrier.connection.close(reason)
        for space in list(self._spaces.values()):
            space.session.quit(reason, now=now)

    def lost(self, *, goodbye: bool) -> None:
        """The connection has ended."""
        spaces, self._spaces = self._spaces, {}
        for space in spaces.values():
            space.session.lost(NORMAL.code if goodbye else 1006, None)

    def put_out(self, space: "Namespace", reason: CloseReason) -> None:
        """The relay closes a namespace: it alone, where that is what the reason means, or the connection."""
        if reason.code in _OF_ONE_NAMESPACE:
            if self._spaces.get(space.name) is space:
                del self._spaces[space.name]
            space.session.lost(reason.code, reason.name)
        elif reason is not GOING_AWAY or all(other.reason is not None for other in self._spaces.values()):
            self._carrier.connection.close(reason)

    def _shared_bucket(self) -> TokenBucket:
        """What limits the client, in all its namespaces together: how often it goes in, and its messages."""
        if self._bucket is None:
            settings = self._carrier.worker.settings
            self._bucket = TokenBucket(settings.message_rate, settings.message_burst, self._carrier.worker.clock)
        return self._bucket

    def _room_of(self, name: str) -> str:
        if name == "/" and self._room is not None:
            return check_room(self._room)
        return check_room(home_of(name, self._carrier.worker.settings))


class Namespace:
    """A client in one namespace: the `Connection` of its session."""

    __slots__ = ("_carrier", "_codec", "_held_back", "_spaces", "name", "reason", "session")

    def __init__(self, spaces: Spaces, carrier: Carrier, name: str, codec: SocketCodec, bucket: TokenBucket) -> None:
        self._spaces = spaces
        self._carrier = carrier
        self._codec = codec
        self._held_back = False
        self.name = name
        self.reason: CloseReason | None = None
        dialect = Dialect(codec, codec)
        self.session = Session(self, carrier.worker, dialect, address=None, hold_back=self.hold_back, bucket=bucket)

    def write(self, frame: Frame) -> None:
        """See `Connection.write`."""
        if self.reason is None and frame.data:
            self._carrier.connection.write(frame)

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        if self.reason is None:
            self._carrier.connection.write_batch(batch)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        if self.reason is None:
            if reason is REPLACED:
                self.write(self._codec.words.left())
            self.reason = reason
            self.hold_back(paused=False)
            self._spaces.put_out(self, reason)

    def hold_back(self, *, paused: bool) -> None:
        """See `HoldBack`."""
        if paused is not self._held_back:
            self._held_back = paused
            self._carrier.hold_back(paused=paused)


def home_of(namespace: str, settings: Settings) -> str:
    """The room that a namespace stands for, if it is one; raises `Refused`."""
    if namespace == "/":
        return settings.default_room
    if not namespace.startswith(_ROOMS):
        raise Refused("bad_namespace", "Invalid namespace")
    return unquote(namespace.removeprefix(_ROOMS))
