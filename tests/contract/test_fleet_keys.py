"""The contract of `FleetKeys`, for every backend."""

import asyncio
from collections.abc import Sequence

from relay.backend.fleet_keys import MOST_RECORDS
from relay.backend.memory.fleet_keys import MemoryFleetKeys
from relay.fleet_key import FleetKey
from tests.contract.conftest import FakeWorker, MakeWorker


async def share(worker: FakeWorker, key: FleetKey) -> bool:
    return key.agree(await worker.fleet_keys.agree(key.records, key.suggestion))


async def lose(worker: FakeWorker) -> None:
    """Lose the fleet key, as FLUSHALL does."""
    if isinstance(worker.fleet_keys, MemoryFleetKeys):
        worker.fleet_keys._records = ()
    else:
        for name in {worker.keys.fleet_key, *(group.fleet_key for group in worker.keys.lease_groups)}:
            await worker.client.call("DEL", name)


async def test_workers_that_begin_at_once_make_one_key(make_worker: MakeWorker) -> None:
    workers = [await make_worker(f"w{number}") for number in range(5)]
    keys = [FleetKey() for _ in workers]
    await asyncio.gather(*map(share, workers, keys))
    assert len({key.derive("p") for key in keys}) == 1
    assert {len(key.records) for key in keys} == {1}
    assert {key.records[0].partition("-")[2] for key in keys} <= {key.suggestion for key in keys}


async def test_a_lost_key_is_restored_by_any_worker(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    first, second, third = FleetKey(), FleetKey(), FleetKey()
    await share(a, first)
    await share(b, second)
    await lose(a)
    assert not await share(b, second)
    assert not await share(a, third)
    assert first.derive("p") == second.derive("p") == third.derive("p")


async def test_a_key_made_after_a_loss_gives_way_to_the_older_one(make_worker: MakeWorker) -> None:
    old, other, new = await make_worker("old"), await make_worker("other"), await make_worker("new")
    first, second, third = FleetKey(), FleetKey(), FleetKey()
    await share(old, first)
    await share(other, second)
    await lose(old)
    await share(new, third)
    assert third.derive("p") != first.derive("p")
    mac, before = third.sign("p", b"data"), first.sign("p", b"data")
    # One heartbeat of each worker, in the worst order.
    assert not await share(old, first)
    assert not await share(other, second)
    assert await share(new, third)
    assert first.derive("p") == second.derive("p") == third.derive("p")
    for key in (first, second, third):
        assert key.verify("p", b"data", mac)
        assert key.verify("p", b"data", before)


async def test_the_oldest_and_the_newest_records_are_remembered(make_worker: MakeWorker) -> None:
    worker = await make_worker("w")
    records = [f"{number:017}-{number:064x}" for number in range(1, 10)]
    for record in reversed(records):
        await worker.fleet_keys.agree([record], "f" * 64)
    remembered = list(await worker.fleet_keys.agree([], "f" * 64))
    assert remembered == [records[0], *records[1 - MOST_RECORDS :]]
    # In any order, and however often: all workers come to the same records.
    assert list(await worker.fleet_keys.agree(records[:4], "f" * 64)) == remembered
    assert list(await worker.fleet_keys.agree(remembered, "f" * 64)) == remembered


async def test_a_key_in_redis_has_a_time_to_live_and_a_foreign_value_is_replaced(make_worker: MakeWorker) -> None:
    worker, key = await make_worker("w"), FleetKey()
    if worker.client is None:
        return
    await share(worker, key)
    name = worker.keys.fleet_key
    assert 55_000 < await worker.client.call("PTTL", name) <= 60_000
    await worker.client.call("PEXPIRE", name, 1000)
    await share(worker, key)
    assert 55_000 < await worker.client.call("PTTL", name) <= 60_000
    for command in (("SET", name, "x" * 5000), ("SET", name, f"{1:017} {'A' * 64}"), ("SADD", name, "x")):
        await worker.client.call("DEL", name)
        await worker.client.call(*command)
        assert not await share(worker, key)
        assert await worker.client.call("GET", name) == key.records[0].encode()
        assert 55_000 < await worker.client.call("PTTL", name) <= 60_000


async def test_a_worker_gets_the_key_from_any_shard(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    first, second = FleetKey(), FleetKey()
    await share(a, first)
    if a.client is None or not a.client.clustered:
        return
    names = [a.keys.fleet_key, *(group.fleet_key for group in a.keys.lease_groups)]
    for name in names[:-1]:
        await a.client.call("DEL", name)
    await share(b, second)
    assert second.records == first.records
    # And gives it to all others.
    assert {await a.client.call("GET", name) for name in names} == {first.records[0].encode()}


async def test_shards_of_which_one_was_away_come_to_the_older_key(make_worker: MakeWorker) -> None:
    """Workers of which each has made a key at a shard that the other one did not reach."""
    a, b = await make_worker("a"), await make_worker("b")
    if a.client is None or not a.client.clustered:
        return
    older, newer = f"{1:017}-{'a' * 64}", f"{2:017}-{'b' * 64}"
    names = [a.keys.fleet_key, *(group.fleet_key for group in a.keys.lease_groups)]
    await a.client.call("SET", names[3], older)
    known: Sequence[str] = [newer]
    for _ in names:
        known = await b.fleet_keys.agree(known, "f" * 64)
    assert known == [older, newer]
    for _ in names:
        assert await b.fleet_keys.agree(known, "f" * 64) == known
    assert {await a.client.call("GET", name) for name in names} == {f"{older} {newer}".encode()}
