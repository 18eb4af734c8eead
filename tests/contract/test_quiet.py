"""The contract of `Bus.replay` where the history has dropped events of which none is a message."""

import asyncio

import pytest

from relay.backend.presence import PresenceEntry
from relay.backend.redis.stretches import read_stretches
from relay.backend.settings import HistorySettings
from relay.model.envelope import MessageId
from relay.model.events import MemberJoined, Replay
from tests.contract.conftest import FakeWorker, MakeWorker, join

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)

SHORT = HistorySettings(size=3)
"""Redis itself drops events by the hundred."""


async def return_often(worker: FakeWorker, peer: str, times: int) -> None:
    """Resume a membership so many times, with the key `f1` of its join."""
    for _ in range(times):
        await join(worker, peer, offered="f1", fresh="f1")


async def replay_when_expired(worker: FakeWorker, after: MessageId) -> Replay:
    async with asyncio.timeout(5):
        while (replay := await worker.bus.replay("room", after)).events:
            await asyncio.sleep(0.02)
    return replay


async def test_a_room_in_which_nothing_was_said_loses_nothing_when_its_history_expires(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    await join(worker, "p")
    said = await worker.publish("room")
    await return_often(worker, "p", 3)
    replay = await replay_when_expired(worker, said.id)
    newest = said.id._replace(seq=said.id.seq + 3)
    assert (replay.lost, replay.id, replay.skipped, replay.changed) == ("", newest, newest, False)


@pytest.mark.parametrize("change", ["join", "leave", "info"])
async def test_a_skipped_change_of_the_members_is_marked(make_worker: MakeWorker, change: str) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    await join(worker, "other")
    entry, _ = await join(worker, "p")
    said = await worker.publish("room")
    match change:
        case "join":
            await join(worker, "q")
        case "leave":
            await worker.presence.leave(entry)
        case "info":
            await worker.presence.change(PresenceEntry("room", "p", entry.generation, info=b"{}"))
    replay = await replay_when_expired(worker, said.id)
    assert (replay.lost, replay.changed) == ("", True)
    assert replay.skipped == replay.id == (said.id.epoch, said.id.seq + 1)


async def test_announced_members_say_nothing(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    entry, joined = await join(worker, "p")
    await worker.presence.announce(
        [PresenceEntry("room", "q", 1, "f", info=b"{}"), PresenceEntry("room", "p", entry.generation + 1, "f1")]
    )
    replay = await replay_when_expired(worker, joined.id)
    assert (replay.lost, replay.id.seq, replay.changed) == ("", joined.id.seq + 3, True)


async def test_a_message_among_the_dropped_events_is_lost(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    _, joined = await join(worker, "p")
    await return_often(worker, "p", 2)
    said = await worker.publish("room")
    await return_often(worker, "p", 2)
    replay = await replay_when_expired(worker, joined.id)
    assert (replay.lost, replay.skipped) == ("trimmed", MessageId(0, 0))
    before = said.id._replace(seq=said.id.seq - 1)
    assert (await worker.bus.replay("room", before)).lost == "trimmed"
    assert (await worker.bus.replay("room", said.id)).lost == ""


async def test_only_dropped_events_before_the_history_are_skipped(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=SHORT)
    _, joined = await join(worker, "p")
    # Redis drops events of a history by the hundred.
    await return_often(worker, "p", 130)
    said = await worker.publish("room")
    await return_often(worker, "p", 1)
    replay = await worker.bus.replay("room", joined.id)
    assert (replay.lost, replay.events[-2].id, replay.skipped) == (
        "",
        said.id,
        said.id._replace(seq=replay.events[0].id.seq - 1),
    )
    assert replay.skipped > joined.id


async def test_a_history_of_no_events_loses_only_messages(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(size=0))
    _, joined = await join(worker, "p")
    await join(worker, "q")
    replay = await worker.bus.replay("room", joined.id)
    assert (replay.lost, replay.skipped, replay.changed) == ("", replay.id, True)
    await worker.publish("room")
    assert (await worker.bus.replay("room", joined.id)).lost == "off"


async def test_joins_and_messages_in_turn_are_remembered_within_bounds(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=SHORT)
    _, first = await join(worker, "p")
    for _ in range(80):
        await worker.publish("room")
        await return_often(worker, "p", 1)
    last = await worker.publish("room")
    assert (await worker.bus.replay("room", first.id)).lost == "trimmed"
    assert (await worker.bus.replay("room", last.id._replace(seq=last.id.seq - 1))).lost == ""
    if worker.client:
        stored = await worker.client.call("GET", worker.keys.of_room("room")[5])
        assert 300 < len(stored) < 460


async def test_a_new_epoch_begins_without_stretches(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    _, joined = await join(worker, "p")
    begun = await worker.bus.replay("room", joined.id._replace(seq=9))
    said = await worker.publish("room")
    await join(worker, "q")
    assert begun.lost == "epoch"
    replay = await replay_when_expired(worker, begun.id)
    assert replay.lost == "trimmed"
    assert (await worker.bus.replay("room", said.id)).lost == ""


@over_redis
async def test_a_key_of_another_type_or_text_is_replaced(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    quiet = worker.keys.of_room("room")[5]
    await worker.client.call("RPUSH", quiet, "x")
    _, joined = await join(worker, "p")
    await worker.client.call("SET", quiet, "of another program")
    await return_often(worker, "p", 1)
    replay = await replay_when_expired(worker, joined.id)
    assert replay.lost == ""
    await worker.client.call("SET", quiet, "of another program")
    assert (await worker.bus.replay("room", joined.id)).lost == "trimmed"
    await worker.client.call("DEL", quiet)
    assert (await worker.bus.replay("room", joined.id)).lost == "trimmed"
    assert await worker.client.call("EXISTS", quiet) == 0


@over_redis
async def test_the_stretches_live_as_long_as_the_room(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, "p")
    quiet = worker.keys.of_room("room")[5]
    await worker.client.call("PEXPIRE", quiet, 1000)
    await worker.leases.touch({"room": ""})
    assert await worker.client.call("PTTL", quiet) > 50_000


@over_redis
async def test_events_that_a_worker_of_an_earlier_version_added_are_not_counted_as_quiet(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=0.2))
    _, joined = await join(worker, "p")
    quiet = worker.keys.of_room("room")[5]
    before = await worker.client.call("GET", quiet)
    await return_often(worker, "p", 1)
    await worker.client.call("SET", quiet, before)
    await return_often(worker, "p", 1)
    assert read_stretches(await worker.client.call("GET", quiet), joined.id.epoch).known == [(3, 3), (1, 1)]


async def test_a_whole_history_skips_nothing(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    _, joined = await join(worker, "p")
    await join(worker, "q")
    replay = await worker.bus.replay("room", joined.id)
    assert [type(event) for event in replay.events] == [MemberJoined]
    assert (replay.skipped, replay.changed) == (MessageId(0, 0), False)
