"""A client's session, which is the same for all protocols: it executes the client's commands in its rooms."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic

from msgspec import structs
from mypy_extensions import mypyc_attr

from relay.gateways.base.acknowledgements import Acknowledgements
from relay.gateways.base.costs import extra_cost
from relay.gateways.base.guard import Guard
from relay.gateways.base.inbox import LARGE, Inbox, Request, weight
from relay.gateways.base.join_request import CodecPair, JoinRequest, ObserveRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.newer_token import end_lost_rights, no_presence
from relay.gateways.base.observed_room import ObservedRoom
from relay.gateways.base.room_control import control
from relay.identity.grants import Grants
from relay.limits import Pace
from relay.model.codec import Encoder, Frame, In
from relay.model.commands import (
    AskPresence,
    ChangeRules,
    CloseRoom,
    Command,
    Detect,
    GatewayCommand,
    Join,
    Kick,
    Leave,
    Move,
    MoveMembers,
    Ping,
    Publish,
    Refresh,
    SetInfo,
    Subscribe,
    Unsubscribe,
)
from relay.model.envelope import MessageId
from relay.model.errors import (
    BAD_REQUEST,
    GOODBYE_CODES,
    INTERNAL,
    JOIN_CLOSES,
    NOT_ADMITTED,
    TOKEN_EXPIRED,
    TOO_FAST,
    BadFrame,
    ClientGone,
    CloseReason,
    Refused,
    RelayError,
)
from relay.model.events import Failure, Refreshed, TokenExpiring
from relay.model.publication import Receipt
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.member import Member, OutcomeReceiver
from relay.rooms.worker import Worker

log = logging.getLogger("relay.session")


@mypyc_attr(allow_interpreted_subclasses=True)
class Session(OutcomeReceiver, Generic[In]):
    """Serves one client: takes its requests, and executes the commands that its codec makes of them.

    Requests are decoded, and checked against the limits on rate and size, when they arrive. They are served in the
    order in which they came. Most commands are carried out at once, inside the call that hands the request over. A
    publish does not wait for Redis either: its outcome arrives by a callback, and not in a task, which would add
    several microseconds to every message. Up to `max_inflight_publishes` are on their way together. Commands that ask
    Redis and must be answered before the next one is served (join, move, info, presence) run as a task; requests that
    arrive meanwhile wait in the inbox.

    A request above the client's rate waits in the inbox, and reading pauses. Only a client that stays above its rate
    has requests refused, and is closed when it goes on (see `Pace`).

    If auth is on, the session has a guard from the moment at which it knows the client's token: it checks the rights
    of each command, and ends the session with the token. Without auth, `_guard` is None.

    The owner of the connection calls `end` when it is lost or closed. Several sessions may share one connection, as the
    namespaces of Socket.IO do; they share the client's ticket, and with it one message rate.
    """

    # No `__dict__`: a worker has tens of thousands of idle sessions. Pace and acknowledgements are made on first use.
    __slots__ = (
        "_acknowledgements",
        "_closing",
        "_codec",
        "_connection",
        "_ended",
        "_goodbye",
        "_guard",
        "_inbox",
        "_left",
        "_metrics",
        "_pace",
        "_rooms",
        "_wake_timer",
        "_worker",
        "ticket",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair[In],
        ticket: Ticket,
        rooms: JoinedRooms | None = None,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self.ticket = ticket
        self._metrics = ticket.metrics
        self._metrics.sessions += 1
        self._codec = codecs.own
        self._pace: Pace | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        self._rooms = JoinedRooms(connection, worker, codecs, ticket.address) if rooms is None else rooms
        self._acknowledgements: Acknowledgements | None = None
        self._inbox = Inbox(connection, worker.settings.max_inflight_publishes)
        # No request is served before the client has joined its own room; see `enter`.
        self._inbox.exclusive = True
        self._ended = False
        self._goodbye = False
        self._guard: Guard | None = None
        self._left: asyncio.Future[None] | None = None
        self._closing: CloseReason | None = None

    @property
    def connection(self) -> Connection:
        """The client's connection."""
        return self._connection

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched."""
        return self._rooms.watched

    def newest_id(self) -> MessageId | None:
        """Return the newest id that the worker knows of the client's own room; None while it is in none."""
        return self._rooms.newest_id()

    def is_in(self, room: str) -> bool:
        """Return whether the client is in a room, or about to be."""
        return self._rooms.is_in(room)

    async def enter(self, read_request: Callable[[], JoinRequest | ObserveRequest]) -> None:
        """Join the client's own room, or observe a room; to be called once. Requests that arrive meanwhile wait.

        `read_request` reads the request, and may raise `Refused`. A client that cannot join gets the error, and its
        connection is closed.
        """
        try:
            request = read_request()
            await self.authenticate(request.token)
            if isinstance(request, ObserveRequest):
                await self._observe(request)
            else:
                await self._enter(request)
        except ClientGone:
            pass  # The connection reports its end itself.
        except RelayError as error:
            self._send_error(error, about="join")
            self._connection.close(JOIN_CLOSES.get(error.code, BAD_REQUEST))
        except Exception:
            self._close_after_fault()
        finally:
            # The inbox was exclusive from the start, so requests that arrived during the join have waited in it.
            self._end_exclusive()

    def begin(self, peer: str) -> None:
        """Serve a client that is in no room until it joins one; to be called once, instead of `enter`.

        `peer` is its id in rooms that it joins without naming another, "" for one that the relay chooses. A gateway
        calls `authenticate` before. Raises `Refused` (`wrong_peer`).
        """
        if self._guard is None and not self._worker.authority.is_off:
            raise RuntimeError("a session begins before its client's token was checked")
        self._rooms.begin(self.peer_id(peer))
        self._end_exclusive()

    async def authenticate(self, token: str) -> None:
        """Check the client's token, "" for none; from now on, the session allows only the commands that it grants.

        `enter` calls this. Raises `Refused`; the errors are those of `Worker.identify`.
        """
        grants = await self._worker.identify(token, self.ticket.address)
        if grants is not None:
            self._set_grants(grants)

    def peer_id(self, asked: str = "") -> str:
        """Return a peer id for the client: the one that it asks for, or a new one; the token decides which it may have.

        Raises `Refused` (`wrong_peer`).
        """
        generate = self._worker.random.peer_id
        return (asked or generate()) if self._guard is None else self._guard.grants.peer(asked, generate)

    async def _enter(self, request: JoinRequest) -> None:
        wanted = request
        if self._guard is not None:
            request = self._guard.admit(request, self._worker.random.peer_id)
        await self._rooms.enter(request)
        if wanted.presence and not request.presence:
            self._tell(no_presence(self._rooms.own_room), "presence")
        if self._ended and (request.resume or request.claim):
            # The client gave the attempt up without its welcome: its close does not end the membership.
            self._goodbye = False

    async def _observe(self, request: ObserveRequest) -> None:
        wanted = request
        if self._guard is not None:
            request = self._guard.observe(request)
            if await self._worker.is_banned(request.room, self._guard.grants):
                raise Refused("banned", room=request.room)
        self._rooms = observed = ObservedRoom(self._connection, self._worker, self._rooms.codecs, self.ticket.address)
        await observed.observe(request)
        if wanted.presence and not request.presence:
            self._tell(no_presence(request.room), "presence")

    # Requests.

    def received(self, incoming: In) -> None:
        """Decode a request; serve it now, or when those before it are served."""
        if self._connection.reason is not None:
            return  # The relay is closing; the client cannot read an answer any more.
        size = len(incoming.data)
        metrics = self._metrics
        metrics.messages_in += 1
        metrics.bytes_in += size
        # A request over a limit is decoded all the same: the client may wait for an answer with its key.
        request: Request
        try:
            request = self._codec.decode(incoming)
        except Refused as error:
            # The tracebacks of the error and of its cause refer to the frame of this call, which refers to the error.
            error.__traceback__ = error.__context__ = None
            # A name that the client gave, for instance, is refused without the command in which it was.
            request = error if isinstance(error, BadFrame) else BadFrame(error.code, error.text)
        except Exception:
            self._close_after_fault()
            return
        else:
            if size > self._worker.settings.max_message:
                request = self._too_large(request, size)
        # As `execute` does, in one call less.
        if not self._inbox.must_wait() and (self._pace or self._make_pace()).admits(size):
            self._serve(request)
        else:
            self._queue(request, size)

    def execute(self, request: Request, size: int = 0) -> None:
        """Serve a decoded request in its turn; for gateways whose frames have several commands, or none of a codec."""
        if not self._inbox.must_wait() and (self._pace or self._make_pace()).admits(size):
            self._serve(request)
        else:
            self._queue(request, size)

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session when all requests are served, so that a message just before a close is published.

        With `goodbye`, the client then leaves its rooms. Without, its memberships are held for the reconnect grace
        time: its connection was lost. They are held, too, if the relay has closed the connection: it expects the client
        to reconnect.

        Returns a future that is done when the relay has tried to let the client leave its rooms; None if it does not
        leave them.
        """
        self._goodbye = goodbye and self._connection.reason is None
        if not self._ended:
            self._metrics.sessions -= 1
        if self._guard is not None:
            self._guard.stop()
        self._ended = True
        leaving = self._drain_inbox()
        if not self._goodbye:
            return None
        if leaving is not None and len(leaving) == 1:
            # By far the most frequent case: nothing waits, and the client was in one room.
            return leaving[0]
        self._left = asyncio.get_running_loop().create_future()
        if leaving is not None:
            _resolve_after(self._left, leaving)
        return self._left

    # Token holder.

    def token_expiring(self, seconds: float) -> None:
        """Tell the client that its token ends: it may send a newer one."""
        self._connection.write(self._codec.encode(TokenExpiring(seconds, self._rooms.own_room)))

    def token_expired(self) -> None:
        """Close the connection; memberships are held, as the client is asked to come back with a newer token."""
        self._send_error(Refused("token_expired"))
        self._connection.close(TOKEN_EXPIRED)

    # Client.

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """Close the connection: at once with `now`, else when all requests of the client are served and answered.

        The relay reads no more from the connection: a client that keeps sending would delay the close for ever.
        """
        self._closing = reason
        if now:
            self._connection.close(reason)
        elif not self._ended:
            self._inbox.stop_reading()
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closing is not None and self._inbox.is_idle():
            self._connection.close(self._closing)

    # In turn.

    def _queue(self, request: Request, size: int) -> None:
        """Have a request wait for its turn, or for its client's rate."""
        served = not self._inbox.must_wait()
        self._inbox.put(request, size)
        if served:
            self._drain_inbox()

    def _make_pace(self) -> Pace:
        self._pace = self.ticket.pace()
        return self._pace

    def _drain_inbox(self) -> Sequence[asyncio.Future[None]] | None:
        """Serve the requests that can be served now; then read on, or finish a close or an end that waited for them.

        At the end, returns the futures of `JoinedRooms.leave_all`.
        """
        inbox = self._inbox
        while self._connection.reason is None and (found := inbox.peek()) is not None:
            request, size = found
            pace = self._pace or self._make_pace()
            if not pace.admits(size):
                seconds = pace.delay()
                if seconds is not None:
                    self._drain_in(seconds)
                    break
                request = self._too_fast(request)
            inbox.drop()
            self._serve(request)
        if not self._ended:
            inbox.resume_reading()
            self._close_if_idle()
        elif not inbox.exclusive and (not inbox.waiting or self._connection.reason is not None):
            # Publishes may still be on their way; Redis takes them ahead of the leave, over the same connection.
            inbox.clear()
            if self._guard is not None:
                self.ticket.limit_messages(None, id(self))
            leaving = self._rooms.leave_all(hold=not self._goodbye)
            if self._left is not None:
                _resolve_after(self._left, leaving)
            return leaving
        return None

    def _drain_in(self, seconds: float) -> None:
        if self._wake_timer is None:
            self._metrics.delays += 1
            self._wake_timer = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._wake_timer = None
        self._drain_inbox()

    def _run_exclusive(self, work: Coroutine[Any, Any, None], command: Command) -> None:
        """Run a command as a task; no other is served until it is done."""
        self._inbox.exclusive = True
        (self._pace or self._make_pace()).spend(extra_cost(command))
        self._worker.spawn(self._finish(work, command))

    async def _finish(self, work: Coroutine[Any, Any, None], command: Command) -> None:
        try:
            await work
        except ClientGone:
            pass
        except RelayError as error:
            self._send_error(error, about=_name(command), key=command.key)
        except Exception:
            self._close_after_fault()
        finally:
            self._end_exclusive()

    def _end_exclusive(self) -> None:
        self._inbox.exclusive = False
        self._drain_inbox()

    # Commands.

    def _too_large(self, command: Command, size: int) -> BadFrame:
        most = self._worker.settings.max_message
        text = f"{size} bytes; at most {most} are relayed"
        return BadFrame("too_large", text, about=_name(command), key=command.key)

    def _too_fast(self, request: Request) -> BadFrame:
        """Return the error about a request of a client that stays above its rate; close one that ignores the errors."""
        if self._pace is not None and self._pace.overrun:
            self._connection.close(TOO_FAST)
        if isinstance(request, BadFrame):
            return BadFrame("too_fast", about=request.about, key=request.key)
        return BadFrame("too_fast", about=_name(request), key=request.key)

    def _serve(self, request: Request) -> None:
        if isinstance(request, BadFrame):
            self._send_error(request, about=request.about, key=request.key)
            return
        try:
            # First, and in one call less than the others: nearly all requests are publishes.
            if isinstance(request, Publish):
                self._publish(request)
            else:
                self._execute(request)
        except RelayError as error:
            self._send_error(error, about=_name(request), key=request.key)
        except Exception:
            self._close_after_fault()

    def _execute(self, command: Command) -> None:
        rooms = self._rooms
        if isinstance(command, Join):
            self._run_exclusive(self._join(command), command)
            return
        command = self._allowed(command)
        match command:
            case Move():
                self._run_exclusive(rooms.move(command), command)
            case Leave():
                rooms.leave(command)
            case Subscribe():
                rooms.subscribe(command)
            case Unsubscribe():
                rooms.unsubscribe(command)
            case SetInfo():
                self._run_exclusive(rooms.set_info(command), command)
            case AskPresence():
                self._run_exclusive(rooms.list_members(command), command)
            case Detect():
                self._run_exclusive(rooms.detect(command), command)
            case Ping():
                rooms.ping(command)
            case Refresh():
                self._run_exclusive(self._refresh(command), command)
            case Kick() | ChangeRules() | CloseRoom() | MoveMembers():
                self._run_exclusive(control(command, rooms, self._worker, self._guard, self.ticket.address), command)

    def _allowed(self, command: Command) -> Command:
        """Return a command as the client may have it; raises `Refused`."""
        return command if self._guard is None else self._guard.check(command, self._rooms.own_room)

    async def _join(self, command: Join, encoder: Encoder | None = None) -> None:
        """Join one more room, as far as the client may; every join but the first comes through here."""
        allowed = command if self._guard is None else self._guard.check_join(command)
        await self._rooms.join(allowed, encoder)
        if command.presence and not allowed.presence:
            self._tell(no_presence(command.room), "presence")

    # The token.

    def _set_grants(self, grants: Grants) -> Guard:
        """Serve the client with these rights and limits from now on."""
        if self._guard is not None:
            self._guard.stop()
        self._guard = guard = Guard(grants)
        self._rooms.grants = grants
        self.ticket.limit_messages(grants.limits.message_rate, id(self))
        if grants.expires is not None and not self._ended:
            guard.expiry = self._worker.expiries.add(grants.expires, self)
        return guard

    async def _refresh(self, command: Refresh) -> None:
        """Replace the client's token, and answer when it ends."""
        expires = await self._renew(command.token)
        if self._connection.reason is None:
            self._connection.write(self._codec.encode(Refreshed(expires, command.key, self._rooms.own_room)))

    async def _renew(self, token: str) -> float | None:
        """Replace the client's token, whose end is returned; a right that the newer one does not grant is gone then."""
        guard = self._guard
        grants = await self._worker.identify(token, self.ticket.address)
        if grants is not None and guard is not None:
            # Nothing of a token counts that is refused.
            guard.check_successor(grants)
            self._rooms.check_vouching(grants)
            guard = self._set_grants(grants)
            if not end_lost_rights(guard, self._rooms, self._worker, self._tell):
                self._connection.close(NOT_ADMITTED)
            else:
                await self._rooms.vouch()
        return None if grants is None else grants.expires

    def _tell(self, error: Refused, about: str) -> None:
        self._send_error(error, about=about)

    # Publishing.

    def _publish(self, command: Publish) -> None:
        if self._guard is not None:
            self._guard.check(command, self._rooms.own_room)
        member = self._rooms.member(command.room)
        stored = (self._pace or self._make_pace()).stored
        if not stored.open and stored.is_used_up:
            command = structs.replace(command, stored=False)
        size = len(command.envelope)
        self._inbox.in_flight += 1 if size < LARGE else weight(size)
        held = self._worker.publish_for(self, member, command)
        if held:
            (self._pace or self._make_pace()).hold(held)

    def published(self, member: Member, command: Publish, outcome: Receipt | RelayError) -> None:
        """Acknowledge a message, or send the error."""
        size, key = len(command.envelope), command.key
        units = 1 if size < LARGE else weight(size)
        if not isinstance(outcome, Receipt):
            self._publish_failed(member, key, units, outcome)
        elif key:
            if self._acknowledgements is None:
                timeout = self._worker.settings.publish_timeout
                self._acknowledgements = Acknowledgements(self._worker.when_delivered, timeout)
            # The message counts as in flight until it is acknowledged. That bounds the acks that wait.
            answered = self._answered if units == 1 else partial(self._answered, units=units)
            self._acknowledgements.add(member, outcome.id, key, answered)
        else:
            self._end_publish(units)

    def _answered(self, member: Member, key: str, error: RelayError | None, units: int = 1) -> None:
        if error is None:
            self._end_publish(units)
        else:
            self._publish_failed(member, key, units, error)

    def _publish_failed(self, member: Member, key: str, units: int, error: RelayError) -> None:
        self._send_error(error, about="envelope", key=key, codec=member.codec, room=member.room)
        self._end_publish(units)

    def _end_publish(self, units: int) -> None:
        self._inbox.in_flight -= units
        if self._inbox.waiting or self._closing:
            # In the next turn of the event loop: the hub may be in the middle of delivering events, and a request that
            # is served now could change the very room that it is going through.
            asyncio.get_running_loop().call_soon(self._drain_inbox)

    # Errors.

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        self._metrics.refused(error.code)
        failure = Failure(error.code, error.text, about, key, room, dict(error.detail))
        self._connection.write((codec or self._codec).encode(failure))

    def _close_after_fault(self) -> None:
        log.exception(
            "a session failed, which is a bug of the relay; its connection is closed (1011). Report this traceback"
        )
        self._connection.close(INTERNAL)


