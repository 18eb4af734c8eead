"""The places of an address in a room, for every backend: bounded in the whole fleet, and given up with the member."""

import asyncio
import re

import pytest
from msgspec import structs

from relay.backend.presence import JoinResult, PresenceEntry
from relay.model.errors import Refused
from tests.contract.conftest import ROOMS, FakeWorker, MakeWorker, join

HERE, THERE = "192.0.2.7", "2001:db8:0:1::/64"
over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)


async def fill(*workers: FakeWorker, address: str = HERE, keep: int = 0) -> list[PresenceEntry]:
    """Have an address take all its places but some, in turn on these workers; returns the entries."""
    joins = [
        join(workers[number % len(workers)], f"{address[:3]}-{number}", fresh=f"f{number}", address=address)
        for number in range(ROOMS.places - keep)
    ]
    return [entry for entry, _ in await asyncio.gather(*joins)]


async def is_full(worker: FakeWorker, address: str = HERE) -> bool:
    """Whether an address has no further place; takes none."""
    try:
        entry, _ = await join(worker, "probe", address=address)
    except Refused as error:
        assert error.code == "too_many_places"
        assert error.detail == {"room": "room"}
        return True
    assert await worker.presence.leave(entry)
    return False


async def resume(worker: FakeWorker, entry: PresenceEntry, address: str) -> tuple[PresenceEntry, JoinResult]:
    return await join(worker, entry.peer, offered=entry.current, fresh="next", address=address)


async def test_an_address_has_so_many_places_on_all_workers_together(make_worker: MakeWorker) -> None:
    a, b, c = [await make_worker(name) for name in "abc"]
    assert not await is_full(a)
    await fill(a, b)
    assert [await is_full(worker) for worker in (a, b, c)] == [True] * 3
    assert (await c.presence.roster("room")).count == ROOMS.places
    # Another address, and another room.
    assert not await is_full(c, THERE)
    await join(c, "anyone", address="")
    other = structs.replace((await join(c, "else", address=THERE))[0], peer="gone")
    assert not await c.presence.leave(other)


async def test_places_that_are_asked_for_at_once_are_counted(make_worker: MakeWorker) -> None:
    workers = [await make_worker(name) for name in "ab"]
    joins = [join(worker, f"p{number}{worker.lease}", address=HERE) for number in range(4) for worker in workers]
    results = await asyncio.gather(*joins, return_exceptions=True)
    refused = [one.code for one in results if isinstance(one, Refused)]
    assert sorted(refused) == ["too_many_places"] * (8 - ROOMS.places)


