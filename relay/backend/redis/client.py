"""Commands to Redis, over one connection that is opened again when it is lost."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from relay.awake import AwakeTime
from relay.backend.headroom import Headroom
from relay.backend.redis.clock import RedisClock
from relay.backend.redis.connection import Dialer, Done, Patience, Pending, RedisConnection, call, pack, refused
from relay.backend.redis.fence import Fence, Fenced
from relay.backend.redis.place import RedisPlace, ignore
from relay.backend.redis.reconnect import Reconnector
from relay.backend.redis.replies import ErrorReplies, RedisUnreachable, serves_nobody
from relay.backend.redis.run import RedisRun
from relay.backend.redis.scripts import ALL, variant
from relay.config.redis_url import Address
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable
from relay.tasks import KeptLoop

log = logging.getLogger("relay.backend.redis")


_MAX_WAITING_BYTES: Final = 67_108_864
"""Bytes of commands beyond which no further one waits while Redis is away."""


def _nothing() -> None:
    pass


class RedisClient(RedisPlace):
    """Sends commands in the order of the calls, pipelined, and waits a bounded time for Redis to come back.

    A call fails with `Unavailable` if Redis was not reached in `timeout` seconds, if `waiting` calls wait already, or
    if Redis refused the command; with `OutcomeUnknown` if the command was sent and no reply came, or if a script
    failed. `on_error` is called for each error reply. `run` learns the run of Redis on each new connection. `headroom`
    is that of Redis's memory. A client of a node of a cluster is `clustered`; `on_lost` is called when its connection
    is lost, or could not be opened. Times count as `awake` does.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        timeout: float,
        waiting: int,
        on_reconnect: Callable[[], object],
        on_error: Callable[[], object] = _nothing,
        run: RedisRun | None = None,
        headroom: Headroom | None = None,
        clustered: bool = False,
        on_lost: Callable[[], object] = _nothing,
        awake: AwakeTime | None = None,
    ) -> None:
        self._awake = awake or AwakeTime()
        self._headroom = headroom or Headroom()
        self.clustered = clustered
        self.fenced = clustered or dialer.has_sentinels
        self._on_lost = on_lost
        self._dialer = dialer
        self._patience = Patience()
        self._timeout = timeout
        self._max_waiting = waiting
        self._waiting_bytes = 0
        self.errors = ErrorReplies(on_error, on_leave=self._leave_soon)
        self._on_error = on_error
        self.on_command: Callable[[], object] = _nothing
        """Called before each command but those of publications."""
        self._run = run
        # Commands that wait for a connection, each with the time at which its caller is given an error.
        self._waiting: deque[tuple[float, bytes, Done]] = deque()
        self._scripts = [variant(script, clustered=clustered, fenced=self.fenced) for script in ALL]
        self._connection: RedisConnection | None = None
        self._pending = Pending()
        # Commands that got NOSCRIPT, to be sent again once the scripts are loaded; None if no loading is under way.
        self._resending: deque[tuple[bytes, Done]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reconnector = Reconnector(f"commands{dialer.of_node}", self._connect, on_reconnect)
        self._kept: KeptLoop | None = None

    async def __aenter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Begin to connect, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._awake.open()
        # Not the time of the event loop, which stands still within one turn.
        self._clock = RedisClock(time.monotonic, self._timeout)
        self._fence = Fence(self._clock, self._timeout)
        self._kept = KeptLoop(self._reconnector.run, "redis commands")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            await self._kept.stop()
            self._awake.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.abort()

    @property
    def clock(self) -> RedisClock:
        """The clock of Redis."""
        return self._clock

    @property
    def headroom(self) -> Headroom:
        """The memory of Redis that is left."""
        return self._headroom

    @property
    def reachable(self) -> bool:
        """Whether commands reach Redis, as far as is known."""
        return self._connection is not None

    @property
    def report(self) -> str:
        """Why Redis is not reachable, with its own words, for operators; "" if it is."""
        return self._reconnector.report

    @property
    def era(self) -> int:
        """Since when the fleet knows the present run of Redis (microseconds); 0 if no earlier one is known."""
        return 0 if self._run is None else self._run.era

    @property
    def run_changes(self) -> int:
        """How often another run of Redis took the part of the one before, as far as this worker has noticed."""
        return 0 if self._run is None else self._run.changes

    @property
    def run_age(self) -> float:
        """Seconds since this worker met another run of Redis; infinite if it has not."""
        return math.inf if self._run is None else self._run.age

    def check_run(self) -> None:
        """Ask for the run of Redis again: it may change without a lost connection, when a replica takes over.

        A new connection asks for it itself.
        """
        if self._run is not None and self._connection is not None:
            self.send(self._run.command(), self._run.note)

    def follow(self, master: Address) -> None:
        """Connect anew if the connection leads to another Redis than the master."""
        if self._connection is not None and self._connection.address != master:
            self._give_up(OutcomeUnknown("another Redis has become the master"))

    @property
    def loop(self) -> KeptLoop | None:
        """The loop that keeps the connection open; None before the client is opened."""
        return self._kept

    # Sending.

    def at_key(self, key: str) -> RedisPlace:
        """Return this client: one Redis has all keys."""
        return self

    def at_room(self, room: str) -> RedisPlace:
        """Return this client: one Redis has all rooms."""
        return self

    def send(self, command: bytes, done: Done) -> None:
        """Send one packed command; `done` is called once, with the reply or an error, perhaps before this returns."""
        deadline = self._awake.now + self._timeout
        if self._connection is not None and self._resending is None:
            self._write(self._connection, command)
            self._pending.add(deadline, done)
        elif len(self._waiting) < self._max_waiting and self._waiting_bytes < _MAX_WAITING_BYTES:
            # Also while scripts are loaded again: a command that was sent now would overtake those that got NOSCRIPT,
            # and with them the order of a client's messages.
            self._waiting.append((deadline, command, done))
            self._waiting_bytes += len(command)
        else:
            away = f"Redis is away, and {len(self._waiting)} requests of this worker wait for it already"
            call(done, Unavailable(away))
            return
        # Deadlines never decrease, so a timer that is set already is early enough.
        if self._timer is None:
            self._timer = self._awake.call_at(deadline, self._check_deadlines)

    def _write(self, connection: RedisConnection, command: bytes) -> None:
        connection.send(command)
        if type(command) is Fenced:
            connection.send(self._fence.part(self._pending, self._awake.now))

    def flush(self) -> None:
        """Write all that was sent in this turn of the event loop now."""
        if self._connection is not None:
            self._connection.flush()

    def make_way(self) -> None:
        """Have the publications of this turn sent ahead of the next command."""
        self.on_command()

    def resend(self, command: bytes, done: Done, *, late: bool = False) -> None:
        """Send a command that got NOSCRIPT again, after the scripts and before all later commands.

        One that came too `late` for its fence is sent again once the time of Redis is known anew.
        """
        if self._connection is None:
            self.send(command, done)
            return
        if self._resending is None:
            self._resending = deque()
            deadline = self._awake.now + self._timeout
            if late:
                log.warning("commands%s: Redis has taken messages later than this worker waits for them (was a clock "
                            "set?); asking for its time, and sending them again", self._dialer.of_node)  # fmt: skip
                self._connection.send(pack("TIME"))
                self._pending.add(deadline, partial(self._timed, self.clock.time))
                self._resending.append((command, done))
                return
            log.warning("commands%s: Redis does not have the relay's scripts any more (SCRIPT FLUSH?); loading them "
                        "again", self._dialer.of_node)  # fmt: skip
            for script in self._scripts:
                self._connection.send(pack("SCRIPT", "LOAD", script.source))
                self._pending.add(deadline, self._loaded if script is self._scripts[-1] else ignore)
        self._resending.append((command, done))

    def bound_clock(self) -> None:
        """Ask Redis for its time, for the stamps of attempts."""
        asked = self.clock.time
        self.send(pack("TIME"), lambda reply: self._bound_clock(reply, asked))

    # The connection.

    async def _connect(self) -> None:
        try:
            await self._open()
        except RedisUnreachable:
            self._on_lost()
            raise

    async def _open(self) -> None:
        # Each connection has its own: replies of one that is given up must not be taken for replies of the next one.
        pending = Pending()
        connection = await self._dialer.open(
            pending.resolve, lambda: self._lost(connection, pending, OutcomeUnknown()), self._patience
        )
        try:
            # Within a time limit: a stopped Redis accepts connections, and does not answer.
            async with self._awake.limit(self._timeout):
                asked = self.clock.time
                connection.send(pack("TIME"))
                pending.add(0, lambda reply: self._bound_clock(reply, asked))
                loaded: list[asyncio.Future[Any]] = [self._loop.create_future() for _ in self._scripts]
                for script, future in zip(self._scripts, loaded, strict=True):
                    connection.send(pack("SCRIPT", "LOAD", script.source))
                    # No deadline: `_check_deadlines` looks at `self._pending`, which is another one until the scripts
                    # are loaded.
                    pending.add(0, partial(set_result, future))
                for reply in await asyncio.gather(*loaded):
                    self._check_loaded(reply)
                await self._learn_run(connection, pending)
        except BaseException as error:
            # Also if this task is cancelled: nothing else refers to the connection yet.
            connection.abort()
            if isinstance(error, TimeoutError):
                text = f"no answer within {self._timeout:g} s"
                raise RedisUnreachable(text, text) from None
            raise
        self._connection, self._pending = connection, pending
        self._fence.renew()
        self._reconnector.confirmed()
        self._send_waiting(connection, pending)

    def _bound_clock(self, reply: Any, asked: float) -> None:
        if isinstance(reply, list) and len(reply) == 2:
            now = int(reply[0]) * 1_000_000 + int(reply[1])
            self.clock.bound(now, asked)
            # Heartbeats tell it as well, but not at a node that has no lease, and not at once after a failover.
            self.clock.learn(now // 1000, asked)

    async def _learn_run(self, connection: RedisConnection, pending: Pending) -> None:
        """Learn the run of Redis ahead of the commands that wait: their arguments depend on it."""
        if self._run is None:
            return
        told: asyncio.Future[Any] = self._loop.create_future()
        connection.send(self._run.command())
        pending.add(0, partial(set_result, told))
        reply = await told
        if isinstance(reply, RelayError):
            raise RedisUnreachable("connection lost while the run id was asked for", "connection lost")
        if isinstance(reply, Exception) and serves_nobody(str(reply)):
            # Such as a replica that the sentinels name already, or a new master that has no replicas yet. If commands
            # went on now, this worker would not know that another run may have older data.
            raise refused(str(reply))
        self._run.note(reply)

    def _check_loaded(self, reply: Any) -> None:
        """Raise `RedisUnreachable` if Redis did not load a script: none of the relay's commands would work."""
        if isinstance(reply, RelayError):
            raise RedisUnreachable("connection lost while the scripts were loaded", "connection lost")
        if isinstance(reply, Exception):
            # The Reconnector logs it, once; ErrorReplies would log it again and again.
            self._on_error()
            raise refused(str(reply))

    def _send_waiting(self, connection: RedisConnection, pending: Pending) -> None:
        """Send all that waited, with a whole timeout for each: a long wait is no sign that Redis is gone again."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        deadline = self._awake.now + self._timeout
        for _, command, done in waiting:
            self._write(connection, command)
            pending.add(deadline, done)

    def _timed(self, asked: float, reply: Any) -> None:
        self._bound_clock(reply, asked)
        self._fence.renew()
        self._loaded(reply)

    def _loaded(self, _: Any) -> None:
        """Send the commands that got NOSCRIPT again, now that the scripts are loaded.

        All of them have been collected: they were sent before the scripts, and replies come in order.
        """
        resending, self._resending = self._resending or deque(), None
        deadline = self._awake.now + self._timeout
        # Ahead of the commands that waited meanwhile, and in their own order.
        self._waiting.extendleft((deadline, command, done) for command, done in reversed(resending))
        self._waiting_bytes += sum(len(command) for command, _ in resending)
        if self._connection is not None:
            self._send_waiting(self._connection, self._pending)

    def _check_deadlines(self) -> None:
        """Fail all commands whose time is over; one timer, set for the next deadline, serves all."""
        now = self._awake.now
        while self._waiting and self._waiting[0][0] <= now:
            _, command, done = self._waiting.popleft()
            self._waiting_bytes -= len(command)
            # Guarded: an error of one caller must not end the timer, on which the deadlines of all others depend.
            what = "a part of the Redis cluster" if self.clustered else "Redis"
            away = f"{what} could not be reached for {self._timeout:g} s"
            call(done, Unavailable(away).because(f"{away}: {self.report}"))
        deadline = self._pending.deadline
        if deadline is not None and deadline <= now:
            # A Redis that is this late counts as away: all commands that wait fail now, and a new connection is
            # opened.
            self._give_up(OutcomeUnknown(f"Redis did not answer within {self._timeout:g} s"))
        times = [time for time in (self._pending.deadline, self._waiting[0][0] if self._waiting else None) if time]
        self._timer = self._awake.call_at(min(times), self._check_deadlines) if times else None

    def hand_back(self, reply: Any) -> None:
        """Give this reply to all commands that wait for a connection, in their order: they are sent elsewhere."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        for _, _, done in waiting:
            call(done, reply)

    @property
    def is_idle(self) -> bool:
        """Whether no command waits for a connection or a reply."""
        return not self._waiting and self._pending.deadline is None

    def _give_up(self, error: Exception) -> None:
        if self._connection is not None:
            connection = self._connection
            connection.abort()
            # Now, and not only when the loop reports the loss: nothing may be sent over this connection any more.
            self._lost(connection, self._pending, error)

    def _leave_soon(self) -> None:
        """Connect anew: mostly, this Redis was the master, and is a replica now; another one takes its part.

        In the next turn, as the replies that arrived together are still being handed out.
        """
        connection = self._connection
        if connection is not None:
            self._loop.call_soon(self._leave, connection)

    def _leave(self, connection: RedisConnection) -> None:
        if self._connection is connection:
            self._give_up(OutcomeUnknown("this Redis does not serve the relay any more"))

    def _lost(self, connection: RedisConnection, pending: Pending, error: Exception) -> None:
        if self._connection is connection:
            self._connection = None
            self._reconnector.disconnected()
            self._on_lost()
        pending.fail(error)


def set_result(future: asyncio.Future[Any], reply: Any) -> None:
    """Hand a reply to a caller that may have stopped waiting for it."""
    if not future.done():
        future.set_result(reply)
