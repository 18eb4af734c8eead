"""The contract of `StandingsOf`: which members are held, and whether their workers are alive."""

import asyncio
from collections.abc import Mapping
from typing import cast

from relay.backend.memory.presence import MemoryPresence
from relay.backend.redis.standings import standings
from relay.model.standing import Standing
from tests.contract.conftest import FakeWorker, MakeWorker, join


async def found(worker: FakeWorker, *peers: str) -> Mapping[str, Standing]:
    if worker.client is None or worker.keys is None:
        return await cast(MemoryPresence, worker.presence).standings("room", peers)
    return await standings(worker.client, worker.keys, "room", peers)


async def test_members_are_connected_or_held_and_others_are_left_out(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    assert await found(worker, "ann") == {}
    await join(worker, "ann")
    entry, _ = await join(worker, "ben")
    await worker.presence.leave(entry, hold=30)
    assert {peer: one.held for peer, one in (await found(worker, "ann", "ben", "cem")).items()} == {
        "ann": False,
        "ben": True,
    }


async def test_a_heartbeat_moves_the_end_of_the_lease(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await join(worker, "ann")
    before = (await found(worker, "ann"))["ann"].lease_end
    await asyncio.sleep(0.01)
    await worker.leases.beat()
    assert (await found(worker, "ann"))["ann"].lease_end > before > 0


async def test_a_lease_that_is_gone_has_no_end(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await join(worker, "ann")
    if worker.client is not None and worker.keys is not None:
        await worker.client.call("ZREM", worker.keys.leases_of_room("room").workers, str(worker.lease))
        assert await found(worker, "ann") == {"ann": Standing(held=False, lease_end=0)}
