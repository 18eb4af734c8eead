"""The namespaces of one client: each has a session of its own, and all of them share the client's connection."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Final, Protocol

from relay.config import Settings
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.session import Session
from relay.gateways.socketio.apps.application import Application
from relay.gateways.socketio.apps.choice import Applications, ChooseApplication
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.codec import SocketIOCodec
from relay.gateways.socketio.encoders import PacketEncoder, PacketSequence
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.offsets import OffsetForm, offset_form
from relay.gateways.socketio.parser import IncomingEvent
from relay.gateways.socketio.resends import Resends
from relay.gateways.socketio.settings import SocketIOSettings
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import (
    BAD_REQUEST,
    GOING_AWAY,
    PEER_TAKEN,
    REPLACED,
    ROOM_FULL,
    TOO_FAST,
    CloseReason,
    Refused,
)
from relay.model.names import escape_room, percent_decoded
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Transfer
from relay.rooms.worker import Worker

_ROOMS: Final = "/rooms/"

_NAMESPACE_ONLY: Final = frozenset({REPLACED.code, ROOM_FULL.code, PEER_TAKEN.code, BAD_REQUEST.code})
"""Reasons that close one namespace, and leave the client its connection and its other namespaces."""

MakeJoinRequest = Callable[[str], JoinRequest]
"""Makes the request to join a room."""


class ProtocolVersion:
    """The common parts of all clients of one protocol version: its name, its encoders, its applications, its codecs.

    With `offsets`, clients get offsets and can recover their membership, unless they ask for none. With `ascii_names`,
    packets cannot carry a namespace that is not ASCII.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        encoder: Callable[[str], PacketEncoder],
        *,
        offsets: bool = False,
        ascii_names: bool = False,
    ) -> None:
        self.offsets = offsets
        self.ascii_names = ascii_names
        self.encoder = encoder
        self._settings = settings
        self._name = name
        allowed = settings.of(SocketIOSettings).socketio_events
        self.applications = Applications(
            RelayApplication(allowed=allowed, max_size=settings.max_message, offsets=offsets)
        )
        # Only for namespaces that clients may enter, whose names are short. Others may be as long as a message.
        self.codecs = lru_cache(maxsize=1024)(self._make_codecs)

    def _make_codecs(self, namespace: str, application: Application, form: OffsetForm) -> CodecPair[IncomingEvent]:
        home = room_of(namespace, self._settings)
        codec = SocketIOCodec(self.encoder(namespace), self._name + namespace, application, home=home, form=form)
        return CodecPair(codec, codec)


class SharedConnection(Protocol):
    """The part of a client's session that its namespaces use; an upgrade replaces `connection`."""

    connection: Connection

    @property
    def worker(self) -> Worker:
        """The worker that the client is on."""
        ...

    @property
    def ticket(self) -> Ticket:
        """The admission of the client, with its message rate."""
        ...

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading until each caller that paused it has resumed it."""
        ...


class Namespaces:
    """The namespaces of one client; `room`, a text, replaces the default room as the room of `/`.

    Only `_entered` refers to the sessions; each session refers to its connection, and that to this object. So a session
    that has ended is free as soon as its entry is removed.
    """

    __slots__ = ("_choose", "_entered", "_form", "_room", "_shared", "_version")

    def __init__(self, shared: SharedConnection, query: Mapping[str, str], version: ProtocolVersion) -> None:
        self._shared = shared
        # An empty parameter is as good as none: pages write `?room=` where they have no room yet.
        self._room = query.get("room") or None
        self._version = version
        self._choose: ChooseApplication = version.applications.choose(query)
        self._form = offset_form(query) if version.offsets else OffsetForm.NONE
        self._entered: dict[str, Session[IncomingEvent]] = {}

    def session(self, name: str) -> Session[IncomingEvent] | None:
        """Return the session of a namespace that the client is in, or is about to enter."""
        return self._entered.get(name)

    @property
    def recovers(self) -> bool:
        """Whether the client gets offsets, and so can recover its memberships."""
        return self._form is not OffsetForm.NONE

    def resends(self, name: str) -> Resends | None:
        """Return the events of a namespace that wait for an acknowledgement; None before the client is in its room."""
        session = self._entered[name]
        connection = session.connection
        if not isinstance(connection, NamespaceConnection):
            return None
        if connection.resends is None and (newest := session.newest_id()) is not None:
            # No event waits, so that all that came before is acknowledged.
            connection.resends = Resends(newest, self._shared.worker.clock)
        return connection.resends

    def recover(self, name: str, acknowledged: MessageId) -> None:
        """Note up to which id a client that recovers has acknowledgements of its messages."""
        session = self._entered.get(name)
        if session is not None and isinstance(session.connection, NamespaceConnection):
            session.connection.resends = Resends(acknowledged, self._shared.worker.clock, recovering=True)

    def encoder(self, name: str) -> PacketEncoder:
        """Return the encoder of packets about a namespace."""
        return self._version.encoder(name)

    def enter(self, name: str, make_join_request: MakeJoinRequest) -> None:
        """Begin a session for a namespace, or send the client the error."""
        worker, ticket = self._shared.worker, self._shared.ticket
        pace = ticket.pace()
        try:
            if not pace.charge():
                raise Refused("too_fast")
            room = self._room_of(name)
            if len(self._entered) >= worker.settings.rooms_per_connection:
                raise Refused("too_many_rooms")
        except Refused as error:
            ticket.metrics.refused(error.code)
            self._shared.connection.write(self.encoder(name).connect_error(error.code, error.text))
            if pace.overrun:
                self._shared.connection.close(TOO_FAST)
            return
        codecs = self._version.codecs(name, self._choose(name), self._form)
        connection = NamespaceConnection(self, self._shared, name)
        session = Session(connection, worker, codecs, ticket)
        self._entered[name] = session
        worker.spawn(session.enter(partial(make_join_request, room)))

    def leave(self, name: str) -> None:
        """End the session of a namespace at the client's wish; the connection stays."""
        session = self._entered.pop(name)
        session.connection.pause_reading(paused=False)
        session.end(goodbye=True)

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """Close each session when its frames are served, or `now`; the last one closes the connection."""
        if not self._entered:
            self._shared.connection.close(reason)
        for session in list(self._entered.values()):
            session.close_gracefully(reason, now=now)

    @property
    def watched(self) -> bool:
        """Whether a room of one of the namespaces is watched."""
        return any([session.watched for session in self._entered.values()])

    def disconnected(self, *, goodbye: bool) -> None:
        """End all sessions, as the connection has ended."""
        ended, self._entered = self._entered, {}
        for session in ended.values():
            session.end(goodbye=goodbye)

    def closed(self, connection: "NamespaceConnection", reason: CloseReason) -> None:
        """End the session of a namespace that the relay has closed, and the shared connection if the reason says so.

        A worker that stops lets each namespace finish. The last of them closes the shared connection.
        """
        if reason.code in _NAMESPACE_ONLY:
            session = self._entered.get(connection.name)
            if session is not None and session.connection is connection:
                del self._entered[connection.name]
                session.end(goodbye=False)
        elif reason is not GOING_AWAY or all(one.connection.reason is not None for one in self._entered.values()):
            self._shared.connection.close(reason)

    def _room_of(self, name: str) -> str:
        if name == "/" and self._room is not None:
            return escape_room(self._room)
        room = room_of(name, self._shared.worker.settings)
        if self._version.ascii_names and not name.isascii():
            raise SocketIORefused("bad_namespace", "a namespace that is not ASCII is percent-encoded")
        return room


