"""The heartbeat: a worker renews its lease, and learns which other workers are dead."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from relay.awake import AwakeTime
from relay.backend.presence import LeaseEnd, Leases, LeaseStatus
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.errors import RelayError
from relay.rooms.announcer import Announcer
from relay.rooms.health import HealthMonitor
from relay.rooms.takeover import Takeover

log = logging.getLogger("relay.rooms.heartbeat")

_SEVERITY: Sequence[LeaseEnd] = ("", "lapsed", "lost", "older")
"""Why leases end. The work that follows one of these ends includes the work that follows the ones before it."""

_REASONS: Mapping[LeaseEnd, str] = {
    "lapsed": "this worker's lease had lapsed (cut off from Redis, or blocked); announcing its members again",
    "lost": "Redis has lost data: this worker's lease or its set of rooms is gone (emptied, restarted without its "
    "data, or evicting keys?); announcing the members of this worker again",
    "older": "Redis was replaced or restarted, or has older data than this worker wrote (a replica became the master, "
    "or a snapshot was restored?); announcing the members of this worker again",
}

_MISSED = 3
"""Intervals without a successful heartbeat after which Redis counts as away."""


def beat_interval(lease: float) -> float:
    """Seconds between heartbeats: several in a lease, and at least two in a second, to find dead leases soon."""
    return min(0.5, lease / 4)


@dataclass(frozen=True, slots=True)
class HeartbeatTiming:
    """How long a lease is valid, and how often it is renewed; seconds."""

    lease: float
    interval: float


class Heartbeat:
    """Renews the worker's lease: a handful of commands a beat, however many connections there are.

    Nothing that may take long is awaited here, but for announcing all members after a lapse; meanwhile, the lease is
    renewed. Members of dead workers are left to the takeover, which is a task of its own.

    When a beat succeeds after Redis `is_away`, `on_return` is called with the time of the last one before, if a beat
    failed since, or began without a connection: a Redis that answers late was there all the time. A worker that stood
    still has missed its beats by itself: `awake` tells the two apart.
    """

    def __init__(
        self,
        leases: Leases,
        announcer: Announcer,
        takeover: Takeover,
        health: HealthMonitor,
        timing: HeartbeatTiming,
        *,
        on_return: Callable[[float], None],
        clock: Clock,
        metrics: Metrics,
        awake: AwakeTime | None = None,
    ) -> None:
        self._awake = awake or AwakeTime()
        # The time of the last beat by that clock.
        self._awake_beat = 0.0
        self._renewing = asyncio.Lock()
        # Whether Redis was not reached at some time since the last beat.
        self._cut_off = False
        self._leases = leases
        self._on_return = on_return
        self._announcer = announcer
        self._takeover = takeover
        self._health = health
        self._timing = timing
        self._clock = clock
        self._metrics = metrics
        # A worker that starts, or was cut off, cannot tell dead workers from others that were cut off as well. It waits
        # for the time of a lease, in which those come back, before it takes members over.
        self._take_over_from = clock() + timing.lease
        self._last_beat: float | None = None
        self._must_announce: LeaseEnd = ""

    @property
    def is_away(self) -> bool:
        """Whether several beats in a row are missing: Redis cannot be used, as far as this worker knows."""
        silent = self._awake.read() - self._awake_beat
        return self._last_beat is not None and silent >= _MISSED * self._timing.interval

    async def run(self) -> None:
        """Beat until cancelled."""
        self._awake.open()
        try:
            while True:
                due = self._clock() + self._timing.interval
                await self.beat()
                await asyncio.sleep(max(0.0, due - self._clock()))
                self._metrics.loop_lag.observe(max(0.0, self._clock() - due))
        finally:
            self._awake.close()

    async def beat(self) -> None:
        """Renew the lease; announce members and begin takeovers if need be. Failures are noted, and never raised."""
        try:
            status = await self._renew()
            if self._must_announce or self._announcer.needed:
                await self._announce()
            if self._clock() >= self._take_over_from:
                self._takeover.begin(status)
            self._health.note("heartbeat", None)
        except RelayError as error:
            self._cut_off = True
            log.debug("heartbeat failed: %s", error)
            self._health.note("heartbeat", error)
        self._health.watch()

    async def _renew(self) -> LeaseStatus:
        self._cut_off |= not self._health.reachable
        status = await self._leases.beat()
        now, last = self._clock(), self._last_beat
        if last is not None and self.is_away and self._cut_off:
            self._on_return(last)
        self._cut_off = False
        self._last_beat, self._awake_beat = now, self._awake.read()
        if status.ended in {"lost", "older"}:
            # Other workers take over the rest of the old lease at this time, too: see `Leases.beat`.
            self._take_over_from = now + self._timing.lease - 2 * self._timing.interval
            self._takeover.abandon()
        elif status.ended or (last is not None and now - last >= self._timing.lease - self._timing.interval):
            # A worker that beat one interval before this one may have been cut off together with it.
            self._take_over_from = now + self._timing.lease
            self._takeover.abandon()
        if status.ended:
            self._count(status.ended)
            # Remembered until it succeeds: Redis may go away in the middle.
            self._must_announce = max(self._must_announce, status.ended, key=_SEVERITY.index)
        return status

    async def _renew_if_due(self) -> None:
        async with self._renewing:
            if self._last_beat is None or self._clock() - self._last_beat >= self._timing.interval:
                await self._renew()

    async def _announce(self) -> None:
        # Reset first: the lease may end again while members are announced, which asks for another round.
        ended, self._must_announce = self._must_announce or "lapsed", ""
        announcing = asyncio.ensure_future(self._announcer.announce_all(self._renew_if_due, ended))
        try:
            # A part of Redis that is away delays the end: in the others, the lease must not lapse again.
            while not (await asyncio.wait([announcing], timeout=self._timing.interval))[0]:
                await self._renew_if_due()
            announcing.result()
        except BaseException:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
            self._must_announce = max(self._must_announce, ended, key=_SEVERITY.index)
            raise

    def _count(self, ended: LeaseEnd) -> None:
        if ended == "lapsed":
            self._metrics.lease_lapses.inc()
        else:
            self._metrics.redis_losses.labels(ended).inc()
        log.warning(_REASONS[ended])
