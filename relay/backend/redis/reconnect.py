"""Keeping a connection to Redis open."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from relay.backend.redis.connection import RedisUnreachable
from relay.logs import escape

log = logging.getLogger("relay.backend.redis")


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
        """Begin with the shortest time again: an attempt succeeded."""
        self._base = 0.05


class Reconnector:
    """Opens a connection, waits until it is lost, and opens it again; logs each change, and not each attempt.

    `problem` says in words of the relay why there is no connection; "" while there is one.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[None]], on_reconnect: Callable[[], object]) -> None:
        self._name = name
        self._connect = connect
        self._on_reconnect = on_reconnect
        self._lost = asyncio.Event()
        self.problem = "not connected yet"

    def disconnected(self) -> None:
        """Note that the connection is lost."""
        self._lost.set()

    async def run(self) -> None:
        """Run until cancelled."""
        delay, lost_at, connected_before, logged = ReconnectDelay(), time.monotonic(), False, ""
        while not _cancelled():
            self._lost.clear()
            try:
                await self._connect()
            except RedisUnreachable as error:
                self.problem = error.text
                if logged != str(error):
                    logged = str(error)
                    log.warning(
                        "%s: cannot reach Redis (%s); trying again until it answers", self._name, escape(logged)
                    )
                await asyncio.sleep(delay.next())
                continue
            if connected_before:
                self._on_reconnect()
                log.warning("%s: connected to Redis again after %.1f s", self._name, time.monotonic() - lost_at)
            if _cancelled():
                return
            connected_before, logged = True, ""
            self.problem = ""
            delay.reset()
            await self._lost.wait()
            lost_at = time.monotonic()
            self.problem = "connection lost"
            log.warning("%s: lost the connection to Redis; connecting again", self._name)


def _cancelled() -> bool:
    """Tell whether this task was cancelled: redis-py, while it connects, may swallow the `CancelledError`."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
