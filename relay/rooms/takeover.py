"""Taking over the members of dead workers, in a task of its own."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Literal

from relay.backend.presence import Leases, LeaseStatus
from relay.metrics import Metrics
from relay.model.errors import RelayError
from relay.rooms.departures import Departures
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.trees import RoomTrees
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.takeover")

_End = Literal["died", "stopped", "lost"]

_LOGGED: Final[Mapping[_End, str]] = {
    "died": "worker %s died without ending its lease; this worker took over %d of its members and holds them",
    "stopped": "worker %s has stopped; this worker took over %d of its members and holds them",
    "lost": "Redis had lost the lease of worker %s, which has another one if it lives; this worker took over %d "
    "members that were left under it, and holds them",
}


class Takeover:
    """Takes dead workers' members into this worker's care: held, until their grace time ends.

    A takeover may move thousands of members. So it is not a part of the heartbeat, which only reports the dead leases:
    a worker that takes members over must renew its own lease in time, and end the memberships of its own held members.
    """

    def __init__(
        self,
        leases: Leases,
        departures: Departures,
        copies: RuleCopies,
        trees: RoomTrees,
        tasks: BackgroundTasks,
        metrics: Metrics,
    ) -> None:
        self._leases = leases
        self._departures = departures
        self._copies = copies
        self._trees = trees
        self._tasks = tasks
        self._metrics = metrics
        # By lease, how it ended.
        self._pending: dict[str, _End] = {}
        self._finished: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self, status: LeaseStatus) -> None:
        """Take over the members of dead leases, unless that is under way.

        Called with each heartbeat, so that a failed takeover, or a task that has died, begins again.
        """
        # A heartbeat that was on its way while a takeover finished still reports that lease. It is ignored once.
        for lease in status.dead:
            if lease not in self._finished:
                end: _End = "stopped" if lease in status.retired else "lost" if lease in status.lost else "died"
                self._pending[lease] = end
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
        end, adopted = self._pending[lease], 0
        async for members in self._leases.adopt(lease):
            # First: a leave that is due at once would end the entries by which the changes are found.
            await self._trees.take_over(members)
            adopted += self._departures.take_over(members)
            # The dead worker may have been the only one that could restore them.
            await self._copies.fetch(member.room for member in members)
            # `abandon` was called: the members of this batch are in this worker's care, and the lease stays, so that
            # another worker, or a later heartbeat of this one, goes on.
            if lease not in self._pending:
                return
        # Last: if this worker dies before, the lease is still there, and another worker finishes the takeover.
        await self._leases.forget(lease)
        self._finished.add(lease)
        if end == "died":
            self._metrics.dead_workers.inc()
        log.log(logging.WARNING if end == "died" else logging.INFO, _LOGGED[end], lease, adopted)
