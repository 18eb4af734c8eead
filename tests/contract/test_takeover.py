"""A takeover beside the worker's own duties, over a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay.backend.factory import backend_settings, build_backend
from relay.backend.presence import ADOPTION_BATCH, JoinAttempt
from relay.backend.redis.leases import RedisLeases
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.gateways.native.gateway import NativeCodec
from relay.ids import IdGenerator
from relay.metrics import Metrics
from relay.model.workers import LocalWorkers
from relay.rooms.claim import Claim
from relay.rooms.composition import WorkerBasis, WorkerParts, compose
from relay.rooms.heartbeat import beat_interval
from relay.rooms.member import Member
from tests.conftest import new_prefix
from tests.unit.rooms.world import FakeConnection

ROOMS = 3 * ADOPTION_BATCH
LEASE, LEASE_OF_THE_DEAD, GRACE = 4.0, 2.0, 0.5


async def leave_members_of_a_dead_worker(settings: Settings) -> None:
    backend = build_backend(
        backend_settings(settings, heartbeat_interval=beat_interval(LEASE_OF_THE_DEAD)),
        worker="dead",
        sink=lambda batch: None,
        fleet_key=FleetKey(),
        metrics=Metrics(),
        clock=time.monotonic,
    )
    async with backend:
        await backend.leases.beat()
        for start in range(0, ROOMS, ADOPTION_BATCH):
            attempts = [
                JoinAttempt(room=f"room{number}", peer="p", offered="", fresh="f")
                for number in range(start, start + ADOPTION_BATCH)
            ]
            await asyncio.gather(*map(backend.presence.join, attempts))


@asynccontextmanager
async def survivor(settings: Settings, metrics: Metrics) -> AsyncIterator[WorkerParts]:
    basis = WorkerBasis(settings, "survivor", LocalWorkers(), FleetKey(), metrics, IdGenerator(), time.monotonic)
    parts = compose(basis, on_deaf=lambda: None)
    async with parts.backend:
        parts.tasks.spawn(parts.heartbeat.run(), "heartbeat")
        parts.tasks.spawn(parts.upkeep.run(), "upkeep")
        yield parts
        await parts.tasks.cancel()


async def test_own_departures_and_the_lease_do_not_wait_for_a_takeover(redis_url: str, monkeypatch) -> None:
    """Between two batches, the takeover waits until a member that was lost meanwhile has left, and for two heartbeats.

    A worker whose heartbeat awaits the takeover never gets past the first batch.
    """
    prefix = new_prefix()

    def lasting(lease: float) -> Settings:
        return Settings(redis_url=redis_url, redis_prefix=prefix, worker_lease=lease, reconnect_grace=GRACE)

    await leave_members_of_a_dead_worker(lasting(LEASE_OF_THE_DEAD))
    metrics, beats, adopted = Metrics(), 0, 0
    watcher = Member(FakeConnection(), NativeCodec(), "own", "watcher", presence=True)
    beat, adopt = RedisLeases.beat, RedisLeases.adopt

    async def counted_beat(self):
        nonlocal beats
        status = await beat(self)
        beats += 1
        return status

    async def waiting_adopt(self, lease):
        nonlocal adopted
        async for members in adopt(self, lease):
            yield members
            adopted += len(members)
            beats_before, name = beats, f"lost after {adopted}".replace(" ", "-")
            lost = Member(FakeConnection(), NativeCodec(), "own", name)
            await parts.membership.join(lost, Claim(), since=None)
            await parts.membership.leave(lost, hold=True)
            while beats < beats_before + 2 or name not in left(watcher):
                await asyncio.sleep(0.01)

    monkeypatch.setattr(RedisLeases, "beat", counted_beat)
    monkeypatch.setattr(RedisLeases, "adopt", waiting_adopt)
    async with survivor(lasting(LEASE), metrics) as parts, asyncio.timeout(50):
        await parts.membership.join(watcher, Claim(), since=None)
        while adopted < ROOMS or len(left(watcher)) < ROOMS // ADOPTION_BATCH:
            await asyncio.sleep(0.05)
    assert metrics.registry.get_sample_value("relay_lease_lapses_total") == 0


def left(watcher: Member) -> list[str]:
    """The members whose leave the watcher was sent."""
    return [peer for event in watcher.connection.sent for peer in event.get("left", ())]
