"""The session of one client of a `StatefulApplication` in one namespace: connected in no room until its client asks."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from msgspec import structs

from relay.gateways.base.guard import Guard
from relay.gateways.base.inbox import weight
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.session import Session
from relay.gateways.socketio.application_connection import ApplicationConnection
from relay.gateways.socketio.apps.application import ApplicationClient, Opened
from relay.gateways.socketio.apps.port import PublishOutcome
from relay.gateways.socketio.codec import Emitted
from relay.gateways.socketio.encoders import PacketEncoder
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.commands import Command, Publish
from relay.model.errors import BAD_REQUEST, JOIN_CLOSES, ClientGone, RelayError
from relay.model.events import Event, Welcome
from relay.model.publication import Receipt
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker


class ApplicationSession(Session[IncomingEvent]):
    """Serves a client of a `StatefulApplication`: the caller of its `ApplicationClient`.

    The parts of the client's port, in `application_port`, do their work by it.
    """

    __slots__ = ("_client", "_encoder", "_welcome", "shown")

    def __init__(
        self,
        connection: ApplicationConnection,
        worker: Worker,
        codecs: CodecPair[IncomingEvent],
        ticket: Ticket,
        rooms: JoinedRooms,
        *,
        encoder: PacketEncoder,
    ) -> None:
        super().__init__(connection, worker, codecs, ticket, rooms)
        self._encoder = encoder
        self.shown = connection
        self._welcome: Welcome | None = None
        self._client: ApplicationClient | None = None

    def serve(self, client: ApplicationClient) -> None:
        """Let a client be served; to be called once, before `connect`."""
        self._client = client
        self.shown.take = self._take

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
        received = self.shown.received()
        if received is not None and len(self._rooms):
            self._worker.acknowledge(self._rooms.member(""), received, at_once=True)
        client, self._client, self.shown.take = self._client, None, None
        if client is not None:
            client.ended(goodbye=goodbye)
        return super().end(goodbye=goodbye)

    # For the parts of the client's port.

    @property
    def has_ended(self) -> bool:
        """Whether the client has gone."""
        return self._ended

    @property
    def guard(self) -> Guard | None:
        """The guard, which has the rights of the client's token; None if auth is off."""
        return self._guard

    @property
    def rooms(self) -> JoinedRooms:
        """The memberships of the client."""
        return self._rooms

    def charge(self, messages: float) -> None:
        """Count a request of the client as so many messages, beside its event."""
        (self._pace or self._make_pace()).spend(messages)

    def check(self, command: Command) -> None:
        """Raise `Refused` for a command that the client's token does not allow."""
        self._allowed(command)

    async def join(self, request: JoinRequest) -> Welcome:
        """Join a room, and return the welcome, which is not written; raises as `JoinedRooms.enter` does."""
        self._welcome = None
        await self._enter(request)
        return self._taken_welcome()

    def _taken_welcome(self) -> Welcome:
        welcome, self._welcome = self._welcome, None
        if welcome is None:
            raise ClientGone()
        return welcome

    async def renew(self, token: str) -> float | None:
        """Replace the client's token, and return the Unix time of its end."""
        return await self._renew(token)

    def publish_by(self, member: Member, command: Publish, done: PublishOutcome) -> None:
        """Publish for a member of the client, within its rates; `done` is called with the outcome, maybe at once."""
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

    def report(self, done: PublishOutcome | None, outcome: Receipt | RelayError) -> None:
        """Count the error of a message, and call `done` unless the client has gone."""
        if isinstance(outcome, RelayError):
            self._metrics.refused(outcome.code)
        if done is not None and not self._ended:
            done(outcome)

    async def guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that no event of the client waits for; a fault closes the connection."""
        try:
            await work
        except RelayError as error:
            self._metrics.refused(error.code)
        except Exception:
            self._close_after_fault()
