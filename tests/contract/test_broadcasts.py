"""The contract of `Broadcasts`, for every backend."""

import asyncio
from typing import Any

import pytest

from relay.backend.broadcasts import BroadcastMember, Broadcasts
from relay.backend.memory.broadcasts import MemoryBroadcasts
from relay.backend.presence import PresenceEntry
from relay.backend.redis.broadcasts import RedisBroadcasts
from tests.contract.conftest import FakeWorker, MakeWorker, join

_entries: dict[str, PresenceEntry] = {}
"""The entries of members of the room, by which they leave it."""


def trees_of(worker: FakeWorker) -> Broadcasts:
    if worker.client is None or worker.keys is None:
        presence: Any = worker.presence
        return MemoryBroadcasts(presence._rooms)
    return RedisBroadcasts(worker.client, worker.keys)


async def enter(worker: FakeWorker, trees: Broadcasts, peer: str, most: int = 2) -> str:
    _entries[peer], _ = await join(worker, peer)
    return (await trees.enter("room", peer, "host", most)).source


async def size_of(worker: FakeWorker, trees: Broadcasts) -> int:
    """The number of members in the tree; 0 for none."""
    if isinstance(trees, MemoryBroadcasts):
        return len(trees._trees["room"].places) if "room" in trees._trees else 0
    assert worker.client is not None
    assert worker.keys is not None
    fields: int = await worker.client.call("HLEN", worker.keys.broadcast("room"))
    # Each member has two, and three are of the tree.
    return (fields - 3) // 2 if fields else 0


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
    assert await trees.find("room", "v1") == BroadcastMember("host", 1, initiator="host")
    assert await trees.find("room", "v3") == BroadcastMember("v1", initiator="host")


