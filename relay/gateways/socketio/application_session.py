"""The session of one client of a `StatefulApplication` in one namespace: connected in no room until its client asks."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import structs

from relay.gateways.base.costs import JOIN_COST, REPLAY_COST
from relay.gateways.base.inbox import weight
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.session import Session
from relay.gateways.socketio.apps.application import (
    ApplicationClient,
    Handshake,
    Opened,
    PublishOutcome,
    StatefulApplication,
)
from relay.gateways.socketio.codec import Emitted, EventFrame
from relay.gateways.socketio.encoders import OutgoingEvent, PacketEncoder
from relay.gateways.socketio.namespace_connection import NamespaceConnection, NamespaceOwner, SharedConnection
from relay.gateways.socketio.parser import IncomingEvent
from relay.identity.grants import Grants, Right
from relay.model.codec import Batch, Frame
from relay.model.commands import Command, Publish, SetInfo, Tracking
from relay.model.envelope import MessageId, Receipt
from relay.model.errors import (
    BAD_REQUEST,
    JOIN_CLOSES,
    ClientGone,
    Refused,
    RelayError,
)
from relay.model.events import Event, Message, Welcome
from relay.model.names import check_room
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Transfer
from relay.rooms.member import Member
from relay.rooms.worker import Worker

log = logging.getLogger("relay.session")

_MOST_MARKS: Final = 64
"""Messages that are remembered: those of the last seconds, of which no position is noted yet."""

_encode: Final = msgspec.json.Encoder().encode


class ApplicationConnection(NamespaceConnection):
    """The connection of such a session: hands each event of the relay to `take`, which says whether it is written.

    None for `take` drops the events: the session has ended. With `counts`, it notes for each message how many bytes
    were written by then.
    """

    __slots__ = ("_marks", "_received", "counts", "take")

    take: Callable[[Event], bool] | None

    def __init__(self, namespaces: NamespaceOwner, shared: SharedConnection, name: str) -> None:
        super().__init__(namespaces, shared, name)
        self.take = None
        self.counts = False
        self._marks: deque[tuple[MessageId, int]] = deque(maxlen=_MOST_MARKS)
        self._received: MessageId | None = None

    def write(self, frame: Frame) -> None:
        """Write a packet, or the application's packets of an event."""
        if not isinstance(frame, EventFrame):
            super().write(frame)
            return
        if self.reason is None and self.take is not None and self.take(frame.event):
            super().write(frame.packets)
        if self.counts and isinstance(frame.event, Message):
            self._mark(frame.event.id)

    def transfer(self) -> Transfer | None:
        """Ask the connection that the namespaces share."""
        return self._shared.connection.transfer() if self.counts else None

    def received(self) -> MessageId | None:
        """Return the newest message that has arrived, with all before it, as far as is known; None if none has.

        A client that closes the connection in the orderly way is taken to have got all that was written to it.
        """
        transfer = self._shared.connection.transfer() if self._marks else None
        while self._marks and (transfer is None or transfer.received >= self._marks[0][1]):
            self._received = self._marks.popleft()[0]
        return self._received

    def forget_marks(self) -> None:
        """Forget the messages of a room that the client has left."""
        self._marks.clear()
        self._received = None

    def _mark(self, message: MessageId) -> None:
        connection = self._shared.connection
        transfer = connection.transfer()
        if transfer is None:
            if connection.lost:
                # A write has failed, and the connection is about to report its end.
                return
            # A client that polls does not say which messages it has got.
            self._marks.clear()
            self._received = message
        else:
            self._marks.append((message, transfer.written))

    def write_batch(self, batch: Batch) -> None:
        """Write several frames, one after the other."""
        for frame in batch.frames:
            self.write(frame)


