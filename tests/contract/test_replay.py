"""The contract of `Bus.replay`, for every backend: the history of a room."""

import asyncio

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.backend.settings import HistorySettings
from relay.model.envelope import MessageId
from relay.model.events import MemberJoined, MemberLeft, Message, TakenOver
from tests.contract.conftest import LOG, MakeWorker

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)


async def test_a_replay_has_exactly_the_events_that_were_delivered(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.presence.join(JoinAttempt(room="room", peer="other", offered="", fresh="f"))
    await a.bus.subscribe(["room"])
    first = await a.publish("room", b'{"n":0}')
    joined = await b.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    await b.publish("room", b'{"n":1}', channel="c\n\x1b", sender="peer", generation=joined.generation, to=("peer",))
    taken = await a.presence.join(JoinAttempt(room="room", peer="peer", offered="f1", fresh="f2"))
    await a.presence.leave(PresenceEntry("room", "peer", taken.generation))
    last = await b.publish("room", b'{"n":2}', key="k")
    await a.received.until(lambda events: events and events[-1].id == last.id)

    replay = await b.bus.replay("room", first.id)

    assert list(replay.events) == [event for event in a.received.events if event.id > first.id]
    assert [type(event) for event in replay.events] == [MemberJoined, Message, TakenOver, MemberLeft, Message]
    assert (replay.id, replay.lost) == (last.id, "")


async def test_both_paths_of_publishing_write_the_history(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    joined = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    claim = {"sender": "peer", "generation": joined.generation, "seen": joined.id}
    receipt = await worker.publish("room", **claim)
    if receipt.version:
        claim["version"] = receipt.version
    for key in ("", "k", "", "k"):
        receipt = await worker.publish("room", key=key, **claim)
    replay = await worker.bus.replay("room", joined.id)
    assert [event.id.seq for event in replay.events] == [2, 3, 4, 5]


async def test_nothing_is_missing_after_the_newest_id(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    receipt = await worker.publish("room")
    replay = await worker.bus.replay("room", receipt.id)
    assert (replay.id, list(replay.events), replay.lost) == (receipt.id, [], "")


async def test_a_history_that_was_trimmed_is_reported_as_such(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = await worker.publish("room")
    for _ in range(5 * LOG.size):
        last = await worker.publish("room")
    replay = await worker.bus.replay("room", first.id)
    assert (replay.id, list(replay.events), replay.lost) == (last.id, [], "trimmed")
    recent = MessageId(last.id.epoch, last.id.seq - LOG.size // 2)
    assert len((await worker.bus.replay("room", recent)).events) == LOG.size // 2


LARGE = HistorySettings(size=50, ttl=30, replay_bytes=10_000_000, bytes=200_000)


@pytest.mark.parametrize("key", ["", "k"])
async def test_the_bytes_of_large_messages_are_bounded(make_worker: MakeWorker, key: str) -> None:
    worker = await make_worker("a", history=LARGE)
    ids = []
    for number in range(12):
        await worker.publish("room")
        receipt = await worker.publish("room", b'{"x":"%s"}' % (b"x" * 60_000), key=key and f"{key}{number}")
        ids.append(receipt.id)
    last = await worker.publish("room")
    # Three of them are within the bound. All events after the newest one that was dropped are still there.
    kept = await worker.bus.replay("room", ids[-4])
    assert [event.id.seq for event in kept.events] == list(range(ids[-4].seq + 1, last.id.seq + 1))
    dropped = await worker.bus.replay("room", MessageId(ids[-4].epoch, ids[-4].seq - 1))
    assert (dropped.events, dropped.lost) == ((), "trimmed")


async def test_the_newest_message_is_kept_however_large_it_is(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=LARGE)
    before = await worker.publish("room")
    for _ in range(3):
        last = await worker.publish("room", b'{"x":"%s"}' % (b"x" * 400_000))
    replay = await worker.bus.replay("room", MessageId(last.id.epoch, last.id.seq - 1))
    assert [event.id for event in replay.events] == [last.id]
    assert (await worker.bus.replay("room", before.id)).lost == "trimmed"


async def test_small_messages_drop_nothing_but_by_their_number(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=LARGE)
    first = await worker.publish("room")
    for _ in range(40):
        await worker.publish("room", b'{"x":"%s"}' % (b"x" * 3000))
    assert len((await worker.bus.replay("room", first.id)).events) == 40


@over_redis
async def test_large_messages_of_a_lost_epoch_drop_nothing(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=LARGE)
    for _ in range(3):
        first = before = await worker.publish("room", b'{"x":"%s"}' % (b"x" * 60_000))
    assert worker.client is not None
    assert worker.keys is not None
    # An epoch is a time in milliseconds, and all this may take less than one.
    while first.id.epoch == before.id.epoch:
        await worker.client.call("DEL", *worker.keys.of_room("room")[:4])
        first = await worker.publish("room", b'{"x":1}')
    for _ in range(3):
        last = await worker.publish("room", b'{"x":"%s"}' % (b"x" * 60_000))
    replay = await worker.bus.replay("room", first.id)
    assert [event.id.seq for event in replay.events] == [2, 3, 4]
    assert await worker.client.call("LLEN", worker.keys.large("room")) == 3
    assert await worker.client.call("PTTL", worker.keys.large("room")) > 0
    assert last.id.seq == 4


async def test_a_history_longer_than_a_page_is_read_to_its_end(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(size=2000))
    first = await worker.publish("room")
    for together in [100] * 12 + [34]:  # fewer than a slow Redis answers in time
        await asyncio.gather(*[worker.publish("room") for _ in range(together)])
    replay = await worker.bus.replay("room", first.id)
    assert [event.id.seq for event in replay.events] == list(range(2, 1236))


async def test_a_replay_that_is_too_large_is_not_sent(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = await worker.publish("room")
    for _ in range(6):
        await worker.publish("room", b'{"x":"%s"}' % (b"x" * 20_000))
    replay = await worker.bus.replay("room", first.id)
    assert (replay.lost, list(replay.events)) == ("too_much", [])
    later = MessageId(first.id.epoch, first.id.seq + 3)
    assert len((await worker.bus.replay("room", later)).events) == 3


@over_redis
async def test_a_replay_that_is_too_large_is_not_read_to_its_end(make_worker: MakeWorker, monkeypatch) -> None:
    worker = await make_worker("a")
    first = await worker.publish("room")
    for _ in range(LOG.size):
        await worker.publish("room", b'{"x":"%s"}' % (b"x" * 20_000))
    read, run = list[int](), worker.client.run

    async def counted(*arguments):
        newest, page, quiet = await run(*arguments)
        read.extend(len(payload) for _, (_, payload) in page)
        return newest, page, quiet

    monkeypatch.setattr(worker.client, "run", counted)
    assert (await worker.bus.replay("room", MessageId(first.id.epoch, 2))).lost == "too_much"
    assert sum(read) < 4 * LOG.replay_bytes


async def test_without_a_history_nothing_is_stored_and_a_replay_is_off(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(size=0))
    first = await worker.publish("room")
    assert (await worker.bus.replay("room", first.id)).lost == ""
    await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    last = await worker.publish("room")
    replay = await worker.bus.replay("room", first.id)
    assert (replay.lost, replay.id) == ("off", last.id)
    if worker.client:
        assert await worker.client.call("EXISTS", worker.keys.of_room("room")[3]) == 0


async def test_an_old_history_expires(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    first = await worker.publish("room")
    last = await worker.publish("room")
    assert len((await worker.bus.replay("room", first.id)).events) == 1
    async with asyncio.timeout(5):
        while not (replay := await worker.bus.replay("room", first.id)).lost:
            await asyncio.sleep(0.02)
    assert (replay.lost, replay.id) == ("trimmed", last.id)


async def test_old_keys_expire_as_well(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.3))
    first = await worker.publish("room", key="k")
    assert (await worker.publish("room", key="k")).id == first.id
    await worker.publish("room", key="other")
    async with asyncio.timeout(5):
        while (await worker.publish("room", key="k")).repeat:
            await asyncio.sleep(0.05)


async def test_a_replay_after_an_id_that_the_room_lacks_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = await worker.publish("room")
    ahead = MessageId(first.id.epoch, first.id.seq + 5)
    replay = await worker.bus.replay("room", ahead)
    assert replay.lost == "epoch"
    assert replay.id.epoch > first.id.epoch
    after = await worker.publish("room")
    assert after.id == (replay.id.epoch, 1)
    assert (await worker.bus.replay("room", first.id)).lost == "epoch"
    assert [event.id for event in (await worker.bus.replay("room", replay.id)).events] == [after.id]


@over_redis
async def test_the_history_lives_as_long_as_its_last_message_must(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    joined = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    claim = {"sender": "peer", "generation": joined.generation, "seen": joined.id}
    version = (await worker.publish("room", **claim)).version
    for _ in range(3):
        await worker.publish("room", version=version, **claim)
        assert await worker.client.call("PTTL", worker.keys.of_room("room")[3]) > LOG.ttl * 1000


@over_redis
async def test_an_entry_that_cannot_be_read_is_a_loss_and_breaks_nothing_else(make_worker: MakeWorker, caplog) -> None:
    worker = await make_worker("a")
    first = await worker.publish("room")
    meta, _, _, log_key, *_ = worker.keys.of_room("room")
    fields = await worker.client.call("HGETALL", meta)
    (counter,) = [name for name in fields[::2] if name != b"e"]
    await worker.client.call("HINCRBY", meta, counter, 1)
    await worker.client.call("XADD", log_key, f"{first.id.epoch}-{first.id.seq + 1}", "e", "x from another version")
    last = await worker.publish("room")
    replay = await worker.bus.replay("room", first.id)
    assert (replay.id, replay.lost) == (last.id, "trimmed")
    assert "not understood" in caplog.text
    assert [event.id for event in (await worker.bus.replay("room", MessageId(*last.id)._replace(seq=2))).events] == [
        last.id
    ]


@over_redis
async def test_each_operation_notices_a_state_that_was_restored(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    epochs = [first.id.epoch]
    for peer in ("second", "third"):
        seen = MessageId(epochs[-1], 10)
        epochs.append(
            (await worker.presence.join(JoinAttempt(room="room", peer=peer, offered="", fresh="f", seen=seen))).id.epoch
        )
    entry = PresenceEntry("room", "third", 1, "f", seen=MessageId(epochs[-1], 10))
    await worker.presence.leave(PresenceEntry("room", "third", 0, "f", seen=entry.seen))
    epochs.append((await worker.publish("room")).id.epoch)
    assert epochs == sorted(set(epochs))


@over_redis
async def test_an_entry_of_another_program_does_not_keep_the_history_from_being_read(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = await worker.publish("room")
    last = await worker.publish("room")
    await worker.client.call("XADD", worker.keys.of_room("room")[3], "*", "one", "1", "two", "2")
    replay = await worker.bus.replay("room", first.id)
    assert ([event.id for event in replay.events], replay.lost) == ([last.id], "")
