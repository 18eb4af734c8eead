"""Rounds of sharing, over fleet keys in memory with failures put in."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from relay.backend.bus import BusHealth
from relay.backend.headroom import Headroom
from relay.backend.memory.fleet_keys import MemoryFleetKeys
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.errors import Unavailable
from relay.rooms.fleet_key_sharing import FleetKeySharing
from relay.rooms.health import HealthMonitor


class Hearing:
    """A bus that is healthy."""

    def health(self) -> BusHealth:
        return BusHealth(ready=True, reachable=True, heard=0.0)


class Worker:
    def __init__(self, *configured: str) -> None:
        self.calls = 0
        self.shared = MemoryFleetKeys(lambda: 1.0)
        self.failures: list[Exception] = []
        self.key, self.metrics = FleetKey(configured), Metrics()
        self.health = HealthMonitor(
            Hearing(),
            self.key,
            headroom=Headroom(),
            uses_redis=True,
            deaf_limit=10,
            on_deaf=lambda: None,
            clock=lambda: 0.0,
            metrics=self.metrics,
        )
        self.sharing = FleetKeySharing(self.key, self, self.health, interval=0, clock=lambda: 0.0, metrics=self.metrics)

    async def agree(self, known: Sequence[str], suggestion: str) -> Sequence[str]:
        """As fleet keys."""
        self.calls += 1
        if self.failures:
            raise self.failures.pop()
        return await self.shared.agree(known, suggestion)


async def test_a_worker_agrees_and_keeps_its_key() -> None:
    worker = Worker()
    derived = worker.key.derive("p")
    await worker.sharing.share()
    assert worker.key.agreed
    assert worker.key.derive("p") == derived
    # The worker restores everything that Redis loses.
    worker.shared = MemoryFleetKeys(lambda: 2.0)
    await worker.sharing.share()
    assert worker.key.derive("p") == derived
    assert worker.metrics.registry.get_sample_value("relay_fleet_key_changes_total") == 0


async def test_a_replaced_key_is_counted_and_logged_without_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    worker, older = Worker(), f"{1:017}-{'a' * 64}"
    await worker.sharing.share()
    await worker.shared.agree([older], "")
    caplog.set_level(logging.DEBUG)
    await worker.sharing.share()
    assert worker.key.records[0] == older
    assert worker.metrics.registry.get_sample_value("relay_fleet_key_changes_total") == 1
    assert "older fleet key" in caplog.text
    assert "a" * 64 not in caplog.text
    assert worker.key.suggestion not in caplog.text


async def test_a_refusal_makes_the_worker_unready_until_the_next_round() -> None:
    worker = Worker()
    worker.failures = [Unavailable().because("Redis has no memory left")]
    await worker.sharing.share()
    assert not worker.key.agreed
    assert worker.health.refusal == "Redis has no memory left"
    await worker.sharing.share()
    assert worker.key.agreed
    assert worker.health.refusal == ""


async def test_a_key_that_is_set_is_never_shared() -> None:
    worker = Worker("x" * 32)
    await worker.sharing.share()
    assert worker.calls == 0


async def test_it_shares_again_and_again() -> None:
    worker = Worker()
    task = asyncio.create_task(worker.sharing.run())
    async with asyncio.timeout(5):
        while worker.calls < 3:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
