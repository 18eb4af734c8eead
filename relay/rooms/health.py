"""The health of one worker: its checks, and whether clients may be sent to it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from relay.backend.bus import Bus
from relay.backend.headroom import Headroom, Level
from relay.fleet_key import FleetKey
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.errors import RelayError, Unavailable
from relay.tasks import KeptLoop

log = logging.getLogger("relay.rooms.health")

_MOMENT = 0.05
"""Seconds for which the finding that a worker works stands, where handshakes ask."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: whether it passed, and the state in words; `seconds` is the age of the finding."""

    ok: bool
    text: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """A worker's state; `ready` when clients may be sent to it. `build` is as in `relay.build`, `uptime` in seconds."""

    ready: bool
    worker: str
    version: str
    build: str
    uptime: float
    rooms: int
    connections: int
    draining: bool
    checks: dict[str, Check]


class HealthMonitor:
    """Collects the findings of a worker's parts, and decides whether the worker works.

    `uses_redis` is false for a process without Redis, which has nothing to be cut off from. A worker without the fleet
    key cannot read the session ids of other workers, and makes ids that they refuse. A low `headroom`, or a lack of
    replicas, shows in the checks, and the worker is ready all the same: it serves its clients. `deaf_limit` is the
    number of seconds after which a worker that does not receive its own messages, although Redis answers, calls
    `on_deaf`.
    """

    def __init__(
        self,
        bus: Bus,
        fleet_key: FleetKey,
        *,
        headroom: Headroom,
        uses_redis: bool,
        deaf_limit: float,
        on_deaf: Callable[[], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._bus = bus
        self._fleet_key = fleet_key
        self._headroom = headroom
        self._uses_redis = uses_redis
        self._deaf_limit = deaf_limit
        self._on_deaf = on_deaf
        self._clock = clock
        self._metrics = metrics
        self._loops: list[KeptLoop] = []
        self._refusals: dict[str, str] = {}
        self._deaf_since: float | None = None
        self._worked_at = float("-inf")

    @property
    def refusal(self) -> str:
        """Why Redis answers and refuses this worker's commands (out of memory, for instance); "" if it does not."""
        return next(iter(self._refusals.values()), "")

    @property
    def reachable(self) -> bool:
        """Whether commands reach all of Redis, as far as is known."""
        return self._bus.health().reachable

    @property
    def works(self) -> bool:
        """Whether the worker can serve clients.

        Its loops run, Redis accepts its commands, its own probes come back, and it has the fleet key.
        """
        works = not self._refusals and self._loops_run
        if works and self._uses_redis:
            works = self._fleet_key.agreed and self._bus.health().ready
        self._worked_at = self._clock() if works else float("-inf")
        return works

    @property
    def worked_just_now(self) -> bool:
        """Whether the worker can serve clients, as of a moment ago: each of thousands of handshakes asks."""
        if self._clock() - self._worked_at > _MOMENT:
            return self.works
        return True

    def supervise(self, *loops: KeptLoop) -> None:
        """Count the worker as broken while one of these loops is dead."""
        self._loops.extend(loops)

    def note(self, source: str, error: RelayError | None) -> None:
        """Remember how a loop's last round went; logged once per change.

        Only a refusal counts, which has Redis's words. The bus finds out by itself that Redis is away, or answers late;
        and a worker that stood still is late itself, as its lease is over, and mends that with its next heartbeat.
        Of a cluster, the bus finds refusals as well: one shard that refuses concerns its own rooms alone.
        """
        before, bus = self.refusal, self._bus.health()
        if isinstance(error, Unavailable) and error.report and bus.reachable and bus.deaf is None:
            self._refusals[source] = error.report
        else:
            self._refusals.pop(source, None)
        if self._refusals and not before:
            log.error(
                "Redis refuses the commands of this worker (%s); clients cannot join or send until it accepts them",
                self.refusal,
            )
        elif before and not self._refusals:
            log.warning("Redis accepts the commands of this worker again")

    def watch(self) -> None:
        """Set the gauges, and notice a worker that stays deaf though Redis answers; called with each heartbeat.

        Such a worker is of no use to its clients, and they do not notice by themselves: `on_deaf` is to send them away.
        """
        health = self._bus.health()
        self._metrics.ready.set(health.ready)
        self._metrics.deaf_shards.set(float("nan") if health.deaf is None else len(health.deaf))
        self._metrics.probe_age.set(health.heard if health.heard is not None else float("nan"))
        if health.ready or not health.reachable:
            self._deaf_since = None
        elif self._deaf_since is None:
            self._deaf_since = self._clock()
        elif self._clock() - self._deaf_since > self._deaf_limit:
            log.error(
                "this worker received none of its own messages for %.0f s though Redis answers; closing its clients, "
                "so that they reconnect to other workers",
                self._deaf_limit,
            )
            self._deaf_since = None
            self._on_deaf()

    def checks(self, *, draining: bool) -> dict[str, Check]:
        """The checks that `/health` reports; costs nothing."""
        checks = (
            self._checks_of_redis()
            if self._uses_redis
            else {"bus": Check(ok=True, text="in this process; no Redis is configured")}
        )
        dead = [f"{loop.name} {loop.problem}" for loop in self._loops if loop.problem]
        runs = self._loops_run
        checks["heartbeat"] = Check(runs, "runs" if runs else "; ".join(dead) or "does not run yet")
        checks["memory"] = Check(self._headroom.level is Level.AMPLE, self._headroom.text)
        checks["draining"] = Check(not draining, "is stopping" if draining else "no")
        return checks

    def _checks_of_redis(self) -> dict[str, Check]:
        bus, refusal = self._bus.health(), self.refusal
        answers = bus.reachable and not refusal
        checks = {
            "redis": Check(answers, "answers" if answers else f"refuses: {refusal}" if refusal else bus.problem),
            "fleet_key": Check(self._fleet_key.agreed, self._state_of_fleet_key),
            "subscription": Check(bus.ready, "heard itself" if bus.ready else bus.problem, bus.heard),
            **({} if bus.deaf is None else {"shards": Check(not bus.deaf, "; ".join(bus.deaf) or "all are heard")}),
        }
        if bus.replicas:
            checks["replicas"] = Check(bus.replicated, bus.replicas)
        return checks

    @property
    def _state_of_fleet_key(self) -> str:
        if self._fleet_key.configured:
            return "is set by fleet-secret"
        return "is shared through Redis" if self._fleet_key.agreed else "was not read from Redis yet"

    @property
    def _loops_run(self) -> bool:
        return bool(self._loops) and not any(loop.problem for loop in self._loops)
