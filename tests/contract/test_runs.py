"""The run of Redis, and rooms whose state is from an earlier one, over a real Redis (fakeredis has no run id)."""

import asyncio
from typing import Any

import pytest

from relay.backend.presence import JoinAttempt, JoinResult, PresenceEntry
from relay.backend.redis.vouching import has_living_workers
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import ClientGone, Unavailable
from tests.contract.conftest import LEASE, FakeWorker, MakeWorker, join

real_redis = pytest.mark.parametrize("backend", ["redis"], indirect=True)
over_fakeredis = pytest.mark.parametrize("backend", ["fakeredis"], indirect=True)


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("join_calls", "presence"):
        monkeypatch.setattr(f"relay.backend.redis.{module}.CONFIRMATION", 0.5)
    monkeypatch.setattr("relay.backend.redis.presence._WAITS", (500,) * 5 + (0,))


async def pretend_another_run(worker: FakeWorker) -> None:
    """Let Redis look as if it had been another one until now."""
    await worker.client.call("SET", worker.keys.run, "other.run 1")


async def learn(worker: FakeWorker) -> int:
    """Let a worker learn the run as on a new connection; returns the era."""
    worker.client.check_run()
    await worker.client.call("PING")
    return int(worker.client.era)


async def join_as(worker: FakeWorker, peer: str, **more: Any) -> JoinResult:
    return await worker.presence.join(JoinAttempt(room="room", peer=peer, offered="", fresh="f", **more))


