"""Commands to Redis over one link that is made anew when it is lost."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import hiredis

from relay.backend.redis.connection import Argument, Dialer, Done, Pending, RedisConnection, RedisUnreachable, pack
from relay.backend.redis.scripts import ALL, Script
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable

log = logging.getLogger("relay.backend.redis")


_PROMPT = 1.0


class ReconnectDelay:
    """Waiting times that double from 0.05 s to 0.5 s, each drawn at random between half and all of that."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._base = 0.05

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        base, self._base = self._base, min(0.5, self._base * 2)
        return base * (0.5 + self._draw() / 2)

    def reset(self) -> None:
        """An attempt succeeded."""
        self._base = 0.05


class Reconnector:
    """Keeps one link open: dials, waits until it is lost, and dials again; logs once per change, not per attempt."""

    def __init__(self, what: str, dial: Callable[[], Any], on_reconnect: Callable[[], None]) -> None:
        self._what = what
        self._dial = dial
        self._on_reconnect = on_reconnect
        self._lost = asyncio.Event()
        self.problem = "not connected yet"

    def disconnected(self) -> None:
        """The link is gone."""
        self._lost.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        backoff, since, connected_before = ReconnectDelay(), time.monotonic(), False
        while not _cancelled():
            self._lost.clear()
            try:
                await self._dial()
            except RedisUnreachable as error:
                if self.problem != str(error):
                    self.problem = str(error)
                    log.warning("%s: cannot reach Redis (%s); trying again until it answers", self._what, self.problem)
                await asyncio.sleep(backoff.next())
                continue
            if connected_before:
                self._on_reconnect()
                log.warning("%s: connected to Redis again after %.1f s", self._what, time.monotonic() - since)
            if _cancelled():
                return
            connected_before = True
            self.problem = ""
            backoff.reset()
            await self._lost.wait()
            since = time.monotonic()
            self.problem = "connection lost"
            log.warning("%s: lost the connection to Redis; connecting again", self._what)


