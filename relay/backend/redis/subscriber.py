"""A worker's subscription: one connection that is made anew when lost, and tells what it may have missed."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from relay.backend.redis.client import Reconnector
from relay.backend.redis.connection import Dialer, RedisConnection, pack
from relay.model.errors import Unavailable

log = logging.getLogger("relay.bus")

_BATCH = 512

Arrival = tuple[bytes, bytes | None]
"""A channel and what was published there; None where something may have been missed before this point."""


class Subscriber:
    """Hears channels. Every loss of the connection shows as a None in the place where something may be missing.

    A channel counts as subscribed only when Redis has confirmed it. A confirmation of a channel that was confirmed
    before means that there was a time without.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        timeout: float,
        on_arrivals: Callable[[Sequence[Arrival]], None],
        on_reconnect: Callable[[], None],
    ) -> None:
        self._dialer = dialer
        self._timeout = timeout
        self._on_arrivals = on_arrivals
        self._wanted: dict[str, None] = {}
        self._known: set[bytes] = set()
        self._confirming: dict[bytes, asyncio.Future[None]] = {}
        self._connection: RedisConnection | None = None
        self._reconnector = Reconnector("subscription", self._connect, on_reconnect)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._reconnector.run(), name="redis subscription")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._connection is not None:
            self._connection.abort()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that keeps the link; its end means that nobody does."""
        return self._task

    @property
    def problem(self) -> str:
        """Why there is no connection; "" when there is one."""
        return self._reconnector.problem

    def want(self, channel: str) -> None:
        """Hear this channel from the next chance on, confirmed or not."""
        self._wanted[channel] = None
        self._subscribe_now([channel])

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Return when Redis has confirmed all; raise `Unavailable` when it has not in time."""
        channels = list(channels)
        self._wanted.update(dict.fromkeys(channels))
        loop = asyncio.get_running_loop()
        waits = [self._confirming.setdefault(channel.encode(), loop.create_future()) for channel in channels]
        self._subscribe_now(channels)
        try:
            async with asyncio.timeout(self._timeout):
                for wait in waits:
                    # Others may wait for the same confirmation.
                    await asyncio.shield(wait)
        except TimeoutError:
            raise Unavailable(f"Redis did not confirm a subscription within {self._timeout:g} s") from None

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Hear these channels no more."""
        channels = list(channels)
        for channel in channels:
            self._wanted.pop(channel, None)
            self._known.discard(channel.encode())
            self._confirming.pop(channel.encode(), None)
        if self._connection is not None and channels:
            self._connection.send(pack("UNSUBSCRIBE", *channels))

    def rebuild(self) -> None:
        """Give up the connection, which may be dead without a sign, and make a new one."""
        if self._connection is not None:
            connection = self._connection
            connection.abort()
            self._lost(connection)

    async def _connect(self) -> None:
        connection = await self._dialer.open(self._receive, lambda: self._lost(connection))
        self._connection = connection
        self._subscribe_now(list(self._wanted))

    def _subscribe_now(self, channels: Sequence[str]) -> None:
        if self._connection is not None:
            for start in range(0, len(channels), _BATCH):
                self._connection.send(pack("SUBSCRIBE", *channels[start : start + _BATCH]))

    def _lost(self, connection: RedisConnection) -> None:
        if self._connection is connection:
            self._connection = None
            self._reconnector.disconnected()

    def _receive(self, replies: Sequence[Any]) -> None:
        arrivals: list[Arrival] = []
        for reply in replies:
            if isinstance(reply, list) and reply[0] == b"message":
                arrivals.append((reply[1], reply[2]))
            else:
                self._confirmed(reply, arrivals)
        if arrivals:
            self._on_arrivals(arrivals)

    def _confirmed(self, reply: Any, arrivals: list[Arrival]) -> None:
        match reply:
            case [b"subscribe", channel, _]:
                if channel in self._known:
                    arrivals.append((channel, None))
                self._known.add(channel)
                waiting = self._confirming.pop(channel, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            case [b"unsubscribe", _, _]:
                pass
            case _:
                log.error("unexpected reply on the subscription: %r; connecting again", reply)
                self.rebuild()
