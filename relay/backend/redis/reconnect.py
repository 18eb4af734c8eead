"""Keeping a connection to Redis open."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from relay.backend.redis.replies import RedisUnreachable
from relay.limits import Clock
from relay.logs import escape

log = logging.getLogger("relay.backend.redis")

_STABLE = 5.0
"""Seconds for which a confirmed connection must last before the next loss counts as the first one."""

_LOST, _NO_ANSWER = "connection lost", "the connection ended before Redis answered"

_LINES = 20
"""Different causes of one outage that are logged; a server may make new ones up with each attempt."""

_LINE_INTERVAL = 10.0
"""Seconds after which a cause that was logged before in the same outage is logged again, when it replaces another."""


class ReconnectDelay:
    """Waiting times that double from 0.05 s to 0.5 s, each drawn at random between half and all of that.

    At random, so that the workers of a fleet do not all come at the same moment.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._base = 0.05

    def next(self) -> float:
        """Return the seconds to wait before the next attempt."""
        base, self._base = self._base, min(0.5, self._base * 2)
        return base * (0.5 + self._draw() / 2)

    def reset(self) -> None:
        """Begin with the shortest time again: a connection has lasted."""
        self._base = 0.05


class Reconnector:
    """Opens a connection, waits until it is lost, and opens it again; logs each change of the cause, not each attempt.

    A connection counts only once its owner calls `confirmed`, because Redis has answered over it: servers accept
    connections that they then refuse or drop. Attempts follow each other without a pause only after a confirmed
    connection that lasted. `report` says why there is no connection, for operators; it is "" while there is a
    confirmed one.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[None]],
        on_reconnect: Callable[[], object],
        clock: Clock = time.monotonic,
    ) -> None:
        self._name = name
        self._connect = connect
        self._on_reconnect = on_reconnect
        self._clock = clock
        self._delay = ReconnectDelay()
        self._lost = asyncio.Event()
        self._cause: RedisUnreachable | None = None
        self._confirmed_at: float | None = None
        # When the present outage began; None before the first failure, and while a connection lasts.
        self._away_since: float | None = None
        self._connected_before = False
        self._short_lived = 0
        self._lines = OutageLines()
        self.report = "not connected yet"

    def confirmed(self) -> None:
        """Note that Redis has answered over the present connection; further calls do nothing."""
        if self._confirmed_at is not None:
            return
        self._confirmed_at = self._clock()
        self.report = ""
        # While connections do not last, a line would follow each attempt: `_until_lost` logs that one lasts.
        if self._short_lived < 2:
            self._log_connected()
        if self._connected_before:
            self._on_reconnect()
        self._connected_before = True

    def disconnected(self, cause: RedisUnreachable | None = None) -> None:
        """Note that the connection is lost, and why."""
        self._cause = cause
        self._lost.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while not _cancelled():
            self._lost.clear()
            self._confirmed_at = None
            try:
                await self._connect()
            except RedisUnreachable as error:
                self._note(error, f"cannot reach Redis ({_words(error)}); trying again until it answers")
                await asyncio.sleep(self._delay.next())
                continue
            if _cancelled():
                return
            if await self._until_lost():
                self._delay.reset()
            else:
                await asyncio.sleep(self._delay.next())

    async def _until_lost(self) -> bool:
        """Wait until the connection is lost; return whether it was confirmed, and lasted."""
        try:
            async with asyncio.timeout(_STABLE):
                await self._lost.wait()
        except TimeoutError:
            if self._confirmed_at is not None:
                self._short_lived = 0
                self._log_connected()
            await self._lost.wait()
        confirmed_at, now, cause = self._confirmed_at, self._clock(), self._cause
        if confirmed_at is None:
            cause = cause or RedisUnreachable(_NO_ANSWER, _NO_ANSWER)
            line = f"Redis accepts connections, but does not serve them ({_words(cause)}); trying again until it does"
            self._note(cause, line)
            return False
        lasted = now - confirmed_at >= _STABLE
        self._short_lived = 0 if lasted else self._short_lived + 1
        why = f" ({_words(cause)})" if cause else ""
        if self._short_lived < 2:
            line = f"lost the connection to Redis{why}; connecting again"
        else:
            line = f"Redis, or a proxy ahead of it, ends each connection soon after its first answer{why}; trying again"
        self._note(cause or RedisUnreachable(_LOST, _LOST), line)
        return lasted

    def _note(self, cause: RedisUnreachable, line: str) -> None:
        self.report = cause.report
        if self._away_since is None:
            self._away_since = self._clock()
        if self._lines.is_new(line, self._clock()):
            log.warning("%s: %s", self._name, line)

    def _log_connected(self) -> None:
        self._lines.clear()
        if self._away_since is not None:
            away = (self._confirmed_at or self._clock()) - self._away_since
            again = " again" if self._connected_before else ""
            log.warning("%s: connected to Redis%s after %.1f s", self._name, again, away)
        self._away_since = None


class OutageLines:
    """The lines that were logged in one outage: each is logged when it is new, or replaces another after some time."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._last = ""

    def is_new(self, line: str, now: float) -> bool:
        """Tell whether to log a line."""
        logged, changed = self._seen.get(line), line != self._last
        if not changed or (logged is None and len(self._seen) >= _LINES):
            return False
        if logged is not None and now - logged < _LINE_INTERVAL:
            return False
        self._last, self._seen[line] = line, now
        return True

    def clear(self) -> None:
        """Begin anew: the outage is over."""
        self._seen.clear()
        self._last = ""


def _words(cause: RedisUnreachable) -> str:
    return escape(str(cause))


def _cancelled() -> bool:
    """Tell whether this task was cancelled: redis-py, while it connects, may swallow the `CancelledError`."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
