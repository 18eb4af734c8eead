"""Engine.IO sessions: one client over long polling, over a WebSocket, or over the one and then the other.

References between objects while a session lives: `EngineSessions` and the server's connection refer to the session, the
session to its handler, and the handler to the session. `EngineSession.disconnected` drops the handler and the
transport, so that reference counting alone frees a session that has ended.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from relay.gateways.base.brake import Brake
from relay.gateways.base.http import OCTETS, HttpExchange
from relay.gateways.base.http_sessions import HttpSessions
from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.base.replies import PostReplies
from relay.gateways.base.websocket import AdmittedOpening
from relay.gateways.socketio.first_poll import FirstPoll
from relay.gateways.socketio.packets import CLOSE, MESSAGE, PING, PONG, BadPacket, EnginePacket
from relay.gateways.socketio.payload_writer import PayloadWriter
from relay.gateways.socketio.text_connection import TextConnection
from relay.gateways.socketio.upgrade_point import UpgradePoint
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.errors import BAD_PACKET, GOODBYE_CODES, NORMAL, PONG_TIMEOUT, CloseReason, Refused
from relay.protocol_metrics import ProtocolMetrics
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver, Transfer
from relay.rooms.keepalive import Keepalive, KeepaliveTiming, close_unless_busy
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

log = logging.getLogger("relay.socketio")

_LEAVING: Final = frozenset({1000, 1001})
"""Close codes of a page that leaves. A library that drops its connection to come back closes without a code (1005)."""

_PACKETS_PER_TURN: Final = 64
"""Packets of a payload that are handled before other clients get their turn."""

MOST_ECHOES: Final = 64
"""Callbacks of a session that wait for a pong; beyond them, no further pong is asked for."""

_RULES: Final = PollingRules(lost_with_request=True, repeated_answers=1)
"""One poll and one post at a time.

A load balancer may send a poll again if its answer was lost, for instance with the worker that forwarded it. It gets
the same answer then, where the client marks each of its polls.
"""

_SHORTEST_WAIT: Final = 0.01


class EngineHandler(Protocol):
    """Handles the messages of one Engine.IO session: the client as Socket.IO knows it."""

    async def opened(self) -> None:
        """Greet the client; called once, when the session begins."""
        ...

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched."""
        ...

    def message(self, data: bytes, *, binary: bool) -> None:
        """Handle a message; raises `BadPacket`, which ends the session."""
        ...

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """Close the session: at once with `now`, else after all packets that the client has sent are served."""
        ...

    def disconnected(self, *, goodbye: bool) -> None:
        """End the client's memberships; called once. After a `goodbye` the client does not want to come back."""
        ...


class PendingUpgrade(Protocol):
    """A WebSocket on which the client has begun to upgrade a session."""

    def abandon(self) -> None:
        """Close the WebSocket; the session goes on polling, or has ended."""
        ...


@dataclass(frozen=True, slots=True)
class SessionProfile:
    """The properties of a session that its handshake decides.

    `make_handler` is called once, with the session. A client with `text_only` cannot read binary frames. `mark` is the
    client's mark of the handshake request, see `EngineSession.mark_of_poll`.
    """

    writer: PayloadWriter
    make_handler: Callable[["EngineSession"], EngineHandler]
    text_only: bool = False
    mark: str = ""


class EngineSessions(HttpSessions["EngineSession"]):
    """The Engine.IO sessions of one worker, over polls and over WebSockets.

    Made once for each worker. `max_payload` is in bytes, `heartbeat_timeout` in seconds.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        settings = worker.settings
        self.keepalive = Keepalive(KeepaliveTiming.of(settings))
        self.heartbeat_timeout = settings.ping_interval + settings.ping_timeout
        # A client without a poll can answer no ping.
        self.rules = replace(_RULES, lost_after=settings.ping_timeout)
        self.max_payload = settings.max_request

    def begin(self, profile: SessionProfile, ticket: Ticket, *, sid: str = "") -> "EngineSession":
        """Begin a session that polls."""
        return EngineSession(self, profile, ticket, sid=sid)

    async def find(
        self, exchange: HttpExchange, session_id: str, *, polls: bool, limit: int, token: str = ""
    ) -> "EngineSession | None":
        """Return the session that a request names, if the request may be its client's; else as `HttpSessions.find`."""
        session = await super().find(exchange, session_id, polls=polls, limit=limit, token=token)
        if session is not None and not session.accepts(counted_client(exchange.scope)):
            raise Refused("unknown_session")
        return session

    def keep_last_answer(self, session: "EngineSession", final: PollAnswer) -> None:
        """Keep the end of a session for its client, unless others know the id: they could take it."""
        if not session.announced:
            super().keep_last_answer(session, final)

    def opening(self, profile: SessionProfile) -> AdmittedOpening:
        """Return the function that begins a session on a WebSocket, for `gateways.base.websocket.serve`."""

        def begin(connection: Connection, ticket: Ticket) -> tuple[Receiver, Coroutine[Any, Any, None]]:
            session = EngineSession(self, profile, ticket, connection=connection)
            return session, session.open()

        return begin

    def remove(self, session: "EngineSession") -> None:
        """Forget a session that has ended, and release its ticket."""
        super().remove(session)
        self.keepalive.remove(session)