class ApplicationSession(Session[IncomingEvent]):
    """Serves a client of a `StatefulApplication`: its `ClientPort`, and the caller of its `ApplicationClient`."""

    __slots__ = ("_application", "_client", "_encoder", "_shown", "_welcome", "handshake")

    def __init__(
        self,
        connection: ApplicationConnection,
        worker: Worker,
        codecs: CodecPair[IncomingEvent],
        ticket: Ticket,
        rooms: JoinedRooms,
        *,
        application: StatefulApplication,
        encoder: PacketEncoder,
        handshake: Handshake,
    ) -> None:
        super().__init__(connection, worker, codecs, ticket, rooms)
        self.handshake = handshake
        self._encoder = encoder
        self._shown = connection
        self._welcome: Welcome | None = None
        self._client: ApplicationClient | None = application.client(self)
        connection.take = self._take

    # The session.

    async def connect(self, token: str) -> None:
        """Let the application open the client, and accept it in its namespace; to be called once, instead of `enter`.

        A client that is refused gets a CONNECT_ERROR packet.
        """
        try:
            await self.authenticate(token)
            if self._client is not None:
                opened = await self._client.open()
                self._accept(opened)
                await self._client.opened()
        except ClientGone:
            pass  # The connection reports its end itself.
        except RelayError as error:
            self._metrics.refused(error.code)
            self._connection.write(self._encoder.connect_error(error.code, error.text))
            self._connection.close(JOIN_CLOSES.get(error.code, BAD_REQUEST))
        except Exception:
            self._close_after_fault()
        finally:
            self._end_exclusive()

    def _accept(self, opened: Opened) -> None:
        if self._ended or self._connection.reason is not None:
            raise ClientGone()
        self._connection.write(self._encoder.connect(opened.peer, opened.private_id))

    def _execute(self, command: Command) -> None:
        if not isinstance(command, Emitted):
            super()._execute(command)
        elif self._client is not None:
            work = self._client.received(command.event)
            if work is not None:
                self._run_exclusive(work, command)

    def _take(self, event: Event) -> bool:
        if isinstance(event, Welcome):
            self._welcome = event
            return False
        if self._client is None:
            return False
        try:
            return self._client.deliver(event)
        except Exception:
            # The hub goes on with the other members of the room.
            self._close_after_fault()
            return False

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session, and note the last message that has arrived; no object refers back to the session then."""
        received = self._shown.received()
        if received is not None and len(self._rooms):
            self._worker.acknowledge(self._rooms.member(""), received, at_once=True)
        client, self._client, self._shown.take = self._client, None, None
        if client is not None:
            client.ended(goodbye=goodbye)
        return super().end(goodbye=goodbye)

    # The port.

    @property
    def worker(self) -> Worker:
        """The worker."""
        return self._worker

    @property
    def grants(self) -> Grants | None:
        """The rights of the client's token."""
        return None if self._guard is None else self._guard.grants

    def sees(self, room: str) -> bool:
        """Return whether the client may know that a room exists."""
        return self._guard is None or self._guard.sees(room)

    def sees_members(self, room: str) -> bool:
        """Return whether the client may know who is in a room."""
        return self._guard is None or self._guard.allows(Right.PRESENCE, room)

    @property
    def room(self) -> str:
        """The room that the client is in."""
        return self._rooms.own_room if len(self._rooms) else ""

    @property
    def peer(self) -> str:
        """The client's peer id there."""
        return self._rooms.peer

    def emit(self, name: str, *values: object) -> None:
        """Send the client an event."""
        self._connection.write(self._encoder.event(OutgoingEvent(_encode(name), [_encode(value) for value in values])))

    def acknowledge(self, number: str, *values: object) -> None:
        """Call a callback of the client."""
        if number:
            self._connection.write(self._encoder.ack(number, *values))

    async def enter_room(self, request: JoinRequest) -> Welcome:
        """Enter a room."""
        if self._ended:
            raise ClientGone()
        check_room(request.room)
        if len(self._rooms):
            raise Refused("already_joined", room=self.room)
        derives = request.terms is not None and bool(request.terms.password)
        self.charge(JOIN_COST + (REPLAY_COST if derives else 0))
        self._welcome = None
        self._shown.forget_marks()
        self._shown.counts = request.tracking is not Tracking.NONE
        await self._enter(request)
        return self._taken_welcome()

    def _taken_welcome(self) -> Welcome:
        welcome, self._welcome = self._welcome, None
        if welcome is None:
            raise ClientGone()
        return welcome

    async def leave_room(self) -> None:
        """Leave the room."""
        if len(self._rooms):
            await self._rooms.end("")

    async def rename(
        self, request: JoinRequest, farewell: Publish, before_leaving: Callable[[], Awaitable[None]]
    ) -> None:
        """Take another peer id in the room."""
        self.charge(JOIN_COST)
        self._allowed(farewell)
        if self._guard is not None:
            request = self._guard.admit(request, self._worker.random.peer_id)
        before = await self._rooms.rename(request)
        renamed = self._rooms.member("")
        left = before
        try:
            await self._published_by(before, farewell)
            await before_leaving()
        except RelayError:
            if self._rooms.take_back(before, renamed):
                left = renamed
            raise
        finally:
            await self._worker.leave(left, hold=False)

    def list_room(self, name: str) -> None:
        """Record the room under a name."""
        self._worker.listings.begin(self._rooms.member(""), name)

    def charge(self, messages: float) -> None:
        """Count a request of the client."""
        (self._pace or self._make_pace()).spend(messages)

    async def change_info(self, info: bytes) -> None:
        """Change the client's member info."""
        self._allowed(SetInfo(info))
        await self._rooms.change_info(info)

    def publish(self, command: Publish, done: PublishOutcome | None = None) -> None:
        """Publish a message in the room."""
        try:
            self._allowed(command)
            member = self._rooms.member(command.room)
        except Refused as error:
            self._report(done, error)
            return
        self._publish_by(member, command, partial(self._report, done))

    async def published(self, command: Publish) -> None:
        """Publish a message in the room, and wait until it is."""
        self._allowed(command)
        await self._published_by(self._rooms.member(command.room), command)

    async def _published_by(self, member: Member, command: Publish) -> None:
        outcome: asyncio.Future[Receipt | RelayError] = asyncio.get_running_loop().create_future()

        def done(found: Receipt | RelayError) -> None:
            if not outcome.done():
                outcome.set_result(found)

        self._publish_by(member, command, done)
        found = await outcome
        if isinstance(found, RelayError):
            raise found

    def _publish_by(self, member: Member, command: Publish, done: PublishOutcome) -> None:
        pace = self._pace or self._make_pace()
        if not pace.stored.open and pace.stored.is_used_up:
            command = structs.replace(command, stored=False)
        units = weight(len(command.envelope))
        self._inbox.in_flight += units

        def published(outcome: Receipt | RelayError) -> None:
            done(outcome)
            self._end_publish(units)

        held = self._worker.publish(member, command, published)
        if held:
            pace.hold(held)

    def _report(self, done: PublishOutcome | None, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, RelayError):
            self._metrics.refused(outcome.code)
        if done is not None and not self._ended:
            done(outcome)

    async def refresh(self, token: str) -> float | None:
        """Go on with a newer token."""
        (self._pace or self._make_pace()).spend(JOIN_COST)
        return await self._renew(token)

    def announce_sid(self) -> None:
        """Take note that other clients learn the id of the Engine.IO session."""
        self._shown.announce_sid()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work beside the events of the client."""
        self._worker.spawn(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RelayError as error:
            self._metrics.refused(error.code)
        except Exception:
            self._close_after_fault()

    def disconnect(self) -> None:
        """End the session in this namespace for good."""
        self._connection.write(self._encoder.disconnect())
        self._connection.close(BAD_REQUEST)
