"""The contract of `Broadcasts`, for every backend."""

import asyncio
from typing import Any

from relay.backend.broadcasts import BroadcastMember, Broadcasts
from relay.backend.memory.broadcasts import MemoryBroadcasts
from relay.backend.redis.broadcasts import RedisBroadcasts
from tests.contract.conftest import FakeWorker, MakeWorker, join


def trees_of(worker: FakeWorker) -> Broadcasts:
    if worker.client is None or worker.keys is None:
        presence: Any = worker.presence
        return MemoryBroadcasts(presence._rooms)
    return RedisBroadcasts(worker.client, worker.keys)


async def enter(worker: FakeWorker, trees: Broadcasts, peer: str, most: int = 2) -> str:
    await join(worker, peer)
    return await trees.enter("room", peer, "host", most)


async def size_of(worker: FakeWorker, trees: Broadcasts) -> int:
    if isinstance(trees, MemoryBroadcasts):
        return len(trees._trees["room"])
    assert worker.client is not None
    assert worker.keys is not None
    size: int = await worker.client.call("HLEN", worker.keys.broadcast("room"))
    return size


async def test_viewers_get_the_streams_from_the_initiator_and_then_from_each_other(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    assert await enter(worker, trees, "host") == ""
    assert [await enter(worker, trees, f"v{number}") for number in range(2)] == ["host", "host"]
    # Nobody can relay: the initiator sends to one more than it should.
    assert await enter(worker, trees, "v2") == "host"
    await trees.set_relay("room", "v1", can_relay=True)
    assert await enter(worker, trees, "v3") == "v1"
    # Then the one that was given a viewer last.
    await trees.set_relay("room", "v1", can_relay=False)
    assert await trees.find("room", "v1") == BroadcastMember("host", 1)
    assert await trees.find("room", "v3") == BroadcastMember("v1")


async def test_a_place_is_free_again_when_its_viewer_leaves(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    assert await enter(worker, trees, "v0", 1) == "host"
    await trees.leave("room", "v0")
    assert await trees.find("room", "host") == BroadcastMember()
    assert await enter(worker, trees, "v1", 1) == "host"


async def test_a_member_that_has_left_the_room_is_given_no_viewer(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    entry, _ = await join(worker, "v0")
    await trees.enter("room", "v0", "host", 1)
    await trees.set_relay("room", "v0", can_relay=True)
    await worker.presence.leave(entry)
    assert await trees.find("room", "v0") is None
    assert await enter(worker, trees, "v1", 1) == "host"


async def test_a_member_whose_source_has_gone_gets_another_and_never_one_of_its_own_receivers(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    await enter(worker, trees, "v0", 1)
    await trees.set_relay("room", "v0", can_relay=True)
    assert await enter(worker, trees, "v1", 1) == "v0"
    await trees.set_relay("room", "v1", can_relay=True)
    assert await trees.enter("room", "v0", "host", 1) == "host"
    assert await trees.find("room", "v1") == BroadcastMember("v0", 0, can_relay=True)


async def test_members_that_nobody_takes_out_do_not_stay(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "v", 1)
    for number in range(200):
        entry, _ = await join(worker, f"gone{number}")
        await trees.enter("room", f"gone{number}", "host", 1)
        await worker.presence.leave(entry)
    assert await size_of(worker, trees) < 100
    # The place of the one that is there has not changed.
    await trees.set_relay("room", "v", can_relay=True)
    assert await trees.find("room", "v") == BroadcastMember(can_relay=True)
    assert await enter(worker, trees, "v0", 1) == "v"


async def test_the_initiator_is_found_although_redis_has_lost_the_tree(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await join(worker, "host")
    assert await trees.find("room", "host") == BroadcastMember()
    assert await enter(worker, trees, "v0") == "host"
    assert await trees.find("room", "host") == BroadcastMember("", 1)
    assert await trees.find("room", "stranger") is None
    assert await trees.enter("elsewhere", "v0", "host", 2) == ""


async def test_of_many_that_come_at_once_each_has_a_place_within_the_bounds(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 2)
    await join(worker, "v0")
    await join(worker, "v1")
    sources = await asyncio.gather(*[trees.enter("room", peer, "host", 2) for peer in ("v0", "v1")])
    assert sources == ["host", "host"]
    assert await trees.find("room", "host") == BroadcastMember("", 2)