class EngineSession:
    """One session: a `Client` of the worker, the `Receiver` of its WebSocket, and `Pinged`.

    Frames go to `connection`, which an upgrade replaces. `polling` is the same connection while the client polls, and
    None once it has a WebSocket. Once the `id` was `announced` to other clients, it proves nothing by itself.
    """

    __slots__ = (
        "_brake",
        "_clock",
        "_echoes",
        "_ended",
        "_first_poll",
        "_framing",
        "_handler",
        "_last_heard",
        "_mark",
        "_paused",
        "_pongs_asked_for",
        "_sessions",
        "_silence_timer",
        "_text_only",
        "_upgraded_at",
        "announced",
        "connection",
        "id",
        "keepalive_slot",
        "polling",
        "ticket",
        "upgrade",
        "writer",
    )  # fmt: skip

    def __init__(
        self,
        sessions: EngineSessions,
        profile: SessionProfile,
        ticket: Ticket,
        *,
        connection: Connection | None = None,
        sid: str = "",
    ) -> None:
        worker = sessions.worker
        self._sessions = sessions
        self.writer = profile.writer
        self._framing = profile.writer.framing
        self._text_only = profile.text_only
        self._mark = profile.mark
        self._paused = 0
        self._clock = worker.clock
        self._last_heard: float = self._clock()
        self._ended = False
        self._silence_timer: asyncio.TimerHandle | None = None
        self._brake: Brake | None = None
        self._first_poll: FirstPoll | None = None
        self._upgraded_at: UpgradePoint | None = None
        # Called at the next pong; None while none is awaited.
        self._echoes: list[Callable[[], None]] | None = None
        self._pongs_asked_for = 0
        self.id = sid or sessions.new_id()
        self.announced = False
        self.ticket = ticket
        self.upgrade: PendingUpgrade | None = None
        self.keepalive_slot = 0
        self.connection: Connection
        self.polling: PollingConnection | None = None
        if connection is None:
            self.connection = self.polling = PollingConnection(
                sessions.rules, limit=worker.settings.send_buffer, metrics=ticket.metrics, buffering=ticket, owner=self
            )
            patience = worker.settings.handshake_timeout
            self._first_poll = FirstPoll(patience, self.lost, max_size=sessions.max_payload)
        else:
            self.connection = self._over_socket(connection)
        self._handler: EngineHandler | None = profile.make_handler(self)
        sessions.add(self)
        self._start_heartbeat()

    @property
    def worker(self) -> Worker:
        """The worker that this session is on."""
        return self._sessions.worker

    @property
    def metrics(self) -> ProtocolMetrics:
        """The metrics of the client's protocol."""
        return self.ticket.metrics

    @property
    def max_payload(self) -> int:
        """Bytes that a client may send at once."""
        return self._sessions.max_payload

    @property
    def closing(self) -> bool:
        """Whether the relay is closing the session."""
        return self.connection.reason is not None

    async def open(self) -> None:
        """Greet the client."""
        if self._handler is not None:
            await self._handler.opened()

    def accepts(self, address: str) -> bool:
        """Return whether a request with the id may be the client's: once it was announced, only from its address."""
        return not self.announced or address == self.ticket.address

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading from the client until each caller that paused it has resumed it.

        The namespaces of a client share its connection, and each of them may pause it.
        """
        self._paused += 1 if paused else -1
        self.connection.pause_reading(paused=self._paused > 0)

    def transfer(self) -> Transfer | None:
        """Return how much was written and received, before and after an upgrade; None if it is not known."""
        if self.polling is not None:
            return self.polling.progress()
        transfer, point = self.connection.transfer(), self._upgraded_at
        return transfer if transfer is None or point is None else point.go_on(transfer)

    def count_packet(self, size: int, *, least: float = 1) -> None:
        """Count a packet that is no request of a session of a room; see `Brake.count`."""
        if not self._ended:
            brake = self._brake or Brake(self.ticket, self.pause_reading)
            brake.count(size, least=least)
            # Kept only while it holds the client back: most clients send such a packet when they connect, and no more.
            self._brake = brake if brake.waits else None

    # Polling.

    def when_polled(self, callback: Callable[[], None]) -> None:
        """Call back when the client has polled for the first time, or has a WebSocket; at once if that is so."""
        if self._first_poll is None:
            callback()
        else:
            self._first_poll.call(callback)

    def polled(self) -> None:
        """Note that the client polls; the packets that it has posted before are handled now."""
        first, self._first_poll = self._first_poll, None
        if first is not None:
            try:
                first.come(self._handle)
            except BadPacket as error:
                self._close_after(error)

    def mark_of_poll(self, mark: str) -> str:
        """Return the mark that tells a repeated poll from a new one; "" if the client's marks may not do so.

        Clients mark requests against caches, and most give each request another mark. Some give the time in whole
        seconds, and some give all requests the same mark, that of the handshake included.
        """
        if mark.isdecimal() or mark == self._mark:
            return ""
        # The client's marks differ, so the first of them has served its purpose.
        self._mark = ""
        return mark

    async def posted(self, body: bytes, media_type: bytes, replies: PostReplies) -> None:
        """Handle the body of a post; raises `Refused`. The replies to its packets are sent like all other packets."""
        try:
            await self.read_payload(body, binary=media_type == OCTETS)
        except BadPacket as error:
            raise Refused("bad_packet", str(error)) from None

    async def read_payload(self, body: bytes, *, binary: bool) -> None:
        """Handle the packets that a client posted; a bad packet closes the session, and is raised.

        While reading is paused, the packets behind wait, as they would in the buffer of a WebSocket.
        """
        self._last_heard = self._clock()
        try:
            for number, packet in enumerate(self._framing.read_payload(body, binary=binary), 1):
                # An earlier packet of the payload may have ended the session.
                if self._ended or self.closing:
                    return
                if self._first_poll is not None and packet.kind != CLOSE:
                    self._first_poll.keep(packet)
                else:
                    await self._handle_in_turn(packet)
                if self._paused and self.polling is not None:
                    await self.polling.posts.until_resumed()
                elif number % _PACKETS_PER_TURN == 0:
                    await asyncio.sleep(0)
        except BadPacket:
            self.connection.close(BAD_PACKET)
            raise

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session after the relay has closed polling; the final payload waits for the next poll."""
        if final is not None:
            self._sessions.keep_last_answer(self, final)
        self.disconnected(NORMAL.code, reason.name)

    def lost(self) -> None:
        """End the session, as the client has dropped a request; nothing happens to an upgraded session."""
        self.disconnected(1006, None)

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Take note that the client has got these frames; Engine.IO has no acknowledgements."""

    # Receiver.

    def received(self, frame: Frame) -> None:
        """Handle one WebSocket message: one packet."""
        if self._ended:
            return
        self._last_heard = self._clock()
        try:
            self._handle(self._framing.read(frame))
        except BadPacket as error:
            self._close_after(error)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """End the session: forget it, release the transport, and call the handler; later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        closed_by_relay = self.closing or relay_closed is not None
        if not self.closing:
            reason = relay_closed or ("client" if code in GOODBYE_CODES else "lost")
            self.ticket.metrics.count_closed(reason)
        if self._silence_timer is not None:
            self._silence_timer.cancel()
        if self._brake is not None:
            self._brake.stop()
            self._brake = None
        if self._first_poll is not None:
            self._first_poll.cancel()
            self._first_poll = None
        self._sessions.remove(self)
        if self.upgrade is not None:
            self.upgrade.abandon()
        if self.polling is not None:
            self.polling.release_poll()
            self.polling.end()
        # Without its reference to the handler, the session is in no cycle; see the top of this module.
        handler, self._handler, self._echoes = self._handler, None, None
        if handler is not None:
            handler.disconnected(goodbye=not closed_by_relay and code in _LEAVING)

    # Client.

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """Have the handler close the session."""
        if self._handler is not None:
            self._handler.close_gracefully(reason, now=now)

    # Heartbeat. In Engine.IO 4 and Socket.IO 0.9 the server pings. In Engine.IO 3 the client does, and the server only
    # checks that it does. There are no WebSocket pings beside them, see `Wire.attach`.

    def _start_heartbeat(self) -> None:
        if self._framing.control.ping is not None:
            self._sessions.keepalive.add(self)
        else:
            self._check_silence_in(self._sessions.heartbeat_timeout)

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched; not of one that polls, and has a large answer to read first."""
        behind = self.polling is not None and self.polling.behind
        return not behind and self._handler is not None and self._handler.watched

    def ping(self) -> None:
        """Send a ping; any packet of the client answers it."""
        if self._framing.control.ping is not None:
            # 0 marks a ping without an answer; any packet sets the time again, and `check` looks for the mark.
            self._last_heard = 0.0
            self.connection.write(self._framing.control.ping)

    def echo(self, answered: Callable[[], None]) -> Frame | None:
        """Return a ping to be written at once, and call back at the next pong, which may be that of an earlier ping.

        A callback that waits already is called once. Returns None, and does not call back, if the client is the one
        that pings, if the session has ended, or if `MOST_ECHOES` other callbacks wait.
        """
        ping = self._framing.control.ping
        # In a session that has ended, a callback would be a part of a cycle; see the top of this module.
        if ping is None or self._ended:
            return None
        echoes = self._echoes or []
        if answered not in echoes:
            # A client may answer no ping, and send other packets for ever.
            if len(echoes) >= MOST_ECHOES:
                return None
            echoes.append(answered)
            self._echoes = echoes
        self._pongs_asked_for += 1
        return ping

    def check(self) -> None:
        """Close the session if the client has sent nothing since the ping, unless the relay has paused reading."""
        if not self._is_alive():
            close_unless_busy(lambda: self.connection.transfer(), self._is_alive, self._time_out)

    def _is_alive(self) -> bool:
        return bool(self._last_heard or self._paused or self._ended or self.closing)

    def _check_silence(self) -> None:
        """Close the session of a client whose ping is overdue; else set the timer for the time at which it will be."""
        timeout = self._sessions.heartbeat_timeout
        remaining = self._last_heard + timeout - self._clock()
        if remaining > 0:
            self._check_silence_in(remaining)
        elif self._paused:
            # The client's ping may wait unread, because the relay does not read.
            self._check_silence_in(timeout)
        else:
            self._time_out()

    def _check_silence_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._silence_timer = loop.call_later(max(_SHORTEST_WAIT, seconds), self._check_silence)

    def _time_out(self) -> None:
        self.connection.close(PONG_TIMEOUT)
        if self.polling is None:
            # The transport of a dead connection reports the end only when it is dropped, a second later.
            self.disconnected(PONG_TIMEOUT.code, PONG_TIMEOUT.name)

    # Upgrading.

    def upgraded(self, connection: Connection) -> None:
        """Go on over a WebSocket: frames that no poll has taken go there first, so that the order is kept."""
        polling, self.polling = self.polling, None
        self.upgrade = None
        self.connection = self._over_socket(connection)
        if polling is not None:
            # The client has stopped polling, and waited for the last answer, before it upgraded.
            polling.acknowledge_all()
            polled = polling.progress()
            for frame in polling.end():
                self.connection.write(frame)
            transfer = connection.transfer()
            if polled is not None and transfer is not None:
                self._upgraded_at = UpgradePoint(polled, transfer.written)
        if self._paused:
            connection.pause_reading(paused=True)
        self.polled()

    def _over_socket(self, connection: Connection) -> Connection:
        return TextConnection(connection, self._framing) if self._text_only else connection

    # Internal.

    def _close_after(self, error: BadPacket) -> None:
        log.debug("closed a Socket.IO connection after a bad packet: %s", error)
        self.ticket.metrics.refused("bad_packet")
        self.connection.close(BAD_PACKET)

    async def _handle_in_turn(self, packet: EnginePacket) -> None:
        if len(packet.data) < LARGE:
            self._handle(packet)
        else:
            await self.worker.large_messages.turn(self.ticket.address, partial(self._handle, packet))

    def _handle(self, packet: EnginePacket) -> None:
        if packet.kind == MESSAGE:
            if self._handler is not None:
                self._handler.message(packet.data, binary=packet.binary)
            return
        if packet.kind == PONG and self._pongs_asked_for:
            # Only its size counts: the client sends it for the relay, and not of its own accord.
            self._pongs_asked_for -= 1
            self.count_packet(len(packet.data), least=0)
        else:
            self.count_packet(len(packet.data))
        if packet.kind == PING:
            if self._framing.control.ping is not None:
                raise BadPacket("a ping, which only the server sends in this revision")
            self.connection.write(Frame(b"3" + packet.data))
        elif packet.kind == PONG:
            echoes, self._echoes = self._echoes, None
            for answered in echoes or ():
                answered()
        elif packet.kind == CLOSE:
            if self.polling is not None:
                self.disconnected(1005, None)
            else:
                self.connection.close(NORMAL)
