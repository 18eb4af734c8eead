"""What a worker does in the background: its lease, the dead, the held, and the time to live of its rooms."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from relay.backend.bus import Bus
from relay.backend.presence import Leases, LeaseStatus
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.errors import RelayError, Unavailable
from relay.rooms.membership import Membership

log = logging.getLogger("relay.rooms.heartbeat")

_BATCH = 500
_DEAF_INTERVALS = 10


def beat_interval(lease: float) -> float:
    """Seconds between heartbeats: several in a lease, and at least two in the second that a ghost may outlive it."""
    return min(0.5, lease / 4)


class Heartbeat:
    """One task, one beat after another; each is a handful of commands, however many connections there are."""

    def __init__(
        self,
        membership: Membership,
        leases: Leases,
        bus: Bus,
        *,
        interval: float,
        lease: float,
        presence_ttl: float,
        probe_interval: float,
        clock: Clock,
        metrics: Metrics,
        on_deaf: Callable[[], None],
    ) -> None:
        self._membership = membership
        self._leases = leases
        self._bus = bus
        self._interval = interval
        self._lease = lease
        # A worker that begins, or was cut off, cannot tell the dead from those who were cut off as well: it gives them
        # the time of a lease to come back before it takes their members over.
        self._adopt_from = clock() + lease
        self._beaten: float | None = None
        self._touch_interval = presence_ttl / 3
        self._deaf_limit = probe_interval * _DEAF_INTERVALS
        self._clock = clock
        self._metrics = metrics
        self._on_deaf = on_deaf
        self._to_touch: deque[str] = deque()
        self._touches_owed = 0.0
        self._deaf_since: float | None = None
        self._must_announce = False
        self._refusal = ""

    @property
    def refusal(self) -> str:
        """Why Redis, which answers, does not do what a worker asks of it (it is full, say); "" while it does."""
        return self._refusal

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            due = self._clock() + self._interval
            try:
                await self._beat()
                await self._tend()
                self._note("")
            except RelayError as error:
                log.debug("beat: %s", error)
                # That it is away, or late, others tell.
                refused = isinstance(error, Unavailable) and self._bus.health().reachable
                self._note(error.text if refused else "")
            self._watch()
            await asyncio.sleep(max(0.0, due - self._clock()))
            self._metrics.loop_lag.observe(max(0.0, self._clock() - due))

    def _note(self, refusal: str) -> None:
        """Remember whether Redis refuses; logged once per change."""
        if refusal and not self._refusal:
            log.error("Redis refuses what this worker asks (%s); nobody can come or be heard meanwhile", refusal)
        elif self._refusal and not refusal:
            log.warning("Redis refuses no more")
        self._refusal = refusal

    async def _beat(self) -> None:
        beat = await self._renew()
        self._must_announce |= self._membership.untold
        if self._must_announce:
            await self._announce()
        for lease in beat.dead if self._clock() >= self._adopt_from else ():
            await self._adopt(lease, ended=lease in beat.retired)

    async def _renew(self) -> LeaseStatus:
        """Renew the lease; returns what was found."""
        beat = await self._leases.beat()
        now, before = self._clock(), self._beaten
        self._beaten = now
        if beat.lapsed or (before is not None and now - before >= self._lease - self._interval):
            # Whoever last renewed its lease a beat before this one may have been cut off with it.
            self._adopt_from = now + self._lease
        if beat.lapsed:
            self._metrics.lease_lapses.inc()
            log.warning("this worker's lease had lapsed; telling of its members anew")
            # Remembered until it succeeds: Redis may go away in the middle.
            self._must_announce = True
        return beat

    async def _renew_if_due(self) -> None:
        """To be called now and then in what may take longer than a lease."""
        if self._beaten is None or self._clock() - self._beaten >= self._interval:
            await self._renew()

    async def _announce(self) -> None:
        self._must_announce = False
        try:
            await self._membership.announce(self._renew_if_due)
        except BaseException:
            self._must_announce = True
            raise

    async def _adopt(self, lease: str, *, ended: bool) -> None:
        adopted = 0
        async for held in self._leases.adopt(lease):
            adopted += self._membership.take_over(held)
            await self._renew_if_due()
            if self._clock() < self._adopt_from:
                # This worker was as good as dead itself meanwhile.
                return
        await self._leases.forget(lease)
        if ended:
            log.info("worker %s has stopped; %d of its members were left to this worker", lease, adopted)
        else:
            self._metrics.dead_workers.inc()
            log.warning("worker %s is gone without a word; %d of its members were left to this worker", lease, adopted)

    async def _tend(self) -> None:
        now = self._clock()
        due = [departure for departure in self._membership.departures() if departure.hold or departure.due <= now]
        for start in range(0, len(due), _BATCH):
            await asyncio.gather(*[self._membership.settle(departure) for departure in due[start : start + _BATCH]])
        idle = list(self._membership.idle)
        await self._membership.unsubscribe_idle()
        rooms = self._next_to_touch()
        gone = [room for room in idle if not self._membership.occupied(room)]
        if rooms or gone:
            await self._leases.touch(rooms, gone)
            self._metrics.room_ttl_renewals.inc(len(rooms))

    def _next_to_touch(self) -> list[str]:
        """As many rooms as come to every one of them once in a third of their time to live."""
        rooms = self._membership.rooms()
        self._touches_owed += len(rooms) * self._interval / self._touch_interval
        if not self._to_touch:
            self._to_touch.extend(rooms)
        count = min(int(self._touches_owed), len(self._to_touch))
        self._touches_owed -= count
        return [self._to_touch.popleft() for _ in range(count)]

    def _watch(self) -> None:
        """A worker that stays deaf though Redis answers is of no use to its clients: send them elsewhere."""
        health = self._bus.health()
        self._metrics.held.set(sum(1 for _ in self._membership.departures()))
        self._metrics.ready.set(health.ready)
        self._metrics.probe_age.set(health.heard if health.heard is not None else float("nan"))
        if health.ready or not health.reachable:
            self._deaf_since = None
        elif self._deaf_since is None:
            self._deaf_since = self._clock()
        elif self._clock() - self._deaf_since > self._deaf_limit:
            log.error("deaf for %.0f s though Redis answers: sending the clients elsewhere", self._deaf_limit)
            self._deaf_since = None
            self._on_deaf()
