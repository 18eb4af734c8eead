"""The queue of the webhook's events: joins and leaves write them; they are moved, taken and bounded."""

import asyncio
from collections.abc import Sequence

import pytest

from relay.backend.presence import PresenceEntry
from relay.backend.rules import Kicking
from relay.backend.webhooks import OUTBOX_EVENTS, WebhookBatch
from relay.model.webhook_events import WebhookEvent
from tests.contract.conftest import CLAIM, SHORT, FakeWorker, MakeWorker, join
from tests.fleet import RedisServer

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
over_a_real_one = pytest.mark.parametrize("backend", ["redis"], indirect=True)


async def move(worker: FakeWorker) -> None:
    """Move the events of all rooms that the worker has noted."""
    assert worker.webhook is not None
    while worker.outboxes:
        worker.outboxes.moved(await worker.webhook.move(worker.outboxes.take(50)))


async def take(worker: FakeWorker, most: int = 1000, done: WebhookBatch | None = None) -> WebhookBatch:
    assert worker.webhook is not None
    batch = await worker.webhook.take(most, done=done)
    assert batch is not None
    return batch


def shown(events: Sequence[WebhookEvent]) -> list[str]:
    return [f"{event.type} {event.peer} {event.reason}".strip() for event in events]


async def test_joins_and_leaves_are_told_in_order(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=100)
    first, joined = await join(worker, "p", info=b'{"a":"b c"}', token_subject="a subject, with 100 % of ß")
    second, _ = await join(worker, "q", fresh="f2")
    await worker.presence.leave(first)
    await worker.presence.leave(second)
    await move(worker)
    events = (await take(worker)).events
    assert shown(events) == ["room_opened p", "joined p", "joined q", "left p left", "left q left", "room_closed q"]
    assert [event.room for event in events] == ["room"] * 6
    assert (events[1].info, events[1].subject) == (b'{"a":"b c"}', "a subject, with 100 % of ß")
    assert events[0].position == events[1].position == str(joined.began)
    assert len({event.id for event in events}) == 6
    positions = [tuple(map(int, event.position.split("-"))) for event in events]
    assert positions == sorted(positions)
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert not any(event.restored for event in events)


async def test_a_member_that_is_held_and_returns_is_not_told(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=100)
    entry, _ = await join(worker, "p")
    await worker.presence.leave(entry, hold=30)
    back, again = await join(worker, "p", offered="f1", fresh="f2")
    assert again.resumed
    await worker.presence.leave(PresenceEntry("room", "p", back.generation, reason="lost"))
    await move(worker)
    assert shown((await take(worker)).events) == ["room_opened p", "joined p", "left p lost", "room_closed p"]


async def test_members_that_are_put_out_are_told_with_the_reason(make_worker: MakeWorker) -> None:
    worker, other = await make_worker("a", webhook=100), await make_worker("b", webhook=100)
    for peer in ("p", "q", "r"):
        await join(worker, peer, fresh=peer)
    assert await other.rules.kick(Kicking(room="room", peer="q")) == 1
    assert await other.rules.close("room") == 2
    await move(worker)
    await move(other)
    told = shown((await take(worker)).events)
    assert told[:5] == ["room_opened p", "joined p", "joined q", "joined r", "left q kicked"]
    assert sorted(told[5:7]) == ["left p closed", "left r closed"]
    assert [one.partition(" ")[0] for one in told[7:]] == ["room_closed"]


async def test_a_member_that_was_lost_with_its_entry_is_told_once_more(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=100)
    entry, _ = await join(worker, "p")
    other = PresenceEntry("room", "q", entry.generation + 1, "f", info=b'{"x":1}')
    await worker.presence.announce([entry, other])
    await move(worker)
    events = (await take(worker)).events
    assert shown(events) == ["room_opened p", "joined p", "joined q"]
    assert [event.restored for event in events] == [False, False, True]
    assert events[2].info == b'{"x":1}'


