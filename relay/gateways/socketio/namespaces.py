"""The namespaces of one client: each has a session of its own, and all of them share the client's connection."""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Final, NamedTuple

from relay.config import Settings
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import Session
from relay.gateways.socketio.application_connection import ApplicationConnection
from relay.gateways.socketio.application_port import make_port
from relay.gateways.socketio.application_session import ApplicationSession
from relay.gateways.socketio.apps.application import StatefulApplication
from relay.gateways.socketio.apps.channel import ChannelApplication
from relay.gateways.socketio.apps.choice import (
    AnyApplication,
    Applications,
    ChooseApplication,
    stateful_applications,
)
from relay.gateways.socketio.apps.port import Handshake
from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.channels import (
    ChannelUserSession,
    ClientChannels,
    MakeJoinRequest,
    read_new_channel,
    room_of_channel,
)
from relay.gateways.socketio.codec import SocketIOCodec, StatefulCodec
from relay.gateways.socketio.encoders import PacketEncoder
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.namespace_connection import PUT_OUT, NamespaceConnection, SharedConnection
from relay.gateways.socketio.namespace_rooms import NamespaceRooms
from relay.gateways.socketio.offsets import OffsetForm, offset_form
from relay.gateways.socketio.parser import IncomingEvent
from relay.gateways.socketio.resends import Resends
from relay.gateways.socketio.settings import SocketIOSettings
from relay.model.envelope import MessageId
from relay.model.errors import (
    BAD_REQUEST,
    GOING_AWAY,
    NOT_ADMITTED,
    PEER_TAKEN,
    ROOM_FULL,
    TOKEN_REFUSED,
    TOO_FAST,
    CloseReason,
    Refused,
)
from relay.model.names import escape_room, percent_decoded

_ROOMS: Final = "/rooms/"

_NAMESPACE_ONLY: Final = PUT_OUT | {ROOM_FULL.code, PEER_TAKEN.code, BAD_REQUEST.code, TOKEN_REFUSED.code}
"""Reasons that close one namespace, and leave the client its connection and its other namespaces."""

_REFUSED: Final = frozenset({TOKEN_REFUSED.code, NOT_ADMITTED.code})
"""Those for which a client without another namespace is not kept: it may do nothing here."""

_LONGEST_NAME: Final = 1000
"""Characters of the name of a namespace in which a `StatefulApplication` serves clients."""

_OPENING: Final = 1024
"""Bytes of a first CONNECT packet that is not counted; most have a token or a private id at most."""


class Arrival(NamedTuple):
    """The data that a client brings into a namespace: its token, "" for none, and the object of its packet CONNECT."""

    token: str = ""
    auth: Mapping[str, bytes] = MappingProxyType({})


_NOTHING: Final = Arrival()
_NO_QUERY: Final[Mapping[str, str]] = MappingProxyType({})


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
            RelayApplication(allowed=allowed, max_size=settings.max_message, offsets=offsets),
            stateful_applications(settings),
        )
        # Only for namespaces that clients may enter, whose names are short. Others may be as long as a message.
        self.codecs = lru_cache(maxsize=1024)(self._make_codecs)

    def _make_codecs(self, namespace: str, application: AnyApplication, form: OffsetForm) -> CodecPair[IncomingEvent]:
        if isinstance(application, StatefulApplication):
            stateful = StatefulCodec(self.encoder(namespace), self._name + namespace, application)
            return CodecPair(stateful, stateful)
        home = room_of_channel(namespace) if _is_channel(application) else room_of(namespace, self._settings)
        codec = SocketIOCodec(self.encoder(namespace), self._name + namespace, application, home=home, form=form)
        return CodecPair(codec, codec)


