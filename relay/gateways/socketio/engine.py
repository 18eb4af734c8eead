"""Engine.IO sessions: one client over long polling, a WebSocket, or first the one and then the other."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from relay.gateways.base.join_request import PauseReading
from relay.gateways.socketio.packets import CLOSE, MESSAGE, PING, BadPacket, EnginePacket, Framing, Payload
from relay.gateways.socketio.polling import Polling
from relay.model.codec import Batch, Frame
from relay.model.errors import BAD_PACKET, GOODBYE_CODES, NORMAL, PONG_TIMEOUT, CloseReason
from relay.rooms.connection import Connection
from relay.rooms.keepalive import Keepalive
from relay.rooms.worker import Worker

log = logging.getLogger("relay.socketio")

LARGEST: Final = 16
"""So many times the largest message may come at once: in one payload, or with all its attachments."""

_LEFT: Final = frozenset({1000, 1001})
"""Close codes by which a page leaves; a library that only drops its connection, to come back, says 1005."""

_LAST_WORDS: Final = 5.0
"""Seconds in which a client that polls may learn how its session ended."""

_PROBED: Final = Frame(b"3probe")


class EngineHandler(Protocol):
    """Whoever the messages of an Engine.IO session are for."""

    async def opened(self) -> None:
        """The session has begun: greet the client."""
        ...

    def message(self, data: bytes, *, binary: bool) -> None:
        """A message came; raises `BadPacket`, with which the session ends."""
        ...

    def close_gracefully(self, reason: CloseReason, *, now: bool) -> None:
        """See `Client.close_gracefully`."""
        ...

    def disconnected(self, *, goodbye: bool) -> None:
        """The session has ended, called once; with a `goodbye` the client does not want to come back."""
        ...


class EngineSessions:
    """The sessions of one worker, by their ids, which nobody can guess."""

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        self.worker = worker
        self.keepalive = Keepalive(settings.ping_interval, settings.ping_timeout)
        self.patience = settings.ping_interval + settings.ping_timeout
        self.largest = LARGEST * settings.max_message
        self._engines: dict[str, EngineSession] = {}
        self._last_words: dict[str, Payload] = {}

    def get(self, sid: str) -> "EngineSession | None":
        """The session with this id, if it is here."""
        return self._engines.get(sid)

    def add(self, engine: "EngineSession") -> None:
        """A session has begun."""
        self._engines[engine.sid] = engine
        self.keepalive.add(engine)
        self.worker.register(engine)

    def remove(self, engine: "EngineSession") -> None:
        """The end of `add`."""
        del self._engines[engine.sid]
        self.keepalive.remove(engine)
        self.worker.unregister(engine)
        self.worker.addresses.release(engine.address)

    def leave_behind(self, sid: str, payload: Payload) -> None:
        """Keep what is left for a client that is between two polls, for a while."""
        self._last_words[sid] = payload
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._last_words.pop, sid, None)

    def last_words(self, sid: str) -> Payload | None:
        """What was left for the next poll of a session that has ended."""
        return self._last_words.pop(sid, None)


class EngineSession:
    """One session: a `Client` of the worker, a `Receiver` of its WebSocket, and `Pinged`.

    `connection` is where frames go, and changes with the transport. A client that `wants_text` gets no binary frames.
    """

    __slots__ = (
        "_clock",
        "_engines",
        "_heard",
        "_holding",
        "_listener",
        "_over",
        "_pause_reading",
        "_read_on",
        "_wants_text",
        "address",
        "connection",
        "framing",
        "keepalive_slot",
        "sid",
        "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        engines: EngineSessions,
        framing: Framing,
        *,
        address: str,
        wants_text: bool,
        listener: Callable[["EngineSession"], EngineHandler],
        socket: tuple[Connection, PauseReading] | None = None,
        sid: str = "",
    ) -> None:
        self._engines = engines
        self._wants_text = wants_text
        self._holding = 0
        self._clock = engines.worker.clock
        self._heard: float = self._clock()
        self._over = False
        self._read_on: asyncio.Event | None = None
        self.sid = sid or engines.worker.random.resume_key()
        self.framing = framing
        self.address = address
        self.upgrade: Upgrade | None = None
        self.keepalive_slot = 0
        worker = engines.worker
        self.connection: Connection
        self._pause_reading: PauseReading | None
        if socket is None:
            self.connection = Polling(
                framing, limit=worker.settings.send_buffer, metrics=worker.metrics, on_close=self._polling_closed
            )
            self._pause_reading = None
        else:
            self.connection, self._pause_reading = self._socket(socket[0]), socket[1]
        self._listener = listener(self)
        engines.add(self)

    @property
    def worker(self) -> Worker:
        """The worker that this session is on."""
        return self._engines.worker

    @property
    def largest(self) -> int:
        """Bytes that may come at once."""
        return self._engines.largest

    @property
    def closing(self) -> bool:
        """Whether the relay is ending the session."""
        return self.connection.reason is not None

    @property
    def polls(self) -> bool:
        """Whether the client polls, so far."""
        return isinstance(self.connection, Polling)

    async def open(self) -> None:
        """Have the client greeted."""
        await self._listener.opened()

    def pause_reading(self, *, paused: bool) -> None:
        """Read no further from the client until everybody who paused says so: it is one connection for several."""
        self._holding += 1 if paused else -1
        if self._pause_reading is not None:
            self._pause_reading(paused=self._holding > 0)
        elif not self._holding and self._read_on is not None:
            self._read_on.set()

    # Polling.

    def post(self, packets: Sequence[EnginePacket]) -> None:
        """Take what a client posted; a bad packet ends the session, and is raised."""
        self._heard = self._clock()
        for packet in packets:
            if self._over or self.closing:
                return
            try:
                self._take(packet)
            except BadPacket as error:
                self._broken(error)
                raise

    async def taken(self) -> None:
        """Return when more may be posted."""
        if self._holding and not self._over:
            self._read_on = asyncio.Event()
            await self._read_on.wait()

    def drop(self, polling: Connection) -> None:
        """A request of the client was broken off: it is gone, unless it has gone on to a WebSocket."""
        if self.connection is polling:
            self.disconnected(1006, None)

    # Receiver.

    def received(self, frame: Frame) -> None:
        """See `Receiver.received`."""
        self._heard = self._clock()
        try:
            self._take(self.framing.read(frame))
        except BadPacket as error:
            self._broken(error)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """See `Receiver.disconnected`."""
        if self._over:
            return
        self._over = True
        ours = self.connection.reason is not None
        if not ours:
            reason = relay_closed or ("client" if code in GOODBYE_CODES else "lost")
            self.worker.metrics.closed.labels(reason).inc()
        if self._read_on is not None:
            self._read_on.set()
        self._engines.remove(self)
        if self.upgrade is not None:
            self.upgrade.give_up()
        if isinstance(self.connection, Polling):
            self.connection.release()
        self._listener.disconnected(goodbye=not ours and relay_closed is None and code in _LEFT)

    # Client.

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """See `Client.close_gracefully`."""
        self._listener.close_gracefully(reason, now=now)

    # Pinged.

    def ping(self) -> None:
        """See `Pinged.ping`."""
        ping = self.framing.wording.ping
        if ping is not None:
            self._heard = 0.0
            self.connection.write(ping)
        else:
            self.check()

    def check(self) -> None:
        """See `Pinged.check`; a client whose messages we do not read is not to blame."""
        late = self.framing.wording.ping is None and self._clock() - self._heard > self._engines.patience
        if (late or not self._heard) and not self._holding:
            self.connection.close(PONG_TIMEOUT)

    # Upgrading.

    def upgraded(self, connection: Connection, pause_reading: PauseReading) -> None:
        """Go on over a WebSocket: what polling has not taken goes there, ahead of all that follows."""
        polling = self.connection
        self.upgrade = None
        self.connection, self._pause_reading = self._socket(connection), pause_reading
        if isinstance(polling, Polling):
            for frame in polling.end():
                self.connection.write(frame)
        if self._holding:
            pause_reading(paused=True)
        if self._read_on is not None:
            self._read_on.set()

    def _socket(self, connection: Connection) -> Connection:
        return TextConnection(connection, self.framing) if self._wants_text else connection

    # Within.

    def _take(self, packet: EnginePacket) -> None:
        if packet.kind == MESSAGE:
            self._listener.message(packet.data, binary=packet.binary)
        elif packet.kind == PING:
            if self.framing.wording.ping is not None:
                raise BadPacket("a ping, which only the server sends in this revision")
            self.connection.write(Frame(b"3" + packet.data))
        elif packet.kind == CLOSE:
            if isinstance(self.connection, Polling):
                self.disconnected(1005, None)
            else:
                self.connection.close(NORMAL)

    def _broken(self, error: BadPacket) -> None:
        log.debug("a session ends: %s", error)
        self.worker.metrics.errors.labels("bad_packet").inc()
        self.connection.close(BAD_PACKET)

    def _polling_closed(self, reason: CloseReason, left: Payload | None) -> None:
        if self._over or not self.polls:
            return
        if left is not None:
            self._engines.leave_behind(self.sid, left)
        self.disconnected(1000, reason.name)


class TextConnection:
    """A `Connection` for a client that takes no binary frames."""

    def __init__(self, inner: Connection, framing: Framing) -> None:
        self._inner = inner
        self._framing = framing

    @property
    def reason(self) -> CloseReason | None:
        """See `Connection`."""
        return self._inner.reason

    @reason.setter
    def reason(self, reason: CloseReason | None) -> None:
        self._inner.reason = reason

    def write(self, frame: Frame) -> None:
        """See `Connection.write`."""
        for part in frame.parts:
            self._inner.write(self._framing.as_text(part))

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        self._inner.close(reason)


class Upgrade:
    """A WebSocket that is to take the place of polling: a `Receiver` that hands on what comes once it has.

    The client probes it; then polls are answered at once, so that none is open when the client says that it has
    stopped polling. From then on all goes over the WebSocket.
    """

    __slots__ = ("_connection", "_engine", "_pause_reading", "_timers", "_upgraded")

    _RELEASE_EVERY: Final = 0.1

    def __init__(self, engine: EngineSession, connection: Connection, pause_reading: PauseReading) -> None:
        self._engine = engine
        self._connection = connection
        self._pause_reading = pause_reading
        self._upgraded = False
        loop = asyncio.get_running_loop()
        self._timers = {"end": loop.call_later(engine.worker.settings.handshake_timeout, self.give_up)}
        engine.upgrade = self

    async def begin(self) -> None:
        """Nothing is to be said before the client probes."""

    def received(self, frame: Frame) -> None:
        """See `Receiver.received`."""
        if self._upgraded:
            self._engine.received(frame)
        elif frame.is_text and frame.data == b"2probe":
            self._connection.write(_PROBED)
            if "release" not in self._timers:
                self._release()
        elif frame.is_text and frame.data == b"5" and self._engine.upgrade is self and not self._engine.closing:
            self._stop()
            self._upgraded = True
            self._engine.upgraded(self._connection, self._pause_reading)
        else:
            self._connection.close(BAD_PACKET)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """See `Receiver.disconnected`; until then, the session goes on polling."""
        if self._upgraded:
            self._engine.disconnected(code, relay_closed)
        else:
            self._stop()

    def give_up(self) -> None:
        """The client took too long, or the session has ended."""
        self._stop()
        if not self._upgraded:
            self._connection.close(NORMAL)

    def _release(self) -> None:
        polling = self._engine.connection
        if isinstance(polling, Polling):
            polling.release()
        loop = asyncio.get_running_loop()
        self._timers["release"] = loop.call_later(self._RELEASE_EVERY, self._release)

    def _stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if self._engine.upgrade is self:
            self._engine.upgrade = None