async def test_a_place_is_free_again_when_its_viewer_leaves(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    assert await enter(worker, trees, "v0", 1) == "host"
    await trees.leave("room", "v0")
    assert await trees.find("room", "host") == BroadcastMember(initiator="host")
    assert await enter(worker, trees, "v1", 1) == "host"


async def test_a_member_that_has_left_the_room_is_given_no_viewer(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    entry, _ = await join(worker, "v0")
    await trees.enter("room", "v0", "host", 1)
    await trees.set_relay("room", "v0", can_relay=True)
    await worker.presence.leave(entry)
    # Of the one that is not there, no place is told, but that of the initiator.
    assert await trees.find("room", "v0") == BroadcastMember(receivers=1, initiator="host")
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
    assert (await trees.enter("room", "v0", "host", 1)).source == "host"
    assert await trees.find("room", "v1") == BroadcastMember("v0", 0, can_relay=True, initiator="host")


async def test_members_that_nobody_takes_out_do_not_stay(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "v", 1)
    for number in range(130):
        entry, _ = await join(worker, f"gone{number}")
        await trees.enter("room", f"gone{number}", "host", 1)
        await worker.presence.leave(entry)
    assert await size_of(worker, trees) < 100
    # The place of the one that is there has not changed.
    await trees.set_relay("room", "v", can_relay=True)
    assert await trees.find("room", "v") == BroadcastMember(can_relay=True)
    assert await enter(worker, trees, "v0", 1) == "v"


async def test_receivers_that_nobody_takes_out_do_not_count_for_ever(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 100)
    # As many as stay until the next one enters.
    for number in range(66):
        assert await enter(worker, trees, f"v{number}", 100) == "host"
        await worker.presence.leave(_entries.pop(f"v{number}"))
    # The initiator enters anew, as it does to keep the tree alive.
    place = await trees.enter("room", "host", "host", 100)
    assert place.receivers == 0
    assert await trees.find("room", "host") == place


async def test_the_initiator_is_found_although_redis_has_lost_the_tree(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await join(worker, "host")
    assert await trees.find("room", "host") == BroadcastMember()
    assert await enter(worker, trees, "v0") == "host"
    assert await trees.find("room", "host") == BroadcastMember("", 1, initiator="host")
    assert await trees.find("elsewhere", "stranger") is None
    assert await trees.enter("elsewhere", "v0", "host", 2) == BroadcastMember()


async def test_of_many_that_come_at_once_each_has_a_place_within_the_bounds(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 2)
    await join(worker, "v0")
    await join(worker, "v1")
    places = await asyncio.gather(*[trees.enter("room", peer, "host", 2) for peer in ("v0", "v1")])
    assert [place.source for place in places] == ["host", "host"]
    assert await trees.find("room", "host") == BroadcastMember("", 2, initiator="host")


async def renamed(worker: FakeWorker, trees: Broadcasts, peer: str, new: str) -> None:
    """Rename a member as a page is renamed: it is in the room under both ids for a moment."""
    await join(worker, new)
    await trees.rename("room", peer, new)
    await left(worker, peer)


async def left(worker: FakeWorker, peer: str) -> None:
    await worker.presence.leave(_entries.pop(peer))


async def test_a_broadcast_goes_on_when_its_initiator_has_another_id(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 2)
    assert await enter(worker, trees, "v0") == "host"
    await renamed(worker, trees, "host", "star")
    assert await trees.find("room", "v0") == BroadcastMember("star", initiator="star")
    # The broadcast is found under its name, and viewers that do not know of the new id come in.
    assert await trees.find("room", "host") == BroadcastMember("", 1, initiator="star")
    assert await enter(worker, trees, "v1") == "star"
    # Another client under the id that the initiator had is a viewer.
    await trees.set_relay("room", "v1", can_relay=True)
    assert await enter(worker, trees, "host") == "v1"
    # The events of the old id come late.
    await trees.leave("room", "nobody")
    assert await size_of(worker, trees) == 4


async def test_a_viewer_with_another_id_keeps_its_receivers(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    await enter(worker, trees, "v0", 1)
    await trees.set_relay("room", "v0", can_relay=True)
    assert await enter(worker, trees, "v1", 1) == "v0"
    await renamed(worker, trees, "v0", "w0")
    assert await trees.find("room", "w0") == BroadcastMember("host", 1, can_relay=True, initiator="host")
    assert await trees.find("room", "v1") == BroadcastMember("w0", initiator="host")
    # Nobody receives from its own receivers under another name.
    await trees.set_relay("room", "v1", can_relay=True)
    assert (await trees.enter("room", "w0", "host", 1)).source == "host"
    await trees.leave("room", "v1")
    assert await trees.find("room", "w0") == BroadcastMember("host", initiator="host")


async def test_nobody_gets_the_place_of_another_by_its_id(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 2)
    await enter(worker, trees, "v0")
    await trees.rename("room", "v0", "host")
    await trees.rename("room", "stranger", "v1")
    await trees.rename("elsewhere", "v0", "v1")
    assert await trees.find("room", "host") == BroadcastMember("", 1, initiator="host")
    assert await trees.find("room", "v0") == BroadcastMember("host", initiator="host")


async def test_a_viewer_whose_source_has_left_the_room_has_none(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 1)
    await enter(worker, trees, "v0", 1)
    await trees.set_relay("room", "v0", can_relay=True)
    assert await enter(worker, trees, "v1", 1) == "v0"
    await left(worker, "v0")
    # Before and after the initiator has taken it out.
    for _ in range(2):
        assert await trees.find("room", "v1") == BroadcastMember(initiator="host")
        await trees.leave("room", "v0")


async def test_the_tree_ends_with_the_broadcast(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    await enter(worker, trees, "host", 2)
    await enter(worker, trees, "v0")
    await left(worker, "host")
    await trees.leave("room", "host")
    assert await size_of(worker, trees) == 0
    assert await trees.find("room", "v0") == BroadcastMember()
    # A broadcast of this name may begin anew, and a late notice of the one before does not end it.
    await enter(worker, trees, "host", 2)
    await trees.leave("room", "gone")
    assert await trees.find("room", "host") == BroadcastMember(initiator="host")


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_each_call_about_a_tree_lets_it_live_on(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    trees = trees_of(worker)
    assert worker.client is not None
    assert worker.keys is not None
    key = worker.keys.broadcast("room")
    await enter(worker, trees, "host")
    await enter(worker, trees, "v0")
    for call in (
        trees.enter("room", "host", "host", 2),
        trees.set_relay("room", "v0", can_relay=True),
        trees.rename("room", "v0", "v0"),
        trees.leave("room", "nobody"),
    ):
        await worker.client.call("PEXPIRE", key, 5000)
        await call
        assert await worker.client.call("PTTL", key) > 500_000
