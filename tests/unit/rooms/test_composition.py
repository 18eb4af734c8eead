"""The parts of a worker, connected."""

import asyncio

from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.gateways.native.gateway import NativeCodec
from relay.ids import IdGenerator
from relay.metrics import Metrics
from relay.model.events import Gap
from relay.model.workers import LocalWorkers
from relay.rooms.claim import Claim
from relay.rooms.composition import WorkerBasis, WorkerParts, compose
from relay.rooms.member import Member
from tests.unit.rooms.world import FakeConnection


def parts_of(**settings) -> WorkerParts:
    clock = asyncio.get_running_loop().time
    basis = WorkerBasis(Settings(**settings), "w", LocalWorkers(), FleetKey(), Metrics(), IdGenerator(), clock)
    return compose(basis, on_deaf=lambda: None)


async def test_events_of_the_bus_reach_the_hub_and_presence_is_sent_soon() -> None:
    parts = parts_of()
    async with parts.backend:
        watcher = Member(FakeConnection(), NativeCodec(), "room", "a", presence=True)
        await parts.membership.join(watcher, Claim(), since=None)
        await parts.membership.join(Member(FakeConnection(), NativeCodec(), "room", "b"), Claim(), since=None)
        async with asyncio.timeout(5):
            while len(watcher.connection.sent) < 2:
                await asyncio.sleep(0.005)
        assert watcher.connection.sent[1]["joined"] == ["b"]


async def test_a_gap_that_the_hub_finds_is_recovered() -> None:
    parts = parts_of()
    async with parts.backend:
        member = Member(FakeConnection(), NativeCodec(), "room", "a")
        await parts.membership.join(member, Claim(), since=None)
        await asyncio.sleep(0)
        parts.hub.deliver([Gap(["room"])])
        assert parts.hub.rooms["room"].recovering
        async with asyncio.timeout(5):
            while parts.hub.rooms["room"].recovering:
                await asyncio.sleep(0)


async def test_a_worker_over_redis_is_ready_only_when_it_has_heard_itself() -> None:
    assert "subscription" in parts_of(redis_url="redis://localhost:1").health.checks(draining=False)
    assert "subscription" not in parts_of().health.checks(draining=False)


async def test_a_departure_that_ends_leaves_a_room_to_be_unsubscribed() -> None:
    parts = parts_of(reconnect_grace=0)
    async with parts.backend:
        member = Member(FakeConnection(), NativeCodec(), "room", "a")
        await parts.membership.join(member, Claim(), since=None)
        await parts.membership.leave(member, hold=True)
        await parts.upkeep.work()
        assert (await parts.directory.roster("room")).count == 0
        assert len(parts.hub.rooms) == 0
