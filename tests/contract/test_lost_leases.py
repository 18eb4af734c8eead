"""A Redis that loses leases, or the rooms registered under one, or goes back in time: no entry stays for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from relay.backend.presence import HeldMember, JoinAttempt, PresenceEntry
from relay.model.errors import Unavailable
from relay.model.events import MemberLeft
from tests.contract.conftest import SHORT, FakeWorker, MakeWorker, join

pytestmark = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)

Loss = Callable[[FakeWorker], Awaitable[None]]


async def lose_all(worker: FakeWorker) -> None:
    await lose_leases(worker)
    await lose_rooms(worker)
    await worker.client.call("DEL", *worker.keys.of_room("room"))


async def lose_leases(worker: FakeWorker) -> None:
    await worker.client.call("DEL", worker.keys.workers)


async def lose_rooms(worker: FakeWorker) -> None:
    await worker.client.call("DEL", worker.keys.worker_rooms(str(worker.lease)))


async def go_back(worker: FakeWorker) -> None:
    """Give the worker's lease the deadline of an earlier heartbeat."""
    score = float(await worker.client.call("ZSCORE", worker.keys.workers, str(worker.lease)))
    await worker.client.call("ZADD", worker.keys.workers, score - 50, str(worker.lease))


async def taken_over(survivor: FakeWorker, lease: str) -> list[HeldMember]:
    """Beat until the lease is dead, and take its members over."""
    async with asyncio.timeout(10):
        while lease not in (await survivor.leases.beat()).dead:
            await asyncio.sleep(0.05)
    members = [member async for batch in survivor.leases.adopt(lease) for member in batch]
    await survivor.leases.forget(lease)
    return members


@pytest.mark.parametrize("lose", [lose_all, lose_leases, lose_rooms])
async def test_a_member_that_joins_after_a_loss_is_found_when_its_worker_dies(
    make_worker: MakeWorker, lose: Loss
) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    await join(a, "earlier")
    await lose(a)
    await join(a)
    assert "peer" in [member.peer for member in await taken_over(b, str(a.lease))]


async def test_a_lease_that_a_worker_has_seen_is_found_after_the_loss_of_all_leases(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    await b.leases.beat()
    await join(a)
    await lose_leases(a)
    assert [member.peer for member in await taken_over(b, str(a.lease))] == ["peer"]


async def test_members_of_a_worker_whose_set_of_rooms_was_lost_are_found_in_the_rooms_of_the_survivors(
    make_worker: MakeWorker,
) -> None:
    a, b, c = await make_worker("a", duration=SHORT), await make_worker("b"), await make_worker("c")
    for worker in (a, b, c):
        await worker.leases.beat()
    for room, others in (("one", [b]), ("two", [c])):
        for worker in (a, *others):
            attempt = JoinAttempt(room=room, peer=str(worker.lease).partition("/")[0], offered="", fresh="f")
            await worker.presence.join(attempt)
    lease = str(a.lease)
    await lose_rooms(a)
    found = await asyncio.gather(taken_over(b, lease), taken_over(c, lease))
    assert [[(member.room, member.peer) for member in members] for members in found] == [[("one", "a")], [("two", "a")]]


@pytest.mark.parametrize(
    ("lose", "reason"), [(lose_all, "lost"), (lose_leases, "lost"), (lose_rooms, "lost"), (go_back, "older")]
)
async def test_a_worker_notices_the_loss_with_its_next_heartbeat(
    make_worker: MakeWorker, lose: Loss, reason: str
) -> None:
    worker = await make_worker("a")
    before = str(worker.lease)
    await worker.leases.beat()
    await join(worker)
    assert (await worker.leases.beat()).ended == ""
    await lose(worker)
    if lose is lose_all:
        await join(worker)
    assert (await worker.leases.beat()).ended == reason
    assert str(worker.lease) != before
    assert (await worker.leases.beat()).ended == ""


@pytest.mark.parametrize("lose", [lose_all, lose_leases, go_back])
@pytest.mark.parametrize("known", [True, False])
async def test_a_member_of_a_lost_lease_leaves_once(make_worker: MakeWorker, lose: Loss, known: bool) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await b.bus.subscribe(["room"])
    await a.leases.beat()
    lease = str(a.lease)
    await join(a, "earlier", fresh="e1")
    await lose(a)
    _, joined = await join(a, fresh="f2")
    entry = PresenceEntry("room", "peer", joined.generation if known else 0, "f2")
    assert (await a.leases.beat()).ended
    assert await a.presence.leave(entry, hold=0.01)
    await taken_over(b, lease)
    # The other worker has it now, and ends the membership.
    assert not await a.presence.leave(entry)
    assert await b.presence.leave(PresenceEntry("room", "peer", joined.generation))
    await b.received.until(lambda events: any(isinstance(event, MemberLeft) for event in events))
    assert not await b.presence.leave(PresenceEntry("room", "peer", joined.generation))


@pytest.mark.parametrize("lose", [lose_leases, go_back])
async def test_members_that_are_not_announced_are_taken_over_and_the_others_are_not(
    make_worker: MakeWorker, lose: Loss
) -> None:
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    lease = str(a.lease)
    connected, _ = await join(a, "connected")
    await join(a, "ghost")
    await lose(a)
    await a.leases.beat()
    assert list(await a.presence.announce([connected])) == []
    async with asyncio.timeout(10):
        while lease not in (await b.leases.beat()).dead:
            await a.leases.beat()
            await asyncio.sleep(0.05)
    assert [member.peer async for batch in b.leases.adopt(lease) for member in batch] == ["ghost"]
    held = {member.peer: member.held for member in (await b.presence.roster("room")).members}
    assert held == {"connected": False, "ghost": True}


async def test_a_join_that_arrives_after_the_end_of_the_lease_does_nothing(make_worker: MakeWorker) -> None:
    """Another worker may have taken the lease over, and would not find this member."""
    a, b = await make_worker("a", duration=SHORT), await make_worker("b", duration=SHORT)
    await a.leases.beat()
    await taken_over(b, str(a.lease))
    with pytest.raises(Unavailable):
        await a.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    with pytest.raises(Unavailable):
        await a.presence.announce([PresenceEntry("room", "peer", 1)])
    assert (await b.presence.roster("room")).count == 0
    assert (await a.leases.beat()).ended == "lapsed"
    await join(a)


async def test_a_worker_whose_lease_has_run_out_takes_no_members_over(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b", duration=0.3)
    await a.leases.beat()
    await join(a)
    await a.leases.retire()
    lease = str(a.lease)
    assert lease in (await b.leases.beat()).dead
    await asyncio.sleep(0.4)
    with pytest.raises(Unavailable, match="lapsed"):
        [batch async for batch in b.leases.adopt(lease)]
    assert (await b.presence.roster("room")).members[0].held is False


async def test_a_worker_that_stops_after_the_loss_of_its_lease_leaves_it_to_others(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await join(a)
    await lose_leases(a)
    await a.leases.retire()
    assert str(a.lease) in (await b.leases.beat()).retired