class NamespaceConnection:
    """The `Connection` of one namespace's session: writes to the shared connection while the namespace is open.

    `resends` are the client's events that wait for an acknowledgement; None while none does.
    """

    __slots__ = ("_namespaces", "_paused", "_shared", "name", "reason", "resends")

    def __init__(self, namespaces: Namespaces, shared: SharedConnection, name: str) -> None:
        self._namespaces = namespaces
        self._shared = shared
        self._paused = False
        self.name = name
        self.reason: CloseReason | None = None
        self.resends: Resends | None = None

    @property
    def lost(self) -> bool:
        """Whether the client is gone."""
        return self._shared.connection.lost

    def write(self, frame: Frame) -> None:
        """Write a frame, but not an empty one (`codec.NOTHING`)."""
        if self.reason is None and frame.data:
            if self.resends is None:
                self._shared.connection.write(frame)
                return
            # In one write: a connection that is cut must not end between an event and its offset.
            if frames := self.resends.outgoing(frame):
                self._shared.connection.write(frames[0] if len(frames) == 1 else PacketSequence(frames))
            if self.resends.settled:
                self.resends = None

    def write_batch(self, batch: Batch) -> None:
        """Write several frames at once."""
        if self.reason is None:
            if self.resends is not None:
                batch = Batch([one for frame in batch.frames for one in self.resends.outgoing(frame)])
            self._shared.connection.write_batch(batch)

    def close(self, reason: CloseReason) -> None:
        """Close the namespace; only a replaced one gets a DISCONNECT packet, which keeps the client from returning."""
        if self.reason is None:
            if reason is REPLACED:
                self.write(self._namespaces.encoder(self.name).disconnect())
            self.reason = reason
            self.pause_reading(paused=False)
            self._namespaces.closed(self, reason)

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading from the shared connection, or resume it; the second call of a kind does nothing."""
        if paused is not self._paused:
            self._paused = paused
            self._shared.pause_reading(paused=paused)

    def transfer(self) -> Transfer | None:
        """Return None: an upgrade replaces the shared connection, and Socket.IO clients have offsets of their own."""
        return None


def room_of(namespace: str, settings: Settings) -> str:
    """Return the escaped name of a namespace's room: `/` is the default room, `/rooms/NAME` that room.

    NAME is text, percent-encoded as in the URL that the client connects to; a slash at the end is left out. Raises
    `Refused` (`bad_namespace` or `bad_room`).
    """
    if namespace == "/":
        return settings.default_room
    name = namespace.removeprefix(_ROOMS).removesuffix("/")
    if not namespace.startswith(_ROOMS) or "/" in name:
        raise SocketIORefused("bad_namespace", "Invalid namespace")
    return escape_room(percent_decoded(name))
