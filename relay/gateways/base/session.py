"""A client's session, which is the same for all protocols: it decodes the client's frames and executes its commands."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from relay.gateways.base.acknowledgements import Acknowledgements
from relay.gateways.base.inbox import Inbox
from relay.gateways.base.join_request import CodecPair, JoinRequest, PauseReading
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.limits import TokenBucket
from relay.model.codec import Codec, Frame
from relay.model.commands import AskPresence, Command, Detect, Join, Leave, Move, Ping, Publish, Subscribe, Unsubscribe
from relay.model.envelope import Receipt
from relay.model.errors import (
    BAD_REQUEST,
    GOODBYE_CODES,
    INTERNAL,
    JOIN_CLOSES,
    TOO_FAST,
    BadFrame,
    CloseReason,
    RelayError,
)
from relay.model.events import Failure
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

log = logging.getLogger("relay.session")


class Session:
    """Serves one client: the `Receiver` of its connection, and a `Client` of the worker.

    Frames are served in the order in which they came. Most commands are carried out at once, inside the call that hands
    the frame over. A publish does not wait for Redis either: its outcome arrives by a callback, and not in a task,
    which would add several microseconds to every message. Up to `max_inflight_publishes` are on their way together.
    Commands that ask Redis and must be answered before the next one is served (join, move, presence) run as a task;
    frames that arrive meanwhile wait in the inbox.

    A session that has its connection to itself is given the client's `address`: it registers with the worker, and
    releases the address at its end. With `address=None`, several sessions share one connection (Socket.IO namespaces):
    the owner of the connection does both, and gives all of them one `bucket`, so that they share one message rate.
    """

    # No `__dict__`: a worker has tens of thousands of idle sessions. Bucket and acknowledgements are made on first use.
    __slots__ = (
        "_acknowledgements",
        "_address",
        "_bucket",
        "_can_resume",
        "_closing",
        "_codec",
        "_connection",
        "_disconnected",
        "_goodbye",
        "_inbox",
        "_rooms",
        "_worker",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair,
        *,
        address: str | None,
        pause_reading: PauseReading,
        bucket: TokenBucket | None = None,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._codec = codecs.own
        self._address = address
        self._bucket = bucket
        self._rooms = JoinedRooms(connection, worker, codecs)
        self._acknowledgements: Acknowledgements | None = None
        self._inbox = Inbox(pause_reading, worker.settings.max_inflight_publishes)
        # No frame is served before the client has joined its own room; see `enter`.
        self._inbox.exclusive = True
        self._disconnected = False
        self._goodbye = False
        self._can_resume = True
        self._closing: CloseReason | None = None
        if address is not None:
            worker.register(self)

    async def enter(self, read_request: Callable[[], JoinRequest]) -> None:
        """Join the client's own room; to be called once. Frames that arrive meanwhile wait.

        `read_request` reads the request, and may raise `Refused`. A client that cannot join gets the error, and its
        connection is closed.
        """
        try:
            request = read_request()
            self._can_resume = request.can_resume
            await self._rooms.enter(request)
        except RelayError as error:
            self._send_error(error, about="join")
            self._connection.close(JOIN_CLOSES.get(error.code, BAD_REQUEST))
        except Exception:
            self._close_after_fault()
        finally:
            # The inbox was exclusive from the start, so frames that arrived during the join have waited in it.
            self._end_exclusive()

    # Receiver.

    def received(self, frame: Frame) -> None:
        """Serve one frame, now or when those before it are served."""
        if self._connection.reason is not None:
            return  # The relay is closing; the client cannot read an answer any more.
        traffic = self._worker.metrics.traffic
        traffic.messages_in += 1
        traffic.bytes_in += len(frame.data)
        if self._inbox.must_wait():
            self._inbox.put(frame)
        else:
            self._serve(frame)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """End the session when all frames of the client are served, so that a message just before a close is published.

        A client that closed on purpose (`GOODBYE_CODES`) then leaves its rooms. The memberships of any other client are
        held for the reconnect grace time: its connection was lost, or the relay closed it and expects it to reconnect.
        """
        if self._connection.reason is None:
            # Neither this session nor a room has closed the connection: the client did, or the server did for it.
            self._goodbye = relay_closed is None and code in GOODBYE_CODES
            if self._address is not None:
                reason = relay_closed or ("client" if self._goodbye else "lost")
                self._worker.metrics.closed.labels(reason).inc()
        self._disconnected = True
        if self._address is not None:
            self._worker.unregister(self)
            self._worker.addresses.release(self._address)
        self._drain_inbox()

    # Client.

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """Close the connection: at once with `now`, else when all frames of the client are served and answered.

        The relay reads no more from the connection: a client that keeps sending would delay the close for ever.
        """
        self._closing = reason
        if now:
            self._connection.close(reason)
        elif not self._disconnected:
            self._inbox.stop_reading()
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closing is not None and self._inbox.is_idle():
            self._connection.close(self._closing)

    # In turn.

    def _drain_inbox(self) -> None:
        """Serve the frames that can be served now; then read on, or finish a close or an end that waited for them."""
        inbox = self._inbox
        while self._connection.reason is None and (frame := inbox.take()) is not None:
            self._serve(frame)
        if not self._disconnected:
            inbox.resume_reading()
            self._close_if_idle()
        elif not inbox.exclusive and (not inbox.frames or self._connection.reason is not None):
            # Publishes may still be on their way; Redis takes them ahead of the leave, over the same connection.
            inbox.clear()
            self._rooms.leave_all(hold=self._can_resume and not self._goodbye)

    def _run_exclusive(self, work: Coroutine[Any, Any, None], command: Command) -> None:
        """Run a command as a task; no other is served until it is done."""
        self._inbox.exclusive = True
        self._worker.spawn(self._finish(work, command))

    async def _finish(self, work: Coroutine[Any, Any, None], command: Command) -> None:
        try:
            await work
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

    def _serve(self, frame: Frame) -> None:
        try:
            self._execute(self._decode(frame))
        except BadFrame as error:
            self._send_error(error, about=error.about, key=error.key)
        except Exception:
            self._close_after_fault()

    def _decode(self, frame: Frame) -> Command:
        """Read a command; raises `BadFrame` for one that is over a limit, too."""
        settings = self._worker.settings
        if self._bucket is None:
            self._bucket = TokenBucket(settings.message_rate, settings.message_burst, self._worker.clock)
        allowed = self._bucket.take()
        # The first excess messages get errors; a client that ignores a hundred of them is closed.
        if not allowed and self._bucket.overrun:
            self._connection.close(TOO_FAST)
        # A frame over a limit is decoded all the same: the error repeats its key, for which the client may be waiting.
        command = self._codec.decode(frame)
        if len(frame.data) > settings.max_message:
            text = f"{len(frame.data)} bytes; at most {settings.max_message} are relayed"
            raise BadFrame("too_large", text, about=_name(command), key=command.key)
        if not allowed:
            raise BadFrame("too_fast", about=_name(command), key=command.key)
        return command

    def _execute(self, command: Command) -> None:
        rooms = self._rooms
        try:
            match command:
                case Publish():
                    self._publish(command)
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
                case AskPresence():
                    self._run_exclusive(rooms.list_members(command), command)
                case Detect():
                    self._run_exclusive(rooms.detect(command), command)
                case Ping():
                    rooms.ping(command)
        except RelayError as error:
            self._send_error(error, about=_name(command), key=command.key)

    # Publishing.

    def _publish(self, command: Publish) -> None:
        member = self._rooms.member(command.room)
        self._inbox.in_flight += 1
        self._worker.publish(member, command, partial(self._published, member, command.key))

    def _published(self, member: Member, key: str, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, RelayError):
            self._publish_failed(member, key, outcome)
        elif key:
            if self._acknowledgements is None:
                timeout = self._worker.settings.publish_timeout
                self._acknowledgements = Acknowledgements(self._worker.when_delivered, timeout)
            # The message counts as in flight until it is acknowledged. That bounds the acks that wait.
            self._acknowledgements.add(member, outcome.id, key, self._answered)
        else:
            self._end_publish()

    def _answered(self, member: Member, key: str, error: RelayError | None) -> None:
        if error is None:
            self._end_publish()
        else:
            self._publish_failed(member, key, error)

    def _publish_failed(self, member: Member, key: str, error: RelayError) -> None:
        self._send_error(error, about="envelope", key=key, codec=member.codec, room=member.room)
        self._end_publish()

    def _end_publish(self) -> None:
        self._inbox.in_flight -= 1
        if self._inbox.frames or self._closing:
            # In the next turn of the event loop: the hub may be in the middle of delivering events, and a frame served
            # now could change the very room that it is going through.
            asyncio.get_running_loop().call_soon(self._drain_inbox)

    # Errors.

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Codec | None = None, room: str = ""
    ) -> None:
        self._worker.metrics.errors.labels(error.code).inc()
        failure = Failure(error.code, error.text, about, key, room, dict(error.detail))
        self._connection.write((codec or self._codec).encode(failure))

    def _close_after_fault(self) -> None:
        log.exception(
            "a session failed, which is a bug of the relay; its connection is closed (1011). Report this traceback"
        )
        self._connection.close(INTERNAL)


def _name(command: Command) -> str:
    """Return the name of a command in errors about it."""
    match command:
        case Publish():
            return "envelope"
        case AskPresence():
            return "presence"
    return type(command).__name__.lower()
