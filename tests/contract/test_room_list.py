"""The list of all rooms, page by page, over each backend."""

from typing import Any

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.model.room_list import RoomPage, RoomQuery
from tests.contract.conftest import FakeWorker, MakeWorker


async def enter(worker: FakeWorker, *rooms: str, peer: str = "p") -> list[PresenceEntry]:
    entries = []
    for room in rooms:
        joined = await worker.presence.join(
            JoinAttempt(room=room, peer=peer, offered="", fresh="f", stamp=worker.stamp())
        )
        entries.append(PresenceEntry(room, peer, joined.generation, "f"))
    return entries


async def all_pages(worker: FakeWorker, **query: Any) -> list[RoomPage]:
    pages = [await worker.list_rooms(RoomQuery(**query))]
    while pages[-1].next:
        pages.append(await worker.list_rooms(RoomQuery(**query | {"after": pages[-1].next})))
    return pages


async def test_pages_follow_each_other_by_name_and_name_each_room_once(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await b.leases.beat()
    await enter(a, "r3", "r1", "r4")
    await enter(b, "r5", "r3", "r2", peer="q")
    pages = await all_pages(a, limit=2)
    assert [page.rooms for page in pages] == [[("r1", 1), ("r2", 1)], [("r3", 2), ("r4", 1)], [("r5", 1)]]
    assert [page.total for page in await all_pages(b, limit=5)] == [5]


PREFIXES = {
    "": ["a", "a%20b", "a%2F", "a-", "ab", "b", "~"],
    "a": ["a", "a%20b", "a%2F", "a-", "ab"],
    "a%20": ["a%20b"],
    "a%2F": ["a%2F"],
    "~": ["~"],
    "c": [],
}


async def test_a_prefix_selects_rooms(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await enter(worker, "b", "ab", "a", "a-", "a%20b", "a%2F", "~")
    for prefix, found in PREFIXES.items():
        for limit in (1, 3, 100):
            pages = await all_pages(worker, prefix=prefix, limit=limit)
            assert [room for page in pages for room, _ in page.rooms] == found
            assert {page.total for page in pages} == {len(found)}


async def test_a_page_may_begin_behind_a_room_that_is_gone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    entries = await enter(worker, "a", "b", "c")
    assert await worker.presence.leave(entries[1])
    assert (await worker.list_rooms(RoomQuery(after="b"))).rooms == [("c", 1)]
    page = await worker.list_rooms(RoomQuery(after="a", limit=1))
    assert (page.rooms, page.next) == ([("c", 1)], "")


async def test_rooms_of_a_dead_worker_are_listed_until_they_are_taken_over_and_after(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await b.leases.beat()
    await enter(a, "r1", "r2")
    assert (await b.list_rooms()).rooms == [("r1", 1), ("r2", 1)]
    await a.leases.retire()
    status = await b.leases.beat()
    assert list(status.dead) == [str(a.lease)]
    async for _ in b.leases.adopt(str(a.lease)):
        pass
    await b.leases.forget(str(a.lease))
    assert (await b.list_rooms()).rooms == [("r1", 1), ("r2", 1)]
    await b.leases.touch({}, ["r1"])
    rooms = (await b.list_rooms()).rooms
    assert rooms == ([("r2", 1)] if b.client else [("r1", 1), ("r2", 1)])


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_an_index_that_redis_has_lost_is_not_missed(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await enter(worker, "r1", "r2")
    assert worker.client is not None
    assert worker.keys is not None
    await worker.client.call("DEL", worker.keys.worker_index(str(worker.lease)))
    assert (await worker.list_rooms()).rooms == [("r1", 1), ("r2", 1)]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_rooms_are_listed_again_when_their_worker_has_announced_its_members(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    entries = await enter(worker, "r1", "r2")
    assert worker.client is not None
    assert worker.keys is not None
    own = str(worker.lease)
    rooms = [key for entry in entries for key in worker.keys.of_room(entry.room)]
    await worker.client.call(
        "DEL", worker.keys.workers, worker.keys.worker_rooms(own), worker.keys.worker_index(own), *rooms
    )
    assert (await worker.list_rooms()).rooms == []
    assert (await worker.leases.beat()).lapsed
    await worker.presence.announce(entries)
    assert (await worker.list_rooms()).rooms == [("r1", 1), ("r2", 1)]
    index = await worker.client.call("ZRANGE", worker.keys.worker_index(str(worker.lease)), 0, -1)
    assert index == [b"r1", b"r2"]