@real_redis
async def test_the_first_worker_of_a_fleet_knows_no_earlier_run(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    assert await learn(a) == 0
    b = await make_worker("b")
    assert await learn(b) == 0
    stored = await a.client.call("GET", a.keys.run)
    assert stored.endswith(b" 0")
    assert await a.client.call("PTTL", a.keys.run) > 50_000


@real_redis
async def test_all_workers_know_the_era_of_another_run(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await pretend_another_run(a)
    seconds, _ = await a.client.call("TIME")
    era = await learn(a)
    assert era >= int(seconds) * 1_000_000
    b = await make_worker("b")
    assert (await learn(b), await learn(a)) == (era, era)


@real_redis
@pytest.mark.parametrize("value", [None, ("SET", "of another program"), ("RPUSH", "x")])
async def test_a_run_that_redis_has_lost_is_restored(make_worker: MakeWorker, value: tuple[str, str] | None) -> None:
    a = await make_worker("a")
    await pretend_another_run(a)
    era = await learn(a)
    await a.client.call("DEL", a.keys.run)
    if value:
        await a.client.call(value[0], a.keys.run, value[1])
    assert await learn(a) == era
    b = await make_worker("b")
    assert await learn(b) == era


@over_fakeredis
async def test_a_server_without_a_run_id_is_used_all_the_same(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    assert await learn(a) == 0
    assert await a.client.call("EXISTS", a.keys.run) == 0
    assert (await join_as(a, "p")).id.seq == 1


async def older_room(worker: FakeWorker) -> MessageId:
    """Make a room with one member, of an earlier run; returns its newest id."""
    _, joined = await join(worker, "p")
    await pretend_another_run(worker)
    await learn(worker)
    return joined.id


@real_redis
async def test_a_worker_that_has_seen_no_more_confirms_the_room(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    joined = await join_as(a, "q", seen=newest)
    assert joined.id == newest._replace(seq=newest.seq + 1)
    assert (await join_as(a, "r")).id.epoch == newest.epoch


@real_redis
async def test_a_replay_and_an_announcement_confirm_the_room(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    newest = await older_room(a)
    assert (await a.bus.replay("room", newest)).lost == ""
    assert (await join_as(a, "r1")).id.epoch == newest.epoch
    await pretend_another_run(b)
    await learn(b)
    await b.presence.announce([PresenceEntry("room", "q", 1, "f", seen=newest)])
    assert (await join_as(b, "r2")).id.epoch == newest.epoch


@real_redis
async def test_a_replay_from_the_beginning_confirms_nothing(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    await a.bus.replay("room", newest._replace(seq=0))
    assert (await join_as(a, "q")).id.epoch > newest.epoch


@real_redis
async def test_a_join_waits_for_a_worker_that_knows_the_room(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    newest = await older_room(a)
    await learn(b)
    joining = asyncio.create_task(join_as(b, "q"))
    await asyncio.sleep(0.15)
    assert not joining.done()
    await a.bus.replay("room", newest)
    assert (await joining).id.epoch == newest.epoch


@real_redis
async def test_without_such_a_worker_the_room_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    newest = await older_room(a)
    await learn(b)
    joined = await join_as(b, "q")
    assert (joined.id.seq, joined.id.epoch > newest.epoch) == (1, True)
    assert (await a.bus.replay("room", newest)).lost == "epoch"


@real_redis
async def test_a_room_without_members_is_not_waited_for(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    await a.client.call("DEL", a.keys.of_room("room")[1])
    async with asyncio.timeout(0.3):
        assert (await join_as(a, "q")).id.epoch > newest.epoch


@real_redis
async def test_a_worker_that_has_seen_more_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    assert (await a.bus.replay("room", newest._replace(seq=9))).lost == "epoch"
    assert (await join_as(a, "q")).id.epoch > newest.epoch


@real_redis
async def test_a_member_of_the_earlier_run_shows_once_that_redis_went_back(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    ahead = newest._replace(seq=9)
    resuming = JoinAttempt(room="room", peer="p", offered="f1", fresh="f1", since=ahead)
    begun = await a.presence.join(resuming)
    assert (begun.resumed, begun.id.epoch > newest.epoch) == (True, True)
    again = await a.presence.join(
        JoinAttempt(room="room", peer="p", offered="f1", fresh="f1", since=MessageId(begun.id.epoch, 99))
    )
    assert again.id.epoch == begun.id.epoch


@real_redis
@pytest.mark.parametrize("since", [MessageId(10**15, 1), MessageId(10**35, 10**3), BEFORE_ALL])
async def test_an_id_that_no_room_can_have_shows_nothing(make_worker: MakeWorker, since: MessageId) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    await a.bus.replay("room", newest)
    again = await a.presence.join(JoinAttempt(room="room", peer="p", offered="f1", fresh="f1", since=since))
    assert again.id.epoch == newest.epoch


@real_redis
async def test_no_id_of_a_client_begins_an_epoch_while_redis_is_the_same(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    _, joined = await join(a, "p")
    ahead = joined.id._replace(seq=99)
    again = await a.presence.join(JoinAttempt(room="room", peer="p", offered="f1", fresh="f1", since=ahead))
    assert again.id.epoch == joined.id.epoch


@real_redis
async def test_a_leave_by_a_worker_that_does_not_know_the_room_waits(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    entry = PresenceEntry("room", "p", 0, "f1")
    with pytest.raises(Unavailable, match="no worker has confirmed"):
        await a.presence.leave(entry)
    await a.bus.replay("room", newest)
    assert await a.presence.leave(entry)
    assert (await a.presence.roster("room")).id == newest._replace(seq=newest.seq + 1)


@real_redis
async def test_a_room_has_living_workers_once_all_have_renewed_their_leases(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    for worker in (a, b):
        await worker.leases.beat()
        await worker.presence.join(JoinAttempt(room="room", peer=f"of-{worker.lease.worker}", offered="", fresh="f"))
    duration = round(LEASE.duration * 1000)

    async def living() -> bool:
        return await has_living_workers(a.client, a.keys, duration, "room")

    assert await living()
    await asyncio.sleep(0.01)
    await pretend_another_run(a)
    await learn(a)
    await a.leases.beat()
    assert not await living()
    await b.leases.beat()
    assert await living()
    await b.client.call("ZREM", b.keys.workers, str(b.lease))
    assert not await living()
    await a.client.call("DEL", a.keys.of_room("room")[1])
    assert await living()
    await a.client.call(
        "HSET", a.keys.of_room("room")[1], *[part for n in range(65) for part in (f"p{n}", "1 l 0 - - 1-1")]
    )
    assert not await living()


@real_redis
async def test_a_join_whose_client_is_gone_does_not_wait(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    newest = await older_room(a)
    with pytest.raises(ClientGone):
        await join_as(a, "q", is_lost=lambda: True)
    assert (await a.presence.roster("room")).id == newest


@real_redis
async def test_another_run_is_known_although_its_memory_is_used_up(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await pretend_another_run(a)
    await a.client.call("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await learn(a) > 0
    finally:
        await a.client.call("CONFIG", "SET", "maxmemory", "0")
