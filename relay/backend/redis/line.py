"""A line to one Redis: the subscriptions of a worker there, and the probe that shows whether they work."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from relay.awake import AwakeTime
from relay.backend.bus import BusHealth
from relay.backend.redis.client import RedisClient
from relay.backend.redis.replies import RedisUnreachable
from relay.backend.redis.subscriber import Arrival, Subscriber
from relay.model.errors import RelayError, Unavailable
from relay.tasks import KeptLoop

log = logging.getLogger("relay.backend.redis")

LineArrivals = Callable[["Line", Sequence[Arrival]], None]
"""Takes arrivals over a line that came together, in order; the probes of the line are among them."""


class Lines(Protocol):
    """The subscriptions of a worker, over all lines that it needs; `async with` opens and closes them."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def deliver(self, on_arrivals: LineArrivals) -> None:
        """Deliver to this callback; called once, before the lines are opened."""
        ...

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Return when Redis has confirmed all; raises `Unavailable` if it has not in time."""
        ...

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """End the subscriptions to these channels."""
        ...

    def add(self, channel: str) -> None:
        """Subscribe to a channel, now or as soon as possible, without waiting for the confirmation."""
        ...

    def health(self) -> BusHealth:
        """Return whether published events reach the worker."""
        ...

    def check(self, channel: str) -> None:
        """Raise `Unavailable` if the part of Redis with this channel is away for longer than a failover takes."""
        ...


class Line:
    """A subscriber, and a probe on a Redis channel of its own, which the commands of `client` publish.

    `publish` is the command for that. The line is ready while the probe comes back. Times count as `awake` does: a
    worker that stood still has not missed its probe.
    """

    def __init__(
        self,
        client: RedisClient,
        subscriber: Subscriber,
        *,
        probe: str,
        timeout: float,
        publish: str = "PUBLISH",
        awake: AwakeTime | None = None,
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._awake = awake or AwakeTime()
        self._clock = self._awake.read
        self._publish = publish
        self._channel = probe
        self.probe = probe.encode("ascii")
        """The Redis channel of the probe; `heard` is to be called for each arrival on it."""
        self.subscriber = subscriber
        subscriber.on_arrivals = self._arrived
        self._on_arrivals: LineArrivals = _nowhere
        self._heard: float | None = None
        self._opened = 0.0
        # When Redis answered the oldest probe that is still to come back; None if there is none.
        self._unheard: float | None = None
        # Why Redis refused the last probe, in its own words; "" if it took the probe, or is away.
        self._refusal = ""
        self._prober: KeptLoop | None = None
        self.subscribe = self.subscriber.subscribe
        self.unsubscribe = self.subscriber.unsubscribe
        self.add = self.subscriber.add

    async def __aenter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Begin to connect and to probe, in the running event loop."""
        self._awake.open()
        self._opened = self._clock()
        self.subscriber.open()
        self._prober = KeptLoop(self._probe, "bus probe")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._prober is not None:
            await self._prober.stop()
            self._awake.close()
        await self.subscriber.__aexit__(kind, error, trace)

    def deliver(self, on_arrivals: LineArrivals) -> None:
        """Deliver to this callback."""
        self._on_arrivals = on_arrivals

    def heard(self) -> None:
        """Note that a probe has come back."""
        self._heard, self._unheard = self._clock(), None

    def health(self) -> BusHealth:
        """Return the state: ready while the last own probe is not too long ago, and all tasks run."""
        heard = None if self._heard is None else self._clock() - self._heard
        dead = [f"{loop.name} {loop.problem}" for loop in self._loops() if loop.problem]
        if dead:
            return BusHealth(False, self._client.reachable, heard, "; ".join(dead))
        if heard is not None and heard <= self._timeout:
            return BusHealth(True, self._client.reachable, heard, self._client.report)
        since = "yet" if heard is None else f"for {heard:.1f} s"
        cause = (
            self._client.report
            or self.subscriber.report
            or self._refusal
            or "connected, but nothing arrives; connecting again"
        )
        return BusHealth(False, self._client.reachable, heard, f"own probe not heard {since}: {cause}")

    def check(self, channel: str) -> None:
        """Do nothing: while the only Redis is away, the worker is not ready, and other requests wait."""

    @property
    def away(self) -> float:
        """Seconds since the line last heard Redis; 0 while it has both of its connections, as far as is known."""
        if self._client.reachable and not self.subscriber.report:
            return 0.0
        return self._clock() - (self._opened if self._heard is None else self._heard)

    def probe_on(self, channel: str) -> None:
        """Publish the probe on another Redis channel from now on."""
        if channel != self._channel:
            self.unsubscribe([self._channel])
            self._channel, self.probe = channel, channel.encode("ascii")
            self._unheard = None
            self.add(channel)

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        self._on_arrivals(self, arrivals)

    def _probed(self) -> None:
        """Called after each probe."""

    def _loops(self) -> list[KeptLoop]:
        return [loop for loop in (self._prober, self.subscriber.loop, self._client.loop) if loop is not None]

    async def _probe(self) -> None:
        # A connection that is cut without a sign looks like one on which nothing is published. So the worker publishes
        # a probe itself: when it comes back, commands, Redis and the subscription have all worked.
        self.add(self._channel)
        while True:
            sent = self._clock()
            try:
                async with self._awake.limit(self._timeout):
                    await self._client.call(self._publish, self._channel, b"")
                self._refusal = ""
                if self._unheard is None and (self._heard is None or self._heard < sent):
                    self._unheard = self._clock()
            except (RelayError, TimeoutError) as error:
                self._refusal = error.report if isinstance(error, Unavailable) else ""
                log.debug("the probe could not be published")
            self._probed()
            # Also right after Redis has come back: the subscription may have died without a sign in the meantime.
            self._rebuild_if_deaf()
            await asyncio.sleep(self._timeout / 3)

    def _rebuild_if_deaf(self) -> None:
        # If commands fail as well, Redis is away, and another connection would not help; nor does it if Redis refuses
        # the probe, or if there is no subscription. The time runs from the answer to a probe: while the worker, or
        # Redis, stood still, there was none, and nothing was missed.
        usable = self._client.reachable and not self._refusal
        if usable and self._unheard is not None and self._clock() - self._unheard > self._timeout:
            self._unheard = None
            text = f"own probe not heard for {self._timeout:g} s"
            self.subscriber.rebuild(RedisUnreachable(f"subscription deaf: {text}", text))


def _nowhere(line: Line, arrivals: Sequence[Arrival]) -> None:
    pass