def _cancelled() -> bool:
    """Whether this task was told to end: redis-py, while it connects, can keep that to itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class RedisClient:
    """Sends commands in the order of the calls, pipelined, and waits a bounded time for Redis to come back.

    Every call ends in `Unavailable` when Redis was not reached in `timeout` seconds, when more than `waiting` calls
    wait already, or when Redis refused; in `OutcomeUnknown` when the command was sent and no reply came.
    """

    def __init__(self, dialer: Dialer, *, timeout: float, waiting: int, on_reconnect: Callable[[], None]) -> None:
        self._dialer = dialer
        self._timeout = timeout
        self._most_waiting = waiting
        self._waiting: deque[tuple[float, bytes, Done]] = deque()
        self._connection: RedisConnection | None = None
        self._pending = Pending()
        self._ahead: float | None = None
        # What met NOSCRIPT, and goes first when the scripts are there again; None while they are.
        self._again: deque[tuple[bytes, Done]] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._reconnector = Reconnector("commands", self._connect, on_reconnect)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._reconnector.run(), name="redis commands")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._watch is not None:
            self._watch.cancel()
        if self._connection is not None:
            self._connection.abort()

    @property
    def reachable(self) -> bool:
        """Whether commands get through, as far as is known."""
        return self._connection is not None

    @property
    def problem(self) -> str:
        """Why Redis is not reachable; "" when it is."""
        return self._reconnector.problem

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that keeps the link; its end means that nobody does."""
        return self._task

    def send(self, command: bytes, done: Done) -> None:
        """Send one packed command; `done` is called once, with the reply or an error, perhaps before this returns."""
        deadline = self._loop.time() + self._timeout
        if self._connection is not None and self._again is None:
            self._connection.send(command)
            self._pending.add(deadline, done)
        elif len(self._waiting) < self._most_waiting:
            self._waiting.append((deadline, command, done))
        else:
            done(Unavailable(f"Redis is away, and {self._most_waiting} calls wait for it already"))
            return
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._look)

    def send_script(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], done: Done) -> None:
        """Run a script, as `send`; scripts that Redis forgot are loaded again."""
        command = pack("EVALSHA", script.sha, len(keys), *keys, *arguments)

        def check(reply: Any) -> None:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                self.send_again(command, done)
            else:
                done(reply)

        self.send(command, check)

    def send_again(self, command: bytes, done: Done) -> None:
        """Send what met NOSCRIPT once more: the scripts first, and whatever is sent meanwhile after it."""
        if self._connection is None:
            self.send(command, done)
            return
        if self._again is None:
            log.warning("redis forgot the scripts (SCRIPT FLUSH?); loading them again")
            self._again = deque()
            deadline = self.time + self._timeout
            for script in ALL:
                self._connection.send(pack("SCRIPT", "LOAD", script.source))
                self._pending.add(deadline, self._loaded if script is ALL[-1] else ignore)
        self._again.append((command, done))

    def _loaded(self, _: Any) -> None:
        """Everything that met NOSCRIPT has come back by now: it was sent before the scripts were."""
        again, self._again = self._again or deque(), None
        deadline = self.time + self._timeout
        self._waiting.extendleft((deadline, command, done) for command, done in reversed(again))
        if self._connection is not None:
            self._send_waiting(self._connection, self._pending)

    def _send_waiting(self, connection: RedisConnection, pending: Pending) -> None:
        """All of them have as long as any other: one that waited long is no sign that Redis is gone again."""
        waiting, self._waiting = self._waiting, deque()
        deadline = self.time + self._timeout
        for _, command, done in waiting:
            connection.send(command)
            pending.add(deadline, done)

    def call(self, *arguments: Argument) -> asyncio.Future[Any]:
        """Send one command; the future gets its reply, or the error."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(pack(*arguments), partial(_resolve, future))
        return future

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> asyncio.Future[Any]:
        """Run a script, as `call`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send_script(script, keys, arguments, partial(_resolve, future))
        return future

    @property
    def time(self) -> float:
        """Seconds, on the clock that `tell_time` and `deadline` go by."""
        return self._loop.time()

    def tell_time(self, now: int, asked: float) -> None:
        """Redis says that it is `now` (ms), having been asked at `asked` on this client's clock."""
        answered = self.time
        # An answer that was long in coming says little about the time.
        if self._ahead is None or answered - asked < _PROMPT:
            self._ahead = now - answered * 1000

    @property
    def deadline(self) -> int:
        """When what is sent now will have been given up, by Redis's clock (ms); 0 if that is not known."""
        return 0 if self._ahead is None else round(self._ahead + (self.time + self._timeout) * 1000)

    def _look(self) -> None:
        """One timer for all: whoever is the next to have waited too long."""
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, done = self._waiting.popleft()
            done(Unavailable(f"Redis was away for {self._timeout:g} s: {self.problem}"))
        deadline = self._pending.deadline
        if deadline is not None and deadline <= now:
            # A Redis that is this late is as good as gone: whoever waits behind learns it now, a new link is made.
            self._give_up(OutcomeUnknown(f"Redis did not answer within {self._timeout:g} s"))
        times = [time for time in (self._pending.deadline, self._waiting[0][0] if self._waiting else None) if time]
        self._watch = self._loop.call_at(min(times), self._look) if times else None

    async def _connect(self) -> None:
        pending = Pending()
        connection = await self._dialer.open(pending.resolve, lambda: self._lost(connection, pending, OutcomeUnknown()))
        try:
            # Under a time limit: a stopped Redis accepts connections, and answers nothing.
            async with asyncio.timeout(self._timeout):
                loaded = [self._loop.create_future() for _ in ALL]
                for script, future in zip(ALL, loaded, strict=True):
                    connection.send(pack("SCRIPT", "LOAD", script.source))
                    pending.add(0, partial(_resolve, future))
                await asyncio.gather(*loaded)
        except BaseException as error:
            connection.abort()
            if isinstance(error, (TimeoutError, OutcomeUnknown)):
                raise RedisUnreachable(f"no answer within {self._timeout:g} s") from None
            if isinstance(error, Unavailable):
                raise RedisUnreachable(error.text) from None
            raise
        self._connection, self._pending = connection, pending
        self._send_waiting(connection, pending)

    def _give_up(self, error: Exception) -> None:
        if self._connection is not None:
            connection = self._connection
            connection.abort()
            # Not only when the loop comes to it: nothing more may be sent into a link that is given up.
            self._lost(connection, self._pending, error)

    def _lost(self, connection: RedisConnection, pending: Pending, error: Exception) -> None:
        if self._connection is connection:
            self._connection = None
            self._reconnector.disconnected()
        pending.fail(error)


def failure_of(reply: Any) -> RelayError | None:
    """What went wrong, if a reply is an error; Redis's own words make it `Unavailable`."""
    if isinstance(reply, RelayError):
        return reply
    return Unavailable(str(reply)) if isinstance(reply, Exception) else None


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    error = failure_of(reply)
    if error is None:
        future.set_result(reply)
    else:
        future.set_exception(error)


def ignore(reply: Any) -> None:
    """Nobody waits for this; who needs it learns from what comes after."""
