"""Taking over the members of dead workers, in a task of its own."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from relay.backend.presence import Leases
from relay.metrics import Metrics
from relay.model.errors import RelayError
from relay.rooms.departures import Departures
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.takeover")


class Takeover:
    """Takes dead workers' members into this worker's care: held, until their grace time ends.

    A takeover may move thousands of members. So it is not a part of the heartbeat, which only reports the dead leases:
    a worker that takes members over must renew its own lease in time, and end the memberships of its own held members.
    """

    def __init__(self, leases: Leases, departures: Departures, tasks: BackgroundTasks, metrics: Metrics) -> None:
        self._leases = leases
        self._departures = departures
        self._tasks = tasks
        self._metrics = metrics
        # By lease, whether its worker had stopped by itself.
        self._pending: dict[str, bool] = {}
        self._finished: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self, dead: Sequence[str], retired: Collection[str]) -> None:
        """Take over the members of these leases, unless that is under way; `retired` are those of workers that stopped.

        Called with each heartbeat, so that a failed takeover, or a task that has died, begins again.
        """
        # A heartbeat that was on its way while a takeover finished still reports that lease. It is ignored once.
        for lease in dead:
            if lease not in self._finished:
                self._pending[lease] = lease in retired
        self._finished.clear()
        if self._pending and (self._task is None or self._task.done()):
            self._task = self._tasks.spawn(self._run(), "takeover")

    def abandon(self) -> None:
        """Stop after the present batch: this worker was cut off itself, so the leases that it saw may not be dead."""
        self._pending.clear()

    async def _run(self) -> None:
        while self._pending:
            lease = next(iter(self._pending))
            try:
                await self._take_over(lease)
            except RelayError as error:
                log.debug("taking over the members of worker %s failed (%s); retrying", lease, error)
            finally:
                self._pending.pop(lease, None)

    async def _take_over(self, lease: str) -> None:
        retired, adopted = self._pending[lease], 0
        async for members in self._leases.adopt(lease):
            adopted += self._departures.take_over(members)
            # `abandon` was called: the members of this batch are in this worker's care, and the lease stays, so that
            # another worker, or a later heartbeat of this one, goes on.
            if lease not in self._pending:
                return
        # Last: if this worker dies before, the lease is still there, and another worker finishes the takeover.
        await self._leases.forget(lease)
        self._finished.add(lease)
        if retired:
            log.info("worker %s has stopped; this worker took over %d of its members and holds them", lease, adopted)
        else:
            self._metrics.dead_workers.inc()
            log.warning(
                "worker %s died without ending its lease; this worker took over %d of its members and holds them",
                lease,
                adopted,
            )
