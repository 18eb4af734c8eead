"""A worker's subscriptions over one connection, which is opened again when lost; possible losses are reported."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

import hiredis
from mypy_extensions import mypyc_attr

from relay.awake import AwakeTime
from relay.backend.redis.connection import Dialer, Patience, RedisConnection, pack, refused
from relay.backend.redis.reconnect import Reconnector
from relay.backend.redis.replies import RedisUnreachable
from relay.backend.redis.sentinel import NOT_MASTER
from relay.config.redis_url import Address
from relay.model.errors import Unavailable
from relay.tasks import KeptLoop

log = logging.getLogger("relay.backend.redis")

_BATCH = 512
"""Channels of one SUBSCRIBE command: so no single command keeps Redis from others for long."""

_LOGGED_CHARACTERS = 100

Arrival = tuple[bytes, bytes | None]
"""A Redis channel and a payload published there; None if payloads may have been missed before this point."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Subscriber:
    """Receives the payloads published on Redis channels.

    A channel counts as subscribed only when Redis has confirmed it. A confirmation of a channel that was confirmed
    before means that the connection was lost in between: it shows as an `Arrival` of None, ahead of later events. The
    time for confirmations counts as `awake` does.
    """

    MESSAGE: ClassVar[bytes] = b"message"
    """The first part of Redis's reply with a payload."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        timeout: float,
        on_arrivals: Callable[[Sequence[Arrival]], None] = lambda arrivals: None,
        on_reconnect: Callable[[], object],
        awake: AwakeTime | None = None,
    ) -> None:
        self._awake = awake or AwakeTime()
        self._dialer = dialer
        self._patience = Patience()
        self._timeout = timeout
        self.on_arrivals = on_arrivals
        self._channels: dict[str, None] = {}
        self._confirmed: set[bytes] = set()
        # The callers that wait, by channel; and by the time at which their wait ends, which never decreases.
        self._confirming: dict[bytes, dict[asyncio.Future[None], None]] = {}
        self._deadlines: deque[tuple[float, bytes, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._connection: RedisConnection | None = None
        self._reconnector = Reconnector(f"subscription{dialer.of_node}", self._connect, on_reconnect)
        self._kept: KeptLoop | None = None

    async def __aenter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Begin to connect, in the running event loop."""
        self._awake.open()
        self._kept = KeptLoop(self._reconnector.run, "redis subscription")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            await self._kept.stop()
            self._awake.close()
        if self._timer is not None:
            self._timer.cancel()
        # No timer ends these waits any more.
        deadlines, self._deadlines = self._deadlines, deque()
        self._confirming.clear()
        for _, _, confirmation in deadlines:
            _fail(confirmation, Unavailable("the worker has closed its subscriptions"))
        if self._connection is not None:
            self._connection.abort()

    @property
    def loop(self) -> KeptLoop | None:
        """The loop that keeps the connection open; None before the subscriber is opened."""
        return self._kept

    @property
    def report(self) -> str:
        """Why no subscription is confirmed, for operators; "" if one is."""
        return self._reconnector.report

    def add(self, channel: str) -> None:
        """Subscribe to a channel, now or as soon as there is a connection, without waiting for the confirmation."""
        self._channels[channel] = None
        self._send_subscribe([channel])

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Return when Redis has confirmed all; raise `Unavailable` if it has not in time."""
        channels = list(channels)
        # Also for channels that are subscribed: Redis confirms each SUBSCRIBE, whether it changes anything or not.
        confirmations = [self._expect(channel) for channel in channels]
        self._send_subscribe(channels)
        for confirmation in confirmations:
            await confirmation

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """End the subscriptions to these channels."""
        # Nothing waits for the confirmation: a SUBSCRIBE that follows is sent later over the same connection, and so is
        # executed later. Until then some messages may still arrive, for which the rooms have no member.
        channels = list(channels)
        for channel in channels:
            self._channels.pop(channel, None)
            self._confirmed.discard(channel.encode())
            self._confirming.pop(channel.encode(), None)
        if self._connection is not None and channels:
            self._send_unsubscribe(self._connection, channels)

    def _expect(self, channel: str) -> asyncio.Future[None]:
        """Return a future for the confirmation of a channel; it is the caller's own, who may be cancelled."""
        self._channels[channel] = None
        confirmation: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._await_confirmation(channel.encode(), confirmation)
        return confirmation

    def _await_confirmation(self, channel: bytes, confirmation: asyncio.Future[None]) -> None:
        """Resolve the future when Redis confirms the channel, or fail it when the time for that is over."""
        self._confirming.setdefault(channel, {})[confirmation] = None
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].done():
            self._forget(*deadlines.popleft()[1:])
        deadlines.append((self._awake.now + self._timeout, channel, confirmation))
        if self._timer is None:
            self._timer = self._awake.call_at(deadlines[0][0], self._check_deadlines)

    def _forget(self, channel: bytes, confirmation: asyncio.Future[None]) -> None:
        """Forget a caller that waits no more: while Redis confirms nothing, nothing else would remove it."""
        waiting = self._confirming.get(channel)
        if waiting is not None:
            waiting.pop(confirmation, None)
            if not waiting:
                del self._confirming[channel]

    def _check_deadlines(self) -> None:
        """Give up the confirmations that should have come by now."""
        deadlines = self._deadlines
        while deadlines and (deadlines[0][2].done() or deadlines[0][0] <= self._awake.now):
            text = f"Redis did not confirm a subscription within {self._timeout:g} s"
            _, channel, confirmation = deadlines.popleft()
            _fail(confirmation, Unavailable(text))
            self._forget(channel, confirmation)
        self._timer = self._awake.call_at(deadlines[0][0], self._check_deadlines) if deadlines else None

    def rebuild(self, cause: RedisUnreachable) -> None:
        """Give the connection up for this cause, such as that it may be dead without a sign, and open another one."""
        if self._connection is not None:
            connection = self._connection
            connection.abort()
            self._lost(connection, cause)

    def follow(self, master: Address) -> None:
        """Connect anew if the connection leads to another Redis than the master."""
        if self._connection is not None and self._connection.address != master:
            self.rebuild(RedisUnreachable(NOT_MASTER, NOT_MASTER))

    async def _connect(self) -> None:
        connection = await self._dialer.open(self._receive, lambda: self._lost(connection), self._patience)
        self._connection = connection
        self._send_subscribe(list(self._channels))

    def _send_subscribe(self, channels: Sequence[str]) -> None:
        if self._connection is not None:
            for start in range(0, len(channels), _BATCH):
                self._connection.send(pack("SUBSCRIBE", *channels[start : start + _BATCH]))

    def _send_unsubscribe(self, connection: RedisConnection, channels: Sequence[str]) -> None:
        connection.send(pack("UNSUBSCRIBE", *channels))

    def _lost(self, connection: RedisConnection, cause: RedisUnreachable | None = None) -> None:
        # An aborted connection may report its loss late, when the next one is open already.
        if self._connection is connection:
            self._connection = None
            self._reconnector.disconnected(cause)

    def _receive(self, replies: Sequence[Any]) -> None:
        arrivals: list[Arrival] = []
        message = self.MESSAGE
        for reply in replies:
            # Nearly all replies are messages: this check is faster than `match`, which handles the others.
            if isinstance(reply, list) and reply[0] == message:
                arrivals.append((reply[1], reply[2]))
            else:
                self._note(reply, arrivals)
        if arrivals:
            self.on_arrivals(arrivals)

    def _note(self, reply: Any, arrivals: list[Arrival]) -> None:
        """Handle a reply that is no message: mostly a confirmation."""
        match reply:
            case [b"subscribe", channel, _]:
                self._confirm(channel, arrivals)
            case [b"unsubscribe", _, _]:
                pass
            case hiredis.ReplyError():
                self._refuse(refused(str(reply)))
            case _:
                text = "Redis sent an unexpected reply"
                self._refuse(RedisUnreachable(f"{text}: {reply!r:.{_LOGGED_CHARACTERS}}", text))

    def _confirm(self, channel: bytes, arrivals: list[Arrival]) -> None:
        self._reconnector.confirmed()
        if channel.decode() not in self._channels:
            # It has been left meanwhile. Nobody would forget it, and the next subscription would show a gap.
            return
        # Confirmed twice: the connection was lost in between, and messages with it. The None stands ahead of all
        # messages that arrive over the new one.
        if channel in self._confirmed:
            arrivals.append((channel, None))
        self._confirmed.add(channel)
        for confirmation in self._confirming.pop(channel, ()):
            if not confirmation.done():
                confirmation.set_result(None)

    def _refuse(self, cause: RedisUnreachable) -> None:
        """Connect again: after such a reply the worker does not know which channels are subscribed."""
        confirming, self._confirming = self._confirming, {}
        for waiting in confirming.values():
            for confirmation in waiting:
                _fail(confirmation, Unavailable().because(cause.report))
        self.rebuild(cause)


def _fail(confirmation: asyncio.Future[None], error: Unavailable) -> None:
    if not confirmation.done():
        confirmation.set_exception(error)
        # A caller that waits for several confirmations sees only the first error.
        confirmation.exception()
