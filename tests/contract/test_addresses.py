"""The contract of `Addresses`: found while the lease is live, and no longer."""

import asyncio

from relay.backend.redis.addresses import RedisAddresses
from tests.contract.conftest import SHORT, FakeWorker, MakeWorker
from tests.fleet import eventually

ADDRESS = "10.0.0.1:8890"


def expected(worker: FakeWorker) -> str:
    """In memory, there is no other worker."""
    return ADDRESS if isinstance(worker.addresses, RedisAddresses) else ""


async def registered(one: FakeWorker, other: FakeWorker) -> bool:
    """Whether the other worker finds the address of the first one within a moment, on its own connection."""

    async def found() -> bool:
        return await other.addresses.find("owner-one") == expected(one)

    return bool(await eventually(found, 2))


async def test_a_heartbeat_registers_the_address(make_worker: MakeWorker) -> None:
    one, other = await make_worker("one"), await make_worker("other")
    assert await other.addresses.find("owner-one") == ""
    await one.leases.beat()
    assert await registered(one, other)
    assert await other.addresses.find("owner-two") == ""


async def test_a_worker_that_retires_withdraws_it_at_once(make_worker: MakeWorker) -> None:
    one, other = await make_worker("one"), await make_worker("other")
    await one.leases.beat()
    await one.leases.retire()
    assert await other.addresses.find("owner-one") == ""


async def test_it_ends_with_the_lease(make_worker: MakeWorker) -> None:
    one, other = await make_worker("one", duration=SHORT), await make_worker("other", duration=SHORT)
    await one.leases.beat()
    assert await registered(one, other)

    async def gone() -> bool:
        await other.leases.beat()
        return await other.addresses.find("owner-one") == ""

    await eventually(gone)


async def test_a_new_lease_of_the_same_worker_registers_it_again(make_worker: MakeWorker) -> None:
    one, other = await make_worker("one", duration=SHORT), await make_worker("other", duration=SHORT)
    await one.leases.beat()
    await asyncio.sleep(SHORT + 0.1)
    assert (await one.leases.beat()).lapsed
    assert await registered(one, other)


async def test_the_clock_of_a_retired_lease_counts_and_not_the_key(make_worker: MakeWorker) -> None:
    one, other = await make_worker("one"), await make_worker("other")
    await one.leases.beat()
    await one.leases.retire()
    await other.leases.beat()
    if one.client is not None and one.keys is not None:
        # As if the deletion had been lost.
        await one.client.call("SET", one.keys.address("owner-one"), f"{ADDRESS} {one.lease}")
    assert await other.addresses.find("owner-one") == ""


async def test_workers_have_the_same_clock(make_worker: MakeWorker) -> None:
    one, other = await make_worker("one"), await make_worker("other")
    await one.leases.beat()
    await other.leases.beat()
    assert abs(one.addresses.now() - other.addresses.now()) < 1000
