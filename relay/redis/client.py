"""Commands to Redis over one link that is made anew when it is lost."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import hiredis

from relay.errors import OutcomeUnknown, Unavailable
from relay.redis.link import Dialer, Link, LinkError, Pending
from relay.redis.scripts import ALL, Script

log = logging.getLogger("relay.redis")

Argument = str | bytes | int | float


class Backoff:
    """Waiting times that double from 0.05 s to 2 s, each drawn at random between half and all of that."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._base = 0.05

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        base, self._base = self._base, min(2.0, self._base * 2)
        return base * (0.5 + self._draw() / 2)

    def reset(self) -> None:
        """An attempt succeeded."""
        self._base = 0.05


class Keeping:
    """Keeps one link open: dials, waits until it is lost, and dials again; logs once per change, not per attempt."""

    def __init__(self, what: str, dial: Callable[[], Any], on_reconnect: Callable[[], None]) -> None:
        self._what = what
        self._dial = dial
        self._on_reconnect = on_reconnect
        self._lost = asyncio.Event()
        self.problem = "not connected yet"

    def lost(self) -> None:
        """The link is gone."""
        self._lost.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        backoff, since, connected_before = Backoff(), time.monotonic(), False
        while True:
            self._lost.clear()
            try:
                await self._dial()
            except LinkError as error:
                if self.problem != str(error):
                    self.problem = str(error)
                    log.warning("%s: cannot reach Redis (%s); trying again until it answers", self._what, self.problem)
                await asyncio.sleep(backoff.next())
                continue
            if connected_before:
                self._on_reconnect()
                log.warning("%s: connected to Redis again after %.1f s", self._what, time.monotonic() - since)
            connected_before = True
            self.problem = ""
            backoff.reset()
            await self._lost.wait()
            since = time.monotonic()
            self.problem = "connection lost"
            log.warning("%s: lost the connection to Redis; connecting again", self._what)


class RedisClient:
    """Sends commands in the order of the calls, pipelined, and waits a bounded time for Redis to come back.

    Every call raises `Unavailable` when Redis was not reached in `timeout` seconds, when more than `waiting` calls wait
    already, or when Redis refused; `OutcomeUnknown` when the command was sent and no reply came.
    """

    def __init__(self, dialer: Dialer, *, timeout: float, waiting: int, on_reconnect: Callable[[], None]) -> None:
        self._dialer = dialer
        self._timeout = timeout
        self._most_waiting = waiting
        self._waiting = 0
        self._link: Link | None = None
        self._connected = asyncio.Event()
        self._pending = Pending()
        self._keeping = Keeping("commands", self._connect, on_reconnect)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keeping.run(), name="redis commands")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._link is not None:
            self._link.abort()

    @property
    def reachable(self) -> bool:
        """Whether commands get through, as far as is known."""
        return self._link is not None

    @property
    def problem(self) -> str:
        """Why Redis is not reachable; "" when it is."""
        return self._keeping.problem

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that keeps the link; its end means that nobody does."""
        return self._task

    async def call(self, *arguments: Argument) -> Any:
        """Send one command and return its reply."""
        if self._link is None:
            await self._wait_for_link()
        return await self._finish(self._send(arguments))

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script, as `call`."""
        command = (script.sha, len(keys), *keys, *arguments)
        try:
            return await self.call("EVALSHA", *command)
        except Unavailable as error:
            if not error.text.startswith("NOSCRIPT"):
                raise
        log.warning("redis forgot the scripts (SCRIPT FLUSH?); loading them again")
        await self.load_scripts()
        return await self.call("EVALSHA", *command)

    async def load_scripts(self) -> None:
        """Make every script known to Redis."""
        for script in ALL:
            await self.call("SCRIPT", "LOAD", script.source)

    def _send(self, arguments: Sequence[Argument]) -> asyncio.Future[Any]:
        if self._link is None:
            raise Unavailable()
        self._link.send(*arguments)
        return self._pending.add()

    async def _finish(self, future: asyncio.Future[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                reply = await future
        except TimeoutError:
            # A Redis that is this late is as good as gone: whoever waits behind learns it now, and a new link is made.
            self._give_up()
            raise OutcomeUnknown(f"Redis did not answer within {self._timeout:g} s") from None
        if isinstance(reply, hiredis.ReplyError):
            raise Unavailable(str(reply))
        return reply

    async def _wait_for_link(self) -> None:
        if self._waiting >= self._most_waiting:
            raise Unavailable(f"Redis is away, and {self._most_waiting} calls wait for it already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable(f"Redis was away for {self._timeout:g} s: {self.problem}") from None
        finally:
            self._waiting -= 1

    async def _connect(self) -> None:
        pending = Pending()
        link = await self._dialer.open(pending.resolve, lambda: self._lost(link, pending))
        try:
            # Under a time limit: a stopped Redis accepts connections, and answers nothing.
            async with asyncio.timeout(self._timeout):
                for script in ALL:
                    link.send("SCRIPT", "LOAD", script.source)
                    reply = await pending.add()
                    if isinstance(reply, hiredis.ReplyError):
                        raise LinkError(str(reply))
        except (TimeoutError, OutcomeUnknown):
            link.abort()
            raise LinkError(f"no answer within {self._timeout:g} s") from None
        except LinkError:
            link.abort()
            raise
        self._link, self._pending = link, pending
        self._connected.set()

    def _give_up(self) -> None:
        if self._link is not None:
            link = self._link
            link.abort()
            # Not only when the loop comes to it: nothing more may be sent into a link that is given up.
            self._lost(link, self._pending)

    def _lost(self, link: Link, pending: Pending) -> None:
        pending.fail(OutcomeUnknown)
        if self._link is link:
            self._link = None
            self._connected.clear()
            self._keeping.lost()
