"""A client's session, which is the same for all protocols: it executes the client's commands in its rooms."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic

from relay.gateways.base.acknowledgements import Acknowledgements
from relay.gateways.base.inbox import LARGE, Inbox, Request, weight
from relay.gateways.base.join_request import CodecPair, JoinRequest, ObserveRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.observed_room import ObservedRoom
from relay.limits import Pace
from relay.model.codec import Encoder, Frame, In
from relay.model.commands import (
    AskPresence,
    Command,
    Detect,
    GatewayCommand,
    Join,
    Leave,
    Move,
    Ping,
    Publish,
    SetInfo,
    Subscribe,
    Unsubscribe,
)
from relay.model.envelope import MessageId, Receipt
from relay.model.errors import (
    BAD_REQUEST,
    GOODBYE_CODES,
    INTERNAL,
    JOIN_CLOSES,
    TOO_FAST,
    BadFrame,
    ClientGone,
    CloseReason,
    Refused,
    RelayError,
)
from relay.model.events import Failure
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

log = logging.getLogger("relay.session")


class Session(Generic[In]):
    """Serves one client: takes its requests, and executes the commands that its codec makes of them.

    Requests are decoded, and checked against the limits on rate and size, when they arrive. They are served in the
    order in which they came. Most commands are carried out at once, inside the call that hands the request over. A
    publish does not wait for Redis either: its outcome arrives by a callback, and not in a task, which would add
    several microseconds to every message. Up to `max_inflight_publishes` are on their way together. Commands that ask
    Redis and must be answered before the next one is served (join, move, info, presence) run as a task; requests that
    arrive meanwhile wait in the inbox.

    A request above the client's rate waits in the inbox, and reading pauses. Only a client that stays above its rate
    has requests refused, and is closed when it goes on (see `Pace`).

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
    ) -> None:
        self._connection = connection
        self._worker = worker
        self.ticket = ticket
        self._metrics = ticket.metrics
        self._metrics.sessions += 1
        self._codec = codecs.own
        self._pace: Pace | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        self._rooms = JoinedRooms(connection, worker, codecs)
        self._acknowledgements: Acknowledgements | None = None
        self._inbox = Inbox(connection, worker.settings.max_inflight_publishes)
        # No request is served before the client has joined its own room; see `enter`.
        self._inbox.exclusive = True
        self._ended = False
        self._goodbye = False
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

    async def enter(self, read_request: Callable[[], JoinRequest | ObserveRequest]) -> None:
        """Join the client's own room, or observe a room; to be called once. Requests that arrive meanwhile wait.

        `read_request` reads the request, and may raise `Refused`. A client that cannot join gets the error, and its
        connection is closed.
        """
        try:
            request = read_request()
            if isinstance(request, ObserveRequest):
                self._rooms = observed = ObservedRoom(self._connection, self._worker, self._rooms.codecs)
                await observed.observe(request)
            else:
                await self._rooms.enter(request)
                if self._ended and (request.resume or request.claim):
                    # The client gave the attempt up without its welcome: its close does not end the membership.
                    self._goodbye = False
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

        `peer` is its id in rooms that it joins without naming another.
        """
        self._rooms.begin(peer)
        self._end_exclusive()

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

        Returns a future that is done when the relay has tried to let the client leave its rooms; None without a
        goodbye.
        With `goodbye`, the client then leaves its rooms. Without, its memberships are held for the reconnect grace
        time: its connection was lost. They are held, too, if the relay has closed the connection: it expects the client
        to reconnect.
        """
        self._goodbye = goodbye and self._connection.reason is None
        if not self._ended:
            self._metrics.sessions -= 1
        self._ended = True
        if self._goodbye:
            self._left = asyncio.get_running_loop().create_future()
        self._drain_inbox()
        return self._left

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

    def _drain_inbox(self) -> None:
        """Serve the requests that can be served now; then read on, or finish a close or an end that waited for them."""
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
            leaving = self._rooms.leave_all(hold=not self._goodbye)
            if self._left is not None:
                _resolve_after(self._left, leaving)

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
        match command:
            case Join():
                self._run_exclusive(rooms.join(command), command)
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

    # Publishing.

    def _publish(self, command: Publish) -> None:
        member = self._rooms.member(command.room)
        if len(command.envelope) < LARGE:
            self._inbox.in_flight += 1
            published = partial(self._published, member, command.key)
        else:
            units = weight(len(command.envelope))
            self._inbox.in_flight += units
            published = partial(self._published, member, command.key, units=units)
        self._worker.publish(member, command, published)

    def _published(self, member: Member, key: str, outcome: Receipt | RelayError, units: int = 1) -> None:
        if isinstance(outcome, RelayError):
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
            self._metrics.closed.labels(reason).inc()
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
        case GatewayCommand():
            return command.about
    return type(command).__name__.lower()
