"""The contracts of `Presence` and `Leases`, for every backend."""

import asyncio

import pytest
from msgspec import structs

from relay.backend.presence import HeldMember, JoinAttempt, PresenceEntry
from relay.backend.stamps import join_previous
from relay.model.errors import OutcomeUnknown, Refused
from relay.model.events import MemberJoined, MemberLeft, Present, TakenOver
from tests.contract.conftest import SHORT, FakeWorker, MakeWorker, join


async def test_a_join_is_published_and_shows_in_rosters_of_all_workers(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await b.bus.subscribe(["room"])
    _, joined = await join(a, roster=True)
    assert not joined.resumed
    assert joined.roster.members == [Present("peer")]
    await b.received.until(lambda events: events)
    assert b.received.events == [MemberJoined("room", joined.id, "peer")]
    assert await b.presence.roster("room") == joined.roster
    assert (await b.list_rooms()).rooms == [("room", 1)]


async def test_a_room_without_members(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    roster = await worker.presence.roster("room")
    assert (roster.count, list(roster.members)) == (0, [])
    assert (await worker.list_rooms()).rooms == []


async def test_a_leave_is_published_once_and_has_the_next_id(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    entry, joined = await join(a)
    assert await a.presence.leave(entry)
    assert not await a.presence.leave(entry)
    await b.received.until(lambda events: len(events) == 2)
    assert isinstance(b.received.events[1], MemberLeft)
    assert b.received.events[1].id.seq == joined.id.seq + 1
    assert (await b.presence.roster("room")).count == 0
    assert (await a.list_rooms()).rooms == []


@pytest.mark.parametrize("hold", [0, 30])
async def test_a_connected_member_whose_entry_was_lost_leaves_all_the_same(
    make_worker: MakeWorker, hold: float
) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    entry, _ = await join(worker)
    await join(worker, "other")
    assert await worker.presence.leave(entry)
    lost = structs.replace(entry, connected=True)
    assert not await worker.presence.leave(lost, hold=hold)
    assert not await worker.presence.leave(structs.replace(lost, generation=0))
    await worker.received.until(lambda events: len(events) == 4)
    assert [type(event) for event in worker.received.events[2:]] == [MemberLeft] * 2
    assert worker.received.events[3].peer == "peer"
    # An entry of another generation is that of the client's next connection.
    await join(worker)
    assert not await worker.presence.leave(lost)
    assert (await worker.presence.roster("room")).count == 2


async def test_a_leave_from_a_room_that_was_lost_as_a_whole_begins_none(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    assert not await worker.presence.leave(PresenceEntry("room", "peer", 1, connected=True))
    assert not (await worker.presence.roster("room")).id.epoch


async def test_of_clients_that_join_at_once_exactly_one_is_first(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    joins = [join(worker, f"peer-{number}") for number in range(5) for worker in (a, b) if number % 2 == (worker is b)]
    taken = await asyncio.gather(*joins)
    assert sorted(joined.first for _, joined in taken) == [False] * 4 + [True]


async def test_a_held_member_keeps_others_from_being_first_but_not_itself(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    entry, joined = await join(a, "one", fresh="f1")
    assert joined.first
    await a.presence.leave(entry, hold=10)
    other, joined = await join(b, "two")
    assert not joined.first
    await b.presence.leave(other)
    _, joined = await join(b, "one", offered="f1", fresh="f2")
    assert joined.resumed
    assert joined.first


async def test_a_client_that_repeats_its_attempt_is_first_again(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    # So that sequence numbers of two digits occur: ids are numbers, and not text.
    for _ in range(4):
        assert await a.presence.leave((await join(a, "before"))[0])
    one, _ = await join(a, "one", offered="key-1", fresh="f1")
    two, joined = await join(b, "two", offered="key-2", fresh="f1")
    assert not joined.first
    await a.presence.leave(one, hold=10)
    await b.presence.leave(two, hold=10)
    _, joined = await join(b, "two", offered="key-2", fresh="f2")
    assert not joined.first
    _, joined = await join(b, "one", offered="key-1", fresh="f2")
    assert joined.first
    # This client received the reply, and resumes with the key in it.
    _, joined = await join(a, "one", offered="f2", fresh="f3")
    assert not joined.first


async def test_a_taken_peer_id_is_refused_without_the_right_key(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await join(a, fresh="f1")
    for offered in ("", "wrong", "-"):
        with pytest.raises(Refused) as refused:
            await join(b, offered=offered, fresh="f2")
        assert refused.value.code == "peer_taken"


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_lapse_is_reported_although_a_reply_was_lost(make_worker: MakeWorker, monkeypatch) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    before = str(a.lease)
    await until_dead(b, before)
    run, answers = a.client.run, []

    async def loses_the_second_answer(*arguments):
        answers.append(await run(*arguments))
        if len(answers) == 2:
            raise OutcomeUnknown
        return answers[-1]

    monkeypatch.setattr(a.client, "run", loses_the_second_answer)
    with pytest.raises(OutcomeUnknown):
        await a.leases.beat()
    assert (await a.leases.beat()).lapsed
    assert not (await a.leases.beat()).lapsed
    assert str(a.lease) != before


async def test_a_member_that_leaves_while_it_is_announced_has_left(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, _ = await join(worker)
    announcing = asyncio.ensure_future(worker.presence.announce([entry]))
    await asyncio.sleep(0)
    leaving = worker.presence.leave(entry)
    assert list(await announcing) == []
    assert await leaving
    assert (await worker.presence.roster("room")).count == 0


async def test_a_membership_began_with_its_first_join_through_all_takeovers(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    _, joined = await join(a)
    began = joined.id
    assert joined.began == began
    entry, joined = await join(b, offered="f1", fresh="f2")
    assert (joined.resumed, joined.began) == (True, began)
    assert await b.presence.leave(entry, hold=30)
    assert not await b.presence.announce([entry])
    entry, joined = await join(a, offered="f2", fresh="f3")
    assert (joined.resumed, joined.began) == (True, began)
    assert await a.presence.leave(entry)
    _, joined = await join(a, offered="f3")
    assert (joined.resumed, joined.began) == (False, joined.id)


async def test_a_resumption_publishes_a_takeover_and_neither_join_nor_leave(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    old, first = await join(a)
    new, second = await join(b, offered="f1", fresh="f2", roster=True)
    assert second.resumed
    assert new.generation > old.generation
    assert second.id.seq == first.id.seq + 1
    await a.received.until(lambda events: len(events) == 2)
    assert a.received.events[1] == TakenOver("room", second.id, "peer", second.generation)
    assert not await a.presence.leave(old)
    assert (await a.presence.roster("room")).count == 1


async def test_a_new_membership_can_be_resumed_with_the_key_that_was_offered(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    assert not (await join(worker, offered="f0", fresh="f1"))[1].resumed
    assert (await join(worker, offered="f0", fresh="f2"))[1].resumed  # the first answer was lost


async def test_a_resume_key_stays_good_until_the_next_is_used(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, fresh="f1")
    assert (await join(worker, offered="f1", fresh="f2"))[1].resumed
    assert (await join(worker, offered="f1", fresh="f3"))[1].resumed  # f2 never reached the client
    assert (await join(worker, offered="f3", fresh="f4"))[1].resumed
    with pytest.raises(Refused):
        await join(worker, offered="f1", fresh="f5")
    with pytest.raises(Refused):
        await join(worker, offered="f2", fresh="f5")


async def test_a_full_room_refuses_new_members_but_no_resumption(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for number in range(5):
        await join(worker, f"p{number}", fresh=f"f{number}")
    with pytest.raises(Refused) as refused:
        await join(worker, "p5")
    assert refused.value.code == "room_full"
    assert (await join(worker, "p3", offered="f3", fresh="g"))[1].resumed
    roster = await worker.presence.roster("room")
    assert (roster.count, len(roster.members)) == (5, 3)


async def test_a_hold_shows_in_the_list_and_ends_with_a_leave(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    entry, _ = await join(worker)
    assert await worker.presence.leave(entry, hold=30)
    assert (await worker.presence.roster("room")).members == [Present("peer", held=True)]
    assert await worker.presence.leave(entry)
    await worker.received.until(lambda events: len(events) == 2)
    assert isinstance(worker.received.events[1], MemberLeft)


async def test_the_end_of_a_hold_does_not_remove_a_member_that_resumed(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, _ = await join(worker)
    await worker.presence.leave(entry, hold=30)
    await join(worker, offered="f1", fresh="f2")
    assert not await worker.presence.leave(entry)
    assert (await worker.presence.roster("room")).members == [Present("peer")]


async def test_a_leave_of_the_same_turn_is_behind_the_join_that_took_the_member_over(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    entry, _ = await join(worker)
    joining = asyncio.create_task(join(worker, offered="f1", fresh="f2"))
    # The task begins, and then this goes on, in one turn of the event loop.
    await asyncio.sleep(0)
    assert not await worker.presence.leave(entry)
    _, result = await joining
    assert result.resumed
    assert (await worker.presence.roster("room")).members == [Present("peer")]


async def test_a_join_whose_reply_was_lost_can_be_undone_by_its_key(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, fresh="f1")
    assert not await worker.presence.leave(PresenceEntry("room", "peer", 0, "other"))
    assert await worker.presence.leave(PresenceEntry("room", "peer", 0, "f1"))
    assert not await worker.presence.leave(PresenceEntry("room", "nobody", 0, "f1"))


async def test_an_announcement_restores_an_entry_unless_a_newer_one_exists(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    old, _ = await join(a, fresh="f1")
    await a.presence.leave(old)
    await b.bus.subscribe(["room"])
    assert list(await a.presence.announce([old])) == []
    await b.received.until(lambda events: events)
    assert isinstance(b.received.events[0], MemberJoined)
    new, joined = await join(b, offered="f1", fresh="f2")
    assert joined.resumed
    assert list(await a.presence.announce([old])) == [old]
    assert list(await b.presence.announce([new])) == []


async def test_a_held_member_is_announced_as_held(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, _ = await join(worker)
    assert list(await worker.presence.announce([structs.replace(entry, hold=30)])) == []
    assert [member.held for member in (await worker.presence.roster("room")).members] == [True]
    await worker.presence.leave(entry)
    assert list(await worker.presence.announce([structs.replace(entry, hold=30)])) == []
    assert [member.held for member in (await worker.presence.roster("room")).members] == [True]
    assert list(await worker.presence.announce([entry])) == []
    assert [member.held for member in (await worker.presence.roster("room")).members] == [False]


async def _fail_over(worker: FakeWorker, present: PresenceEntry, earlier: PresenceEntry) -> None:
    """Replace a member's present entry by an earlier one, as a replica has it that lacks the last attempt."""
    assert await worker.presence.leave(present)
    assert list(await worker.presence.announce([earlier])) == []


async def test_a_hold_replaces_an_earlier_entry_of_the_same_membership(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    first, _ = await join(a, fresh="f1", stamp=a.stamp(3))
    for offered, fresh, ago in ("f1", "f2", 2), ("f2", "f3", 1):
        present, joined = await join(b, offered=offered, fresh=fresh, stamp=b.stamp(ago))
        assert joined.resumed
        await b.presence.leave(present, hold=30)
    await _fail_over(b, present, structs.replace(first, began=joined.began))
    assert await b.presence.leave(present, hold=30)
    assert [member.held for member in (await b.presence.roster("room")).members] == [True]
    _, again = await join(a, offered="f3", fresh="f4")
    assert again.resumed


async def test_a_leave_removes_an_earlier_entry_of_the_same_membership(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    first, _ = await join(a, fresh="f1", stamp=a.stamp(3))
    await a.presence.leave(first, hold=30)
    present, _ = await join(b, offered="f1", fresh="f2")
    await _fail_over(b, present, first)
    assert await b.presence.leave(present)
    assert (await b.presence.roster("room")).count == 0


async def test_an_older_attempt_with_a_higher_generation_takes_no_entry(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    first, _ = await join(a, fresh="f1", stamp=a.stamp(9))
    await a.presence.leave(first, hold=30)
    newest, _ = await join(b, offered="f1", fresh="f2", stamp=b.stamp(1))
    # A master of the past executed this one later, as its generation says; its client has given it up.
    older = structs.replace(
        newest, generation=newest.generation + 5, previous=join_previous("f1", a.stamp(5), first=False)
    )
    assert list(await a.presence.announce([older])) == [older]
    assert not await a.presence.leave(older, hold=30)
    assert not await a.presence.leave(older)
    assert [member.held for member in (await b.presence.roster("room")).members] == [False]
    assert await b.presence.leave(newest)


async def test_generations_grow_even_after_a_peer_has_left(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first, _ = await join(worker)
    await worker.presence.leave(first)
    second, _ = await join(worker)
    assert second.generation > first.generation


async def until_dead(survivor: FakeWorker, lease: str) -> None:
    """Wait until the survivor's heartbeat finds that the lease has run out."""
    async with asyncio.timeout(5):
        while lease not in (await survivor.leases.beat()).dead:
            await asyncio.sleep(0.05)


async def adopt(worker: FakeWorker, lease: str) -> list[HeldMember]:
    return [member for batch in [batch async for batch in worker.leases.adopt(lease)] for member in batch]


async def test_a_live_lease_is_not_reported_as_dead(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    assert (await a.leases.beat()).lapsed is False
    beat = await b.leases.beat()
    assert (beat.lapsed, list(beat.dead)) == (False, [])


async def until_adopted(survivor: FakeWorker, lease: str) -> list[HeldMember]:
    """Adopt the members under a dead lease.

    On a cluster, the lease ends in each group of slots by itself. On a busy machine, the group of the room may be later
    than the one in which the survivor has found the lease dead.
    """
    async with asyncio.timeout(5):
        while not (members := await adopt(survivor, lease)):
            await survivor.leases.beat()
        return members


async def until_forgotten(survivor: FakeWorker, lease: str) -> None:
    """Forget a dead lease; on a cluster, again for each group of slots in which it ends later."""
    async with asyncio.timeout(5):
        await survivor.leases.forget(lease)
        while lease in (await survivor.leases.beat()).dead:
            assert await adopt(survivor, lease) == []
            await survivor.leases.forget(lease)


async def test_members_of_a_dead_worker_are_held_by_a_survivor_and_then_leave(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    await join(a)
    dead = str(a.lease)
    await until_dead(b, dead)
    assert not (await b.leases.beat()).retired
    (hold,) = await until_adopted(b, dead)
    assert (hold.room, hold.peer) == ("room", "peer")
    assert 0 <= hold.seconds <= 0.4
    # Should the answer have been lost, it is joined again.
    (again,) = await adopt(b, dead)
    assert (again.room, again.peer, again.generation) == (hold.room, hold.peer, hold.generation)
    assert (await b.presence.roster("room")).members == [Present("peer", held=True)]
    await until_forgotten(b, dead)
    assert await b.presence.leave(PresenceEntry(hold.room, hold.peer, hold.generation))
    assert (await b.presence.roster("room")).count == 0


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_members_are_found_after_an_adoption_without_a_reply_though_the_dead_lease_is_forgotten(
    make_worker: MakeWorker, monkeypatch
) -> None:
    a, b, c = [await make_worker(name, duration=SHORT) for name in "abc"]
    await a.leases.beat()
    await join(a)
    dead = str(a.lease)
    await until_dead(b, dead)
    run = b.client.run

    async def loses_the_reply(*arguments):
        await run(*arguments)
        raise OutcomeUnknown

    monkeypatch.setattr(b.client, "run", loses_the_reply)
    with pytest.raises(OutcomeUnknown):
        await adopt(b, dead)
    monkeypatch.undo()
    # Another survivor finds nothing that is left to it.
    await until_dead(c, dead)
    assert await adopt(c, dead) == []
    await c.leases.forget(dead)
    assert list((await b.leases.beat()).dead) == [dead]
    (hold,) = await adopt(b, dead)
    await b.leases.forget(dead)
    assert await b.presence.leave(PresenceEntry(hold.room, hold.peer, hold.generation))
    assert list((await b.leases.beat()).dead) == []


async def test_a_worker_whose_lease_lapsed_begins_another(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    entry, _ = await join(a)
    before = str(a.lease)
    await until_dead(b, before)
    (hold,) = await adopt(b, before)
    assert (await a.leases.beat()).lapsed
    assert str(a.lease) != before
    assert list(await a.presence.announce([entry])) == []
    # The end of the survivor's hold does not remove the member any more.
    assert not await b.presence.leave(PresenceEntry(hold.room, hold.peer, hold.generation))
    assert (await b.presence.roster("room")).members == [Present("peer")]


async def test_a_worker_that_stops_retires_its_lease(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await a.leases.retire()
    await until_dead(b, str(a.lease))
    assert list((await b.leases.beat()).retired) == [str(a.lease)]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_keys_that_few_rooms_have_are_renewed_when_the_room_is_renewed_again(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await join(worker)
    call, options, subjects = worker.client.call, worker.keys.of_room("room")[4], worker.keys.subjects("room")
    assert (await worker.leases.touch({"room": "peer"})).again == []
    for key in (options, subjects):
        await call("HSET", key, "field", "value")
        await call("PEXPIRE", key, 20_000)
    touched = await worker.leases.touch({"room": "peer", "other": ""})
    assert (touched.lost, touched.again, touched.vacant) == ([], ["room"], [])
    assert (await worker.leases.touch({"room": "peer", "other": ""})).again == []
    assert [await call("PTTL", key) > 20_000 for key in (options, subjects)] == [True, True]
    # The knowledge ends with the keys, and with the room.
    await call("PEXPIRE", options, 20_000)
    await worker.leases.touch({"room": "peer"})
    assert await call("PTTL", options) > 20_000
    await call("DEL", options, subjects)
    await worker.leases.touch({"room": "peer"})
    await call("HSET", options, "field", "value")
    assert (await worker.leases.touch({"room": "peer"})).again == ["room"]
    await worker.leases.touch({}, ["room"])
    assert (await worker.leases.touch({"room": "peer"})).again == ["room"]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_touching_renews_rooms_and_unregisters_those_left(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.leases.beat()
    await join(worker)
    rooms, index = worker.keys.worker_rooms(str(worker.lease)), worker.keys.worker_index(str(worker.lease))
    assert list((await worker.leases.touch({"room": "peer"})).lost) == []
    assert list((await worker.leases.touch({"lost": "peer", "held": "", "room": "peer"})).lost) == ["lost"]
    assert list((await worker.leases.touch({"room": "lost"})).lost) == ["room"]
    assert await worker.client.call("SMEMBERS", rooms) == [b"room"]
    assert await worker.client.call("ZRANGE", index, 0, -1) == [b"room"]
    await worker.leases.touch({}, ["room"])
    assert await worker.client.call("SMEMBERS", rooms) == []
    assert await worker.client.call("ZRANGE", index, 0, -1) == []


async def test_an_attempt_that_may_only_resume_makes_no_new_member(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for offered in ("", "f1"):
        with pytest.raises(Refused) as refused:
            await worker.presence.join(
                JoinAttempt(room="room", peer="p", offered=offered, fresh="f2", resume_only=True)
            )
        assert refused.value.code == "not_joined"
    assert (await worker.presence.roster("room")).count == 0
    await worker.presence.join(JoinAttempt(room="room", peer="p", offered="", fresh="f1"))
    back = await worker.presence.join(JoinAttempt(room="room", peer="p", offered="f1", fresh="f2", resume_only=True))
    assert back.resumed
    with pytest.raises(Refused) as refused:
        await worker.presence.join(JoinAttempt(room="room", peer="p", offered="f9", fresh="f3", resume_only=True))
    assert refused.value.code == "peer_taken"