@mypyc_attr(allow_interpreted_subclasses=True)
class WebSocketSession(Session[Frame]):
    """The session of a client that has a WebSocket to itself: its `Receiver`, and a `Client` of the worker.

    Holds the client's ticket, and releases it when the connection has ended.
    """

    __slots__ = ()

    def __init__(self, connection: Connection, worker: Worker, codecs: CodecPair[Frame], ticket: Ticket) -> None:
        super().__init__(connection, worker, codecs, ticket)
        worker.clients.add(self)

    def disconnected(self, code: int, relay_closed: str | None) -> asyncio.Future[None] | None:
        """End the session; a client that closed on purpose (`GOODBYE_CODES`) leaves its rooms at once."""
        goodbye = relay_closed is None and code in GOODBYE_CODES
        if self._connection.reason is None:
            # Neither this session nor a room has closed the connection: the client did, or the server did for it.
            reason = relay_closed or ("client" if goodbye else "lost")
            self._metrics.count_closed(reason)
        self._worker.clients.remove(self)
        self.ticket.release()
        return self.end(goodbye=goodbye)


def _resolve_after(left: asyncio.Future[None], leaving: Sequence[asyncio.Future[None]]) -> None:
    """Resolve `left` when all of `leaving` are done, which do not fail."""
    if len(leaving) == 1:
        leaving[0].add_done_callback(lambda _: _resolve_after(left, ()))
    elif leaving:
        asyncio.gather(*leaving).add_done_callback(lambda _: _resolve_after(left, ()))
    elif not left.done():
        left.set_result(None)


def _name(command: Command) -> str:
    """Return the name of a command in errors about it."""
    match command:
        case Publish():
            return "envelope"
        case AskPresence():
            return "presence"
        case SetInfo():
            return "info"
        case ChangeRules():
            return "rules"
        case CloseRoom():
            return "close"
        case MoveMembers():
            return "move"
        case GatewayCommand():
            return command.about
    return type(command).__name__.lower()