class Namespaces:
    """The namespaces of one client, which came with this `query` from a page of this `origin`.

    `room` of the query, a text, replaces the default room as the room of `/`.

    The client is in each room once: two namespaces may name one room, as `/rooms/a` and `/rooms/%61` do. Only
    `_entered` refers to the sessions; each session refers to its connection, and that to this object. So a session that
    has ended is free as soon as its entry is removed.
    """

    __slots__ = (
        "_channels",
        "_choose",
        "_entered",
        "_form",
        "_opened",
        "_origin",
        "_query",
        "_refusal_timer",
        "_room",
        "_shared",
        "_unasked",
        "_version",
    )

    def __init__(
        self, shared: SharedConnection, query: Mapping[str, str], version: ProtocolVersion, *, origin: str = ""
    ) -> None:
        self._shared = shared
        # An empty parameter is as good as none: pages write `?room=` where they have no room yet.
        self._room = query.get("room") or None
        self._version = version
        self._choose: ChooseApplication = version.applications.choose(query)
        is_recognised = version.applications.is_recognised(self._choose)
        # Most clients have no use for it, and a worker has tens of thousands of them.
        self._query: Mapping[str, str] = query if is_recognised else _NO_QUERY
        self._origin = origin
        self._form = offset_form(query) if version.offsets else OffsetForm.NONE
        self._entered: dict[str, Session[IncomingEvent]] = {}
        self._opened = False
        self._refusal_timer: asyncio.TimerHandle | None = None
        # The namespace that the client is in without having asked for it, "" for none.
        self._unasked = ""
        # Made for the first channel: most clients have none.
        self._channels: ClientChannels | None = None

    def session(self, name: str) -> Session[IncomingEvent] | None:
        """Return the session of a namespace that the client is in, or is about to enter."""
        return self._entered.get(name)

    def has_entered(self, name: str) -> bool:
        """Return whether the client is in the room of a namespace."""
        session = self._entered.get(name)
        return session is not None and (isinstance(session, ApplicationSession) or session.newest_id() is not None)

    def recovers(self, name: str) -> bool:
        """Return whether the client gets offsets in a namespace, and so can recover its membership."""
        return self._form_in(name) is not OffsetForm.NONE

    def resends(self, name: str) -> Resends | None:
        """Return the events of a namespace that wait for an acknowledgement; None before the client is in its room."""
        session = self._entered[name]
        connection = session.connection
        if not isinstance(connection, NamespaceConnection) or isinstance(session, ApplicationSession):
            return None
        if connection.resends is None and (newest := session.newest_id()) is not None:
            # No event waits, so that all that came before is acknowledged.
            connection.resends = Resends(newest, self._shared.worker.clock, self._shared.echo)
        return connection.resends

    def recover(self, name: str, acknowledged: MessageId) -> None:
        """Note up to which id a client that recovers has acknowledgements of its messages."""
        session = self._entered.get(name)
        if session is not None and isinstance(session.connection, NamespaceConnection):
            shared = self._shared
            session.connection.resends = Resends(acknowledged, shared.worker.clock, shared.echo, recovering=True)

    def opens_with(self, size: int) -> bool:
        """Whether a CONNECT packet of so many bytes is the client's first one, and small.

        It is not counted, as its handshake was: an idle client then needs no rate of its own.
        """
        return size <= _OPENING and not self._opened

    def encoder(self, name: str) -> PacketEncoder:
        """Return the encoder of packets about a namespace."""
        return self._version.encoder(name)

    def enter(
        self, name: str, make_join_request: MakeJoinRequest, *, unasked: bool = False, arrival: Arrival = _NOTHING
    ) -> None:
        """Begin a session for a namespace, or send the client the error.

        A namespace that the client is in `unasked` is left when the client enters its room by another name, or the
        namespace of a `StatefulApplication`.
        """
        worker, ticket = self._shared.worker, self._shared.ticket
        first, self._opened = not self._opened, True
        application = self._choose(name)
        try:
            if not first and not ticket.pace().charge():
                raise Refused("too_fast")
            room = self._room_to_enter(name, application)
        except Refused as error:
            ticket.metrics.refused(error.code)
            self._shared.connection.write(self.encoder(name).connect_error(error.code, error.text))
            if not first and ticket.pace().overrun:
                self._shared.connection.close(TOO_FAST)
            return
        if unasked:
            self._unasked = name
        if isinstance(application, StatefulApplication):
            worker.spawn(self._begin_stateful(name, application, arrival).connect(arrival.token))
            return
        codecs = self._version.codecs(name, application, self._form_in(name))
        connection = NamespaceConnection(self, self._shared, name)
        kind = ChannelUserSession if _is_channel(application) else Session
        session = kind(connection, worker, codecs, ticket, self._make_rooms(connection, codecs, room))
        self._entered[name] = session
        if kind is ChannelUserSession:
            worker.spawn(self._enter_channel(session, name, room, make_join_request))
        else:
            worker.spawn(session.enter(partial(make_join_request, room)))

    def _room_to_enter(self, name: str, application: AnyApplication) -> str:
        """Leave the namespace that the client is in unasked, if need be; return the room of this one, "" for none.

        Raises `Refused`.
        """
        room = ""
        if not isinstance(application, StatefulApplication):
            room = self._room_of(name)
            self._leave_unasked(room)
            if self.is_in(room):
                raise Refused("already_joined", room=room)
        elif len(name) > _LONGEST_NAME:
            raise SocketIORefused("bad_namespace", "Invalid namespace")
        elif self._unasked:
            # A page of such an application means its namespace alone, and not the default room.
            self.leave(self._unasked)
        if len(self._entered) >= self._shared.worker.settings.rooms_per_connection:
            raise Refused("too_many_rooms")
        return room

    def _begin_stateful(self, name: str, application: StatefulApplication, arrival: Arrival) -> ApplicationSession:
        worker, ticket = self._shared.worker, self._shared.ticket
        codecs = self._version.codecs(name, application, OffsetForm.NONE)
        connection = ApplicationConnection(self, self._shared, name)
        rooms, encoder = self._make_rooms(connection, codecs, ""), self.encoder(name)
        session = ApplicationSession(connection, worker, codecs, ticket, rooms, encoder=encoder)
        handshake = Handshake(name, self._query, arrival.auth, self._shared.id, self._origin, ticket.address)
        session.serve(application.client(make_port(session, worker, encoder, handshake)))
        self._entered[name] = session
        return session

    def _make_rooms(
        self, connection: NamespaceConnection, codecs: CodecPair[IncomingEvent], entering: str
    ) -> NamespaceRooms:
        return NamespaceRooms(
            connection,
            self._shared.worker,
            codecs,
            self._shared.ticket.address,
            name=connection.name,
            entering=entering,
            siblings=self,
        )

    # Channels.

    def opens_channel(self, name: str, event: IncomingEvent) -> bool:
        """Return whether an event in a namespace opens a channel: then it is served, and no session gets it."""
        room = read_new_channel(event) if name == "/" else None
        if room is None or isinstance(self._choose(name), StatefulApplication):
            return False
        self._own_channels().open(room)
        return True

    def _own_channels(self) -> ClientChannels:
        if self._channels is None:
            self._channels = ClientChannels(self._shared.worker, self._shared.ticket, self._enter_again)
        return self._channels

    def _enter_again(self, name: str, make_join_request: MakeJoinRequest) -> None:
        """Enter a channel that the client was refused, unless it has asked again meanwhile."""
        if name not in self._entered:
            self.enter(name, make_join_request)

    async def _enter_channel(
        self, session: Session[IncomingEvent], name: str, room: str, make_join_request: MakeJoinRequest
    ) -> None:
        await session.enter(await self._own_channels().request(name, room, make_join_request))

    def _form_in(self, name: str) -> OffsetForm:
        """Return the form of offsets in a namespace; handlers of channels take one argument, and pages come anew."""
        return OffsetForm.NONE if _is_channel(self._choose(name)) else self._form

    def leave(self, name: str) -> None:
        """End the session of a namespace at the client's wish; the connection stays."""
        session = self._entered.pop(name)
        if name == self._unasked:
            self._unasked = ""
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
        if self._refusal_timer is not None:
            self._refusal_timer.cancel()
        # The refused channels refer to the client.
        channels, self._channels = self._channels, None
        if channels is not None:
            channels.end()
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
            if not self._entered and reason.code in _REFUSED and self._refusal_timer is None:
                # A client may enter another namespace, or this one with another token, as long as one that comes anew.
                self._refusal_timer = asyncio.get_running_loop().call_later(
                    self._shared.worker.settings.handshake_timeout, self._close_refused
                )
        elif reason is not GOING_AWAY or all(one.connection.reason is not None for one in self._entered.values()):
            self._shared.connection.close(reason)

    def _close_refused(self) -> None:
        """Close the connection of a client that was refused, and has entered no namespace since."""
        self._refusal_timer = None
        if not self._entered:
            self._shared.connection.close(TOKEN_REFUSED)

    def is_in(self, room: str, besides: str = "") -> bool:
        """Return whether a namespace is in a room, or enters it; but for the one named `besides`."""
        return any([name != besides and session.is_in(room) for name, session in self._entered.items()])

    def count(self, besides: str) -> int:
        """Return how many namespaces the client is in, or enters; but for the one named `besides`."""
        return len(self._entered) - (besides in self._entered)

    def _leave_unasked(self, room: str) -> None:
        """Leave the namespace that the client did not ask for, if its room is this one."""
        session = self._entered.get(self._unasked)
        if session is not None and session.is_in(room):
            self.leave(self._unasked)

    def _room_of(self, name: str) -> str:
        if name == "/" and self._room is not None:
            return escape_room(self._room)
        channel = _is_channel(self._choose(name))
        room = room_of_channel(name) if channel else room_of(name, self._shared.worker.settings)
        if self._version.ascii_names and not name.isascii():
            text = "Invalid namespace" if channel else "a namespace that is not ASCII is percent-encoded"
            raise SocketIORefused("bad_namespace", text)
        return room


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


def _is_channel(application: AnyApplication) -> bool:
    return isinstance(application, ChannelApplication)
