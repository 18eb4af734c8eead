"""The parts of a `ClientPort`: each one does its part of the work for the session of one client."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec

from relay.gateways.base.costs import JOIN_COST, REPLAY_COST
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.application_session import ApplicationSession
from relay.gateways.socketio.apps.port import ClientPort, Handshake, PublishOutcome
from relay.gateways.socketio.encoders import OutgoingEvent, PacketEncoder
from relay.identity.grants import Grants, Right
from relay.model.commands import Publish, SetInfo, Tracking
from relay.model.errors import BAD_REQUEST, ClientGone, Refused, RelayError
from relay.model.events import Welcome
from relay.model.names import check_room
from relay.model.publication import Receipt
from relay.rooms.member import Member
from relay.rooms.worker import Worker

_encode: Final = msgspec.json.Encoder().encode


def make_port(session: ApplicationSession, worker: Worker, encoder: PacketEncoder, handshake: Handshake) -> ClientPort:
    """Make the port of a session's client."""
    publisher = _Publisher(session)
    return ClientPort(
        worker,
        handshake,
        socket=_Socket(session, worker, encoder),
        membership=_Membership(session, worker, publisher),
        publisher=publisher,
        presence=_Presence(session, worker),
        permissions=_Permissions(session),
        rate=session,
    )


class _Socket:
    """The `ClientSocket` of a session."""

    __slots__ = ("_encoder", "_session", "_worker")

    def __init__(self, session: ApplicationSession, worker: Worker, encoder: PacketEncoder) -> None:
        self._session = session
        self._worker = worker
        self._encoder = encoder

    def emit(self, name: str, *values: object) -> None:
        """Write an event packet."""
        event = OutgoingEvent(_encode(name), [_encode(value) for value in values])
        self._session.connection.write(self._encoder.event(event))

    def acknowledge(self, number: str, *values: object) -> None:
        """Write an acknowledgement."""
        if number:
            self._session.connection.write(self._encoder.ack(number, *values))

    def announce_sid(self) -> None:
        """Tell the connection."""
        self._session.shown.announce_sid()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work as a task of the worker."""
        self._worker.spawn(self._session.guarded(work))

    def disconnect(self) -> None:
        """Write a DISCONNECT packet, and close the namespace."""
        self._session.connection.write(self._encoder.disconnect())
        self._session.connection.close(BAD_REQUEST)


class _Membership:
    """The `RoomMembership` of a session."""

    __slots__ = ("_publisher", "_session", "_worker")

    def __init__(self, session: ApplicationSession, worker: Worker, publisher: "_Publisher") -> None:
        self._session = session
        self._worker = worker
        self._publisher = publisher

    @property
    def room(self) -> str:
        """The own room of the session."""
        rooms = self._session.rooms
        return rooms.own_room if len(rooms) else ""

    @property
    def peer(self) -> str:
        """The peer id there."""
        return self._session.rooms.peer

    async def enter(self, request: JoinRequest) -> Welcome:
        """Enter the room as the session's own."""
        if self._session.has_ended:
            raise ClientGone()
        check_room(request.room)
        if self.room:
            raise Refused("already_joined", room=self.room)
        derives = request.terms is not None and bool(request.terms.password)
        self._session.charge(JOIN_COST + (REPLAY_COST if derives else 0))
        self._session.shown.begin_room(counts=request.tracking is not Tracking.NONE)
        return await self._session.join(request)

    async def leave(self) -> None:
        """End the membership."""
        if self.room:
            await self._session.rooms.end("")

    async def rename(
        self, request: JoinRequest, farewell: Publish, before_leaving: Callable[[], Awaitable[None]]
    ) -> None:
        """Join under the other peer id, and end the membership before."""
        session = self._session
        session.charge(JOIN_COST)
        session.check(farewell)
        if session.guard is not None:
            request = session.guard.admit(request, self._worker.random.peer_id)
        before = await session.rooms.rename(request)
        renamed = session.rooms.member("")
        left = before
        try:
            await self._publisher.published_by(before, farewell)
            await before_leaving()
        except RelayError:
            if session.rooms.take_back(before, renamed):
                left = renamed
            raise
        finally:
            await self._worker.leave(left, hold=False)


class _Publisher:
    """The `MessagePublisher` of a session."""

    __slots__ = ("_session",)

    def __init__(self, session: ApplicationSession) -> None:
        self._session = session

    def publish(self, command: Publish, done: PublishOutcome | None = None) -> None:
        """Publish for the member that the client is."""
        report = partial(self._session.report, done)
        try:
            self._session.check(command)
            member = self._session.rooms.member(command.room)
        except Refused as error:
            report(error)
            return
        self._session.publish_by(member, command, report)

    async def published(self, command: Publish) -> None:
        """Publish, and wait for the outcome."""
        self._session.check(command)
        await self.published_by(self._session.rooms.member(command.room), command)

    async def published_by(self, member: Member, command: Publish) -> None:
        """Publish for a member, and wait for the outcome."""
        outcome: asyncio.Future[Receipt | RelayError] = asyncio.get_running_loop().create_future()

        def done(found: Receipt | RelayError) -> None:
            if not outcome.done():
                outcome.set_result(found)

        self._session.publish_by(member, command, done)
        found = await outcome
        if isinstance(found, RelayError):
            raise found


class _Presence:
    """The `MemberPresence` of a session."""

    __slots__ = ("_session", "_worker")

    def __init__(self, session: ApplicationSession, worker: Worker) -> None:
        self._session = session
        self._worker = worker

    async def change_info(self, info: bytes) -> None:
        """Change the info of the member that the client is."""
        self._session.check(SetInfo(info))
        await self._session.rooms.change_info(info)

    def list_room(self, name: str) -> None:
        """Begin a listing of the member."""
        self._worker.listings.begin(self._session.rooms.member(""), name)


class _Permissions:
    """The `Permissions` of a session."""

    __slots__ = ("_session",)

    def __init__(self, session: ApplicationSession) -> None:
        self._session = session

    @property
    def grants(self) -> Grants | None:
        """Those of the session's guard."""
        guard = self._session.guard
        return None if guard is None else guard.grants

    def sees(self, room: str) -> bool:
        """Ask the guard."""
        guard = self._session.guard
        return guard is None or guard.sees(room)

    def sees_members(self, room: str) -> bool:
        """Ask the guard."""
        guard = self._session.guard
        return guard is None or guard.allows(Right.PRESENCE, room)

    async def refresh(self, token: str) -> float | None:
        """Renew the session's token; it counts like a join."""
        self._session.charge(JOIN_COST)
        return await self._session.renew(token)
