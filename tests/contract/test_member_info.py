"""The contract of member infos in `Presence`, for every backend."""

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs

from relay.backend.presence import PresenceEntry
from relay.model.envelope import MessageId
from relay.model.errors import OutcomeUnknown
from relay.model.events import MemberChanged, MemberJoined, MemberLeft, Present, TakenOver
from tests.contract.conftest import LOG, ROOMS, SHORT, FakeWorker, MakeWorker, join
from tests.contract.test_presence import until_dead

INFO, OTHER = '{"name":"Zoë O\'Hara","tags":["a b"]}'.encode(), b'{"muted":true}'


def after(message_id: MessageId, steps: int) -> MessageId:
    return MessageId(message_id.epoch, message_id.seq + steps)


async def test_a_join_with_info_is_a_join_and_a_change(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    _, joined = await join(a, info=INFO, roster=True)
    await b.received.until(lambda events: len(events) == 2)
    assert b.received.events == [
        MemberJoined("room", after(joined.id, -1), "peer"),
        MemberChanged("room", joined.id, "peer", INFO),
    ]
    assert (joined.info, joined.began) == (INFO, after(joined.id, -1))
    assert joined.roster.members == [Present("peer", info=INFO)]
    assert await b.presence.roster("room") == joined.roster


async def test_a_change_is_published_once_and_shows_in_rosters(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    entry, joined = await join(a)
    for info in (INFO, OTHER, OTHER, b""):
        assert await a.presence.change(structs.replace(entry, info=info))
        assert (await b.presence.roster("room")).members == [Present("peer", info=info)]
    await b.received.until(lambda events: len(events) == 4)
    assert b.received.events[1:] == [
        MemberChanged("room", after(joined.id, number), "peer", info)
        for number, info in enumerate((INFO, OTHER, b""), 1)
    ]
    # The change of an info takes no claim away.
    receipt = await a.publish("room", sender="peer", generation=joined.generation)
    assert receipt.id == after(joined.id, 4)


async def test_a_change_needs_the_lease_and_the_generation(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    entry, _ = await join(a, info=INFO)
    assert not await b.presence.change(structs.replace(entry, info=OTHER))
    assert not await a.presence.change(structs.replace(entry, info=OTHER, peer="other"))
    assert not await a.presence.change(structs.replace(entry, info=OTHER, room="other"))
    await join(a, offered="f1", fresh="f2")
    assert not await a.presence.change(structs.replace(entry, info=OTHER))
    assert (await a.presence.roster("room")).members == [Present("peer", info=INFO)]


async def test_a_membership_that_is_resumed_keeps_its_info_or_gets_another(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    entry, _ = await join(a, info=INFO)
    assert await a.presence.leave(entry, hold=30)
    assert (await a.presence.roster("room")).members == [Present("peer", held=True, info=INFO)]
    for offered, fresh, given, expected in (
        ("f1", "f2", b"", INFO),
        ("f2", "f3", INFO, INFO),
        ("f3", "f4", OTHER, OTHER),
    ):
        _, joined = await join(b, offered=offered, fresh=fresh, info=given)
        assert (joined.resumed, joined.info) == (True, expected)
        assert (await a.presence.roster("room")).members == [Present("peer", info=expected)]
    await b.received.until(lambda events: len(events) == 6)
    kinds = [type(event) for event in b.received.events[2:]]
    assert kinds == [TakenOver, TakenOver, TakenOver, MemberChanged]
    assert b.received.events[-1].id == joined.id


async def test_a_key_matches_beside_an_info(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await join(a, offered="own", fresh="f1", info=INFO)
    _, again = await join(a, offered="own", fresh="f2")
    assert (again.resumed, again.first, again.info) == (True, True, INFO)


async def test_info_ends_with_the_membership(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    entry, _ = await join(a, info=INFO)
    assert await a.presence.leave(entry)
    _, joined = await join(a)
    assert joined.info == b""
    assert (await a.presence.roster("room")).members == [Present("peer")]


async def test_members_that_are_taken_over_keep_their_info(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    await b.leases.beat()
    await join(a, info=INFO)
    await until_dead(b, str(a.lease))
    held = [member async for batch in b.leases.adopt(str(a.lease)) for member in batch]
    assert [one.peer for one in held] == ["peer"]
    assert (await b.presence.roster("room")).members == [Present("peer", held=True, info=INFO)]


async def test_an_announcement_restores_the_info(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await a.bus.subscribe(["room"])
    entry = PresenceEntry("room", "peer", 7, "f1", info=INFO)
    assert not await a.presence.announce([entry])
    assert not await a.presence.announce([entry])
    assert not await a.presence.announce([structs.replace(entry, generation=8, info=OTHER)])
    assert (await a.presence.roster("room")).members == [Present("peer", info=OTHER)]
    await a.received.until(lambda events: len(events) == 4)
    assert [(type(event), getattr(event, "info", None)) for event in a.received.events] == [
        (MemberJoined, None), (MemberChanged, INFO), (TakenOver, None), (MemberChanged, OTHER),
    ]  # fmt: skip


async def test_changes_are_in_the_history_and_count_towards_its_bytes(make_worker: MakeWorker) -> None:
    for most, lost in ((100_000, ""), (10, "too_much")):
        worker: FakeWorker = await make_worker(f"w{most}", replace(LOG, replay_bytes=most))
        entry, joined = await join(worker, f"peer{most}")
        assert await worker.presence.change(structs.replace(entry, info=INFO))
        replay = await worker.bus.replay("room", joined.id)
        assert replay.lost == lost
        assert list(replay.events) == ([] if lost else [MemberChanged("room", replay.id, f"peer{most}", INFO)])


async def test_a_roster_names_as_many_members_as_asked_for(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for number in range(ROOMS.members):
        await join(worker, f"peer{number}", info=b'{"n":%d}' % number)
    for limit, named in ((0, 0), (1, 1), (None, ROOMS.roster), (ROOMS.members, ROOMS.members), (1000, ROOMS.members)):
        roster = await worker.presence.roster("room", limit)
        assert (roster.count, len(roster.members)) == (ROOMS.members, named)
        assert all(one.info == b'{"n":%d}' % int(one.peer[4:]) for one in roster.members)


async def test_a_roster_has_a_bound_on_its_bytes(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", roster_bytes=250)
    info = b'{"text":"%b"}' % (b"x" * 80)
    for number in range(4):
        _, joined = await join(worker, f"peer{number}", info=info, roster=True)
    assert (joined.roster.count, len(joined.roster.members)) == (4, 2)
    assert (await worker.presence.roster("room", 100)).members[0].info == info


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_workers_of_the_earlier_version_can_read_the_entries_in_redis(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, "other")
    entry, joined = await join(worker, info=INFO)
    assert await worker.presence.change(structs.replace(entry, info=OTHER))
    _, presence, _, history, *_ = worker.keys.of_room("room")
    # Six fields, of which that version writes the fifth back as it is.
    assert len((await worker.client.call("HGET", presence, "peer")).split(b" ")) == 6
    # Messages to a member that does not exist; that version misses no id.
    entries = [fields[1] for _, fields in await worker.client.call("XRANGE", history, "-", "+")]
    assert entries[0] == b"j %b peer" % str(joined.began).encode()
    assert [text.split(b"\n")[0].split(b" ")[2:] for text in entries[1:]] == [[b"peer", b"$info"]] * 2


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_an_info_that_no_relay_wrote_reaches_no_client(make_worker: MakeWorker, caplog) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    _, joined = await join(worker)
    _, presence, *_ = worker.keys.of_room("room")
    good = await worker.client.call("HGET", presence, "peer")
    for bad in (b'{"a":1},"x":{}', b"{" + b"[" * 40, b'{"a":"%b"}' % (b"x" * 2000)):
        fields = good.split(b" ")
        fields[4] += bad
        await worker.client.call("HSET", presence, "peer", b" ".join(fields))
        assert (await worker.presence.roster("room")).members == [Present("peer")]
    text = b'm %d-%d peer $info\n""\n]' % after(joined.id, 1)
    await worker.client.call("PUBLISH", worker.keys.channel("room"), text)
    await worker.received.until(lambda events: len(events) == 2)
    assert worker.received.events[1] == MemberChanged("room", after(joined.id, 1), "peer", b"")
    assert "is no JSON object that a relay wrote" in caplog.text


@pytest.mark.parametrize("backend", ["redis"], indirect=True)
async def test_a_change_that_fails_inside_redis_can_be_repeated(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    entry, joined = await join(worker)
    history = worker.keys.of_room("room")[3]
    await worker.client.call("DEL", history)
    await worker.client.call("SET", history, "no stream")
    with pytest.raises(OutcomeUnknown):
        await worker.presence.change(structs.replace(entry, info=INFO))
    assert (await worker.presence.roster("room")).members == [Present("peer")]
    await worker.client.call("DEL", history)
    assert await worker.presence.change(structs.replace(entry, info=INFO))
    await worker.received.until(lambda events: len(events) == 2)
    assert worker.received.events[1] == MemberChanged("room", after(joined.id, 1), "peer", INFO)


async def test_the_members_of_a_room_may_all_change_at_once(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    entries = [(worker, (await join(worker, f"peer{number}"))[0]) for number, worker in enumerate((a, b, a, b))]
    assert all(
        await asyncio.gather(*[worker.presence.change(structs.replace(entry, info=INFO)) for worker, entry in entries])
    )
    assert await a.presence.leave(entries[0][1])
    await a.received.until(lambda events: isinstance(events[-1], MemberLeft))
    seqs = [event.id.seq for event in a.received.events]
    assert seqs == list(range(seqs[0], seqs[0] + 9))
