"""Sharing the fleet key with the other workers through the backend."""

import asyncio
import logging

from relay.backend.fleet_keys import FleetKeys
from relay.fleet_key import FleetKey
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.errors import RelayError
from relay.rooms.health import HealthMonitor

log = logging.getLogger("relay.rooms.fleet_key_sharing")


class FleetKeySharing:
    """Shares the records of the fleet key with each heartbeat interval: one command.

    So a Redis that lost its data gets the key back, and workers with different keys come to the oldest one. It is a
    task of its own: announcing thousands of members after a loss must not delay it. A key that the operator has set is
    never shared.
    """

    def __init__(
        self,
        fleet_key: FleetKey,
        keys: FleetKeys,
        health: HealthMonitor,
        *,
        interval: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._fleet_key = fleet_key
        self._keys = keys
        self._health = health
        self._interval = interval
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Share until cancelled."""
        while True:
            due = self._clock() + self._interval
            await self.share()
            await asyncio.sleep(max(0.0, due - self._clock()))

    async def share(self) -> None:
        """One round. A failure is noted, and never raised; the worker goes on with the keys that it knows."""
        key = self._fleet_key
        if key.configured:
            return
        try:
            replaced = key.agree(await self._keys.agree(key.records, key.suggestion))
            self._health.note("fleet key", None)
        except RelayError as error:
            log.debug("sharing the fleet key failed: %s; retrying", error)
            self._health.note("fleet key", error)
            return
        if replaced:
            self._metrics.fleet_key_changes.inc()
            log.warning(
                "this worker changed to an older fleet key, which another worker restored after Redis had lost it; "
                "sessions under the newer key stay valid on workers that have seen it"
            )
