"""The use of addresses, counted by all workers of a fleet: quotas over each backend."""

import asyncio
import time

import pytest

from relay.backend.memory.usage import MemoryAddressUsage
from relay.backend.redis.usage import RedisAddressUsage
from relay.rooms.quotas import Quotas
from tests.contract.conftest import FakeWorker, MakeWorker


def quotas_of(worker: FakeWorker, most: int) -> Quotas:
    usage = (
        MemoryAddressUsage(time.time)
        if worker.client is None or worker.keys is None
        else RedisAddressUsage(worker.client, worker.keys)
    )
    return Quotas("rooms", most, usage, use="new rooms", setting="new-rooms-per-address")


async def test_a_quota_is_used_up(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    quota = quotas_of(worker, 5).of("192.0.2.1")
    for _ in range(5):
        assert quota.reserve()
        quota.use_reserved()
    # In the next minute there is a new one, and that may be now.
    assert not quota.reserve() or not quota.is_used_up


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_workers_learn_of_each_other(make_worker: MakeWorker) -> None:
    one, other = await make_worker("a"), await make_worker("b")
    assert one.client is not None
    assert other.client is not None
    quotas_of(one, 5).of("192.0.2.1").use(4)
    await one.client.call("TIME")
    quota = quotas_of(other, 5).of("192.0.2.1")
    quota.use(1)
    minute = other.client.clock.now // 60_000
    async with asyncio.timeout(10):
        while quota.open and other.client.clock.now // 60_000 == minute:
            await other.client.call("TIME")