@over_redis
async def test_nothing_is_written_without_a_webhook(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, _ = await join(worker, "p")
    await worker.presence.leave(entry)
    assert worker.client is not None
    assert worker.keys is not None
    assert await worker.client.call("EXISTS", worker.keys.outbox("room")) == 0
    assert not worker.outboxes


async def test_a_batch_stays_until_it_is_done(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=100)
    for number in range(4):
        await join(worker, f"p{number}", fresh=f"f{number}")
    await move(worker)
    first = await take(worker, 2)
    assert (shown(first.events), first.queued) == (["room_opened p0", "joined p0"], 5)
    assert (await take(worker, 2)).events == first.events
    second = await take(worker, 10, done=first)
    assert (shown(second.events), second.queued) == (["joined p1", "joined p2", "joined p3"], 3)
    assert (await take(worker, 10, done=second)).events == []
    # The same change again changes nothing.
    assert (await take(worker, 10, done=first)).events == []


async def test_the_oldest_are_dropped_and_counted_but_not_those_that_were_taken(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=4)
    entry, _ = await join(worker, "p")
    await move(worker)
    taken = await take(worker, 2)
    for number in range(3):
        await worker.presence.leave(entry)
        entry, _ = await join(worker, f"p{number}", fresh="f")
        await move(worker)
    assert sum(worker.dropped) == 10
    again = await take(worker, 2)
    assert again.events == taken.events
    assert again.dropped == 10
    told = await take(worker, 10, done=taken)
    assert (shown(told.events), told.dropped, told.notice) == (["room_opened p2", "joined p2"], 10, again.notice)
    after = await take(worker, 10, done=told)
    assert (after.events, after.dropped, after.notice) == ([], 0, "")


async def test_the_queue_is_bounded_by_bytes_as_well(make_worker: MakeWorker) -> None:
    """Events of 1.3 KB: of five, three have the bytes that the queue may have. Those that were sent do not count."""
    worker = await make_worker("a", webhook=5)
    info = b'{"a":"%b"}' % (b"x" * 1000)
    for _ in range(2):
        entries = [(await join(worker, f"{number}" * 250, fresh="f", info=info))[0] for number in range(5)]
        await move(worker)
        batch = await take(worker)
        assert [event.type for event in batch.events] == ["joined"] * 3
        assert batch.dropped == 3
        await take(worker, 0, done=batch)
        for entry in entries:
            await worker.presence.leave(entry)
        await move(worker)
        batch = await take(worker)
        assert [event.type for event in batch.events] == ["left"] * 4 + ["room_closed"]
        await take(worker, 0, done=batch)


async def test_a_queue_of_small_events_is_bounded_by_number_alone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=20)
    for _ in range(6):
        for number in range(5):
            entry, _ = await join(worker, f"p{number}", fresh="f")
            await worker.presence.leave(entry)
        await move(worker)
        batch = await take(worker)
        assert len(batch.events) == 20
        await take(worker, 0, done=batch)
    assert not worker.dropped


async def test_a_number_that_is_being_told_does_not_grow(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=2)

    async def come_and_go() -> None:
        entry, _ = await join(worker, "p", fresh="f")
        await worker.presence.leave(entry)
        await move(worker)

    await come_and_go()
    first = await take(worker, 2)
    assert first.dropped == 2
    await come_and_go()
    second = await take(worker, 2)
    assert (second.dropped, second.notice, second.events) == (2, first.notice, first.events)
    third = await take(worker, 2, done=second)
    assert third.dropped == 4
    assert third.notice
    assert third.notice != first.notice