async def test_a_client_that_is_not_counted_takes_no_place(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for number in range(ROOMS.places + 1):
        await join(worker, f"p{number}")
    assert not await is_full(worker)


async def test_a_member_that_leaves_gives_its_place_up(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    entries = await fill(a)
    assert await a.presence.leave(entries[0])
    assert not await a.presence.leave(entries[0])
    assert not await is_full(b)
    await join(b, "another", address=HERE)
    assert await is_full(a)


async def test_a_held_member_keeps_its_place(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    for entry in await fill(a):
        assert await a.presence.leave(entry, hold=30)
    assert await is_full(b)


async def test_a_member_that_resumes_is_not_refused_and_takes_no_second_place(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    entries = await fill(a)
    assert await a.presence.leave(entries[0], hold=30)
    resumed, result = await resume(b, entries[0], HERE)
    assert result.resumed
    assert await is_full(a)
    assert await b.presence.leave(resumed)
    assert not await is_full(a)


async def test_a_place_moves_with_its_member_to_another_address(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    entries, there = await fill(a), await fill(a, address=THERE, keep=1)
    _, result = await resume(b, entries[0], THERE)
    assert result.resumed
    assert await is_full(a, THERE)
    assert not await is_full(a, HERE)
    # Also above its bound: a member is not lost because it has moved.
    moved, result = await resume(b, entries[1], THERE)
    assert result.resumed
    assert await b.presence.leave(moved)
    assert await is_full(a, THERE)
    assert await a.presence.leave(there[0])
    assert not await is_full(a, THERE)


async def test_the_members_of_a_dead_worker_keep_their_places_until_they_leave(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await fill(a)
    await a.leases.retire()
    [lease] = (await b.leases.beat()).dead
    adopted = [member async for batch in b.leases.adopt(lease) for member in batch]
    assert len(adopted) == ROOMS.places
    assert await is_full(b)
    for member in adopted:
        assert await b.presence.leave(PresenceEntry(member.room, member.peer, member.generation, tracked=True))
    assert not await is_full(b)


async def test_announcing_a_member_gives_it_its_place(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    entries = await fill(a, keep=1)
    # Once more, and as held.
    assert not await a.presence.announce(entries)
    assert not await a.presence.announce([structs.replace(entry, hold=30) for entry in entries])
    assert not await is_full(b)
    # One that Redis has lost, and one whose worker knows another address.
    new = PresenceEntry("room", "lost", entries[0].generation, "f", began=entries[0].began, address=HERE)
    assert not await a.presence.announce([new])
    assert await is_full(b)
    assert not await a.presence.announce([structs.replace(new, address=THERE)])
    assert not await is_full(b)


async def test_an_info_that_changes_and_a_roster_leave_the_place_alone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    entries = await fill(worker)
    for entry in entries:
        assert await worker.presence.change(structs.replace(entry, info=b'{"a":1}'))
    assert [bytes(one.info) for one in (await worker.presence.roster("room")).members] == [b'{"a":1}'] * ROOMS.places
    assert await is_full(worker)
    assert await worker.presence.leave(entries[0])
    assert not await is_full(worker)


async def test_a_join_whose_reply_was_lost_gives_its_place_up(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await fill(worker, keep=1)
    stamp = worker.stamp()
    await join(worker, "unknown", offered="key", fresh="f", stamp=stamp, address=HERE)
    assert await is_full(worker)
    assert await worker.presence.leave(PresenceEntry("room", "unknown", 0, "f", stamp=stamp))
    assert not await is_full(worker)
    await join(worker, "unknown", fresh="f", address=HERE)
    assert await worker.presence.leave(PresenceEntry("room", "unknown", 0, "f"))
    assert not await is_full(worker)


# The data in Redis.


async def places(worker: FakeWorker) -> list[bytes]:
    assert worker.client is not None
    assert worker.keys is not None
    return list(await worker.client.call("ZRANGE", worker.keys.places("room"), 0, -1))


@over_redis
async def test_redis_has_no_addresses_and_nothing_of_a_room_that_is_empty(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entries = await fill(worker)
    stored = await worker.client.call("HGETALL", worker.keys.of_room("room")[1]) + await places(worker)
    assert len(await places(worker)) == ROOMS.places
    assert not any(HERE.encode() in text for text in stored)
    assert 0 < await worker.client.call("PTTL", worker.keys.places("room")) <= ROOMS.state_ttl * 1000
    for entry in entries:
        await worker.presence.leave(entry)
    assert not await worker.client.call("EXISTS", worker.keys.places("room"))


@over_redis
async def test_one_address_has_another_tag_in_each_room(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    tag_of = worker.presence._tag_of
    tags = {tag_of(room, address) for room in ("room", "other") for address in (HERE, THERE)}
    assert len(tags) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{8}", tag) for tag in tags)
    assert tag_of("room", "") == ""


_OF_THE_VERSION_BEFORE = re.compile(rb"(\S+) (\S+) (\S+) (\S+) ([^ {@]+)([^ {]*)([^ ]*) (\S+)")
"""How scripts of the version before take an entry apart; the sixth part is the stamp with the tag and the mark."""


@over_redis
@pytest.mark.parametrize("offered", ["", "key"])
@pytest.mark.parametrize("stamp", ["", "@1700000000000000+5"])
async def test_workers_of_the_version_before_read_the_entry(make_worker: MakeWorker, offered: str, stamp: str) -> None:
    worker = await make_worker("a")
    presence = worker.keys.of_room("room")[1]
    entry, _ = await join(worker, offered=offered, fresh="f1", info=b'{"a":1}', stamp=stamp, address=HERE)
    for _ in range(2):
        found = _OF_THE_VERSION_BEFORE.fullmatch(await worker.client.call("HGET", presence, "peer"))
        assert found is not None
        *_, current, previous, attempt, info, _ = found.groups()
        assert (current, previous, info) == (b"f1", offered.encode() or b"-", b'{"a":1}')
        assert bool(re.match(rb"@\d+\+\d+", attempt)) == bool(offered and stamp)
        # It was the first member, and its next attempt with the same key shall be told so.
        assert attempt.endswith(b"!") == bool(offered and stamp)
        # As announced, it is the same.
        await worker.presence.announce([entry])


@over_redis
async def test_places_that_workers_of_the_version_before_left_behind_do_not_count(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    presence = worker.keys.of_room("room")[1]
    entries = await fill(worker)
    # One has removed a member, and another has written an entry without its tag.
    await worker.client.call("HDEL", presence, entries[0].peer)
    assert not await is_full(worker)
    assert len(await places(worker)) == ROOMS.places - 1
    await join(worker, "another", address=HERE)
    assert await is_full(worker)
    stored = await worker.client.call("HGET", presence, entries[1].peer)
    await worker.client.call("HSET", presence, entries[1].peer, re.sub(rb"#[A-Za-z0-9_-]{8}", b"", stored))
    assert not await is_full(worker)
    # It comes back to this version, and has its place again.
    await resume(worker, entries[1], HERE)
    assert await is_full(worker)


@over_redis
@pytest.mark.parametrize("of_another_type", [False, True])
async def test_places_that_redis_has_lost_come_back_with_the_members(
    make_worker: MakeWorker, of_another_type: bool
) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    entries = await fill(worker)
    await worker.client.call("DEL", worker.keys.places("room"))
    if of_another_type:
        await worker.client.call("SET", worker.keys.places("room"), "text")
    assert not await is_full(worker)
    assert not await worker.presence.announce(entries)
    assert await is_full(worker)
    assert await worker.presence.leave(entries[0])
    assert not await is_full(worker)


@over_redis
async def test_touching_a_room_renews_its_places(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await fill(worker)
    await worker.client.call("PEXPIRE", worker.keys.places("room"), 20_000)
    await worker.leases.touch({"room": ""})
    assert await worker.client.call("PTTL", worker.keys.places("room")) > 20_000