@over_redis
async def test_an_outbox_that_nobody_moves_is_bounded_and_its_loss_counted(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.backend.redis.outboxes.OUTBOX_EVENTS", 3)
    worker = await make_worker("a", webhook=100)
    assert OUTBOX_EVENTS > 100
    for _ in range(3):
        entry, _ = await join(worker, "p", fresh="f")
        await worker.presence.leave(entry)
    await move(worker)
    batch = await take(worker)
    assert shown(batch.events) == ["room_opened p", "joined p", "left p left", "room_closed p"]
    assert (batch.dropped, sum(worker.dropped)) == (8, 8)


# Several workers.


@over_a_real_one
async def test_one_worker_sends_at_a_time_and_another_one_goes_on(make_worker: MakeWorker) -> None:
    worker, other = await make_worker("a", webhook=100), await make_worker("a", webhook=100)
    assert worker.webhook is not None
    assert other.webhook is not None
    await join(worker, "p")
    await move(worker)
    first = await take(worker)
    assert await other.webhook.take(10) is None
    await asyncio.sleep(CLAIM * 0.7)
    await worker.webhook.renew()
    await asyncio.sleep(CLAIM * 0.7)
    assert await other.webhook.take(10) is None
    async with asyncio.timeout(10):
        while (batch := await other.webhook.take(10)) is None:
            await asyncio.sleep(0.02)
    assert batch.events == first.events
    # The first one had sent the batch all the same: then it is done.
    assert await worker.webhook.take(10, done=first) is None
    await other.webhook.release()
    async with asyncio.timeout(CLAIM):
        while (batch := await worker.webhook.take(10)) is None:
            await asyncio.sleep(0.01)
    assert batch.events == []


@over_redis
async def test_events_that_two_workers_move_keep_their_ids_and_their_order(make_worker: MakeWorker) -> None:
    worker, other = await make_worker("a", webhook=100), await make_worker("b", webhook=100)
    for number in range(5):
        await join(worker if number % 2 else other, f"p{number}", fresh="f")
    await asyncio.gather(move(worker), move(other))
    await move(worker)
    events = (await take(worker)).events
    ids = list(dict.fromkeys(event.id for event in events))
    assert len(ids) == 6
    positions = [int(one.split("/")[1].split("-")[1]) for one in ids]
    assert positions == sorted(positions)


@over_redis
async def test_two_workers_that_read_the_same_events_remove_no_later_ones(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = await make_worker("a", webhook=100), await make_worker("b", webhook=100)
    assert worker.webhook is not None
    assert other.webhook is not None
    await join(worker, "p")
    add = worker.webhook._add  # type: ignore[attr-defined]

    async def meanwhile(entries) -> None:
        await add(entries)
        await other.webhook.move(["room"])
        await join(other, "q", fresh="f2")
        await join(other, "r", fresh="f3")

    monkeypatch.setattr(worker.webhook, "_add", meanwhile)
    await worker.webhook.move(["room"])
    await move(other)
    told = list(dict.fromkeys(shown((await take(worker)).events)))
    assert told == ["room_opened p", "joined p", "joined q", "joined r"]


@over_a_real_one
async def test_a_long_outbox_is_moved_in_pages(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=1000)
    entry, _ = await join(worker, "p")
    for number in range(60):
        await worker.presence.leave(entry)
        entry, _ = await join(worker, f"p{number}", fresh="f")
    await move(worker)
    batch = await take(worker)
    assert len(batch.events) == batch.queued == 2 + 60 * 4
    assert len({event.id for event in batch.events}) == len(batch.events)


# A worker that is killed, at each point of the way.


@over_redis
@pytest.mark.parametrize("left", [False, True], ids=["with its member", "without members"])
async def test_a_survivor_moves_the_outboxes_that_a_dead_worker_left(make_worker: MakeWorker, left: bool) -> None:
    """The worker dies after the script, and before it has moved the events; also if nobody is in the room any more."""
    worker, survivor = (
        await make_worker("a", webhook=100, duration=SHORT),
        await make_worker("b", webhook=100, duration=SHORT),
    )
    await worker.leases.beat()
    entry, _ = await join(worker, "p")
    if left:
        await worker.presence.leave(entry)
    await adopt(worker, survivor)
    assert "room" in survivor.outboxes
    await move(survivor)
    told = shown((await take(survivor)).events)
    assert told == ["room_opened p", "joined p", *(["left p left", "room_closed p"] if left else [])]


@over_a_real_one
async def test_a_survivor_of_the_survivor_moves_them_as_well(make_worker: MakeWorker) -> None:
    """The survivor has taken the rooms over, has forgotten the lease, and dies before it moves."""
    first, second, third = [await make_worker(name, webhook=100, duration=SHORT) for name in "abc"]
    await first.leases.beat()
    await second.leases.beat()
    entry, _ = await join(first, "p")
    await first.presence.leave(entry)
    await adopt(first, second)
    await second.leases.forget(str(first.lease))
    await adopt(second, third)
    await move(third)
    assert len((await take(third)).events) == 4


@over_a_real_one
async def test_a_worker_that_dies_between_adding_and_removing_causes_repeats_with_the_same_ids(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, survivor = (
        await make_worker("a", webhook=100, duration=SHORT),
        await make_worker("b", webhook=100, duration=SHORT),
    )
    await worker.leases.beat()
    await join(worker, "p")
    assert worker.client is not None
    run = worker.client.run

    def die(script, *arguments):
        if script.name == "outbox_done":
            raise KeyboardInterrupt
        return run(script, *arguments)

    monkeypatch.setattr(worker.client, "run", die)
    with pytest.raises(KeyboardInterrupt):
        await move(worker)
    await adopt(worker, survivor)
    await move(survivor)
    events = (await take(survivor)).events
    assert shown(events) == ["room_opened p", "joined p"] * 2
    assert [event.id for event in events[:2]] == [event.id for event in events[2:]]


@over_a_real_one
async def test_a_worker_that_only_puts_members_out_is_survived_too(make_worker: MakeWorker) -> None:
    """It has no members in the room, and dies before it has moved the leaves."""
    worker, kicker, survivor = [await make_worker(name, webhook=100, duration=SHORT) for name in "abc"]
    await kicker.leases.beat()
    await join(worker, "p")
    await move(worker)
    await kicker.rules.kick(Kicking(room="room", peer="p"))
    await adopt(kicker, survivor)
    await move(survivor)
    assert shown((await take(survivor)).events)[2:] == ["left p kicked", "room_closed p"]


async def adopt(dead: FakeWorker, survivor: FakeWorker) -> None:
    """Let a survivor take a worker over once its lease has run out."""
    async with asyncio.timeout(10):
        while str(dead.lease) not in (await survivor.leases.beat()).dead:
            await asyncio.sleep(0.05)
    async for _ in survivor.leases.adopt(str(dead.lease)):
        pass


# Redis.


@over_a_real_one
async def test_keys_of_another_type_fail_no_join_and_are_replaced(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=100)
    assert worker.client is not None
    assert worker.keys is not None
    foreign = [worker.keys.outbox("room"), *worker.keys.webhook[:2]]
    for key in foreign:
        await worker.client.call("SET", key, "x")
    worker.outboxes.note(["room"])
    await move(worker)
    await worker.client.call("SET", worker.keys.outbox("room"), "x")
    for key in worker.keys.webhook:
        await worker.client.call("UNLINK", key)
        await worker.client.call("SADD", key, "x")
    await join(worker, "p")
    await move(worker)
    assert shown((await take(worker)).events) == ["room_opened p", "joined p"]


@over_redis
async def test_all_keys_have_a_time_to_live_and_an_outbox_that_was_moved_is_gone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", webhook=100)
    assert worker.client is not None
    assert worker.keys is not None
    await join(worker, "p")
    assert 0 < await worker.client.call("PTTL", worker.keys.outbox("room")) <= 60_000
    await move(worker)
    await take(worker)
    assert await worker.client.call("EXISTS", worker.keys.outbox("room")) == 0
    assert all([await worker.client.call("PTTL", key) > 0 for key in worker.keys.webhook])


@over_a_real_one
async def test_a_script_flush_between_join_and_move_loses_nothing(
    make_worker: MakeWorker, redis_server: RedisServer
) -> None:
    worker = await make_worker("a", webhook=100)
    redis_server.client.script_flush()
    await join(worker, "p")
    redis_server.client.script_flush()
    await move(worker)
    assert shown((await take(worker)).events) == ["room_opened p", "joined p"]


@over_a_real_one
async def test_leaves_are_told_although_the_memory_of_redis_is_used_up(
    make_worker: MakeWorker, redis_server: RedisServer
) -> None:
    worker = await make_worker("a", webhook=100)
    first, _ = await join(worker, "p")
    second, _ = await join(worker, "q", fresh="f2")
    with redis_server.client as redis:
        redis.config_set("maxmemory", 1)
        try:
            await worker.presence.leave(first)
            await worker.presence.leave(second)
            await move(worker)
            batch = await take(worker)
        finally:
            redis.config_set("maxmemory", 0)
    assert shown(batch.events)[3:] == ["left p left", "left q left", "room_closed q"]
