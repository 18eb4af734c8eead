"""The remains of a room when its members leave: nothing that lasts, and no id is given twice."""

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.backend.settings import HistorySettings
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import Refused
from relay.model.events import MemberLeft, Message
from tests.contract.conftest import FakeWorker, MakeWorker, join, report_memory

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)


async def keys_of(worker: FakeWorker, room: str = "room") -> dict[str, int]:
    """The keys of a room that exist, with their time to live (ms)."""
    assert worker.client is not None
    assert worker.keys is not None
    names = [
        *worker.keys.of_room(room),
        worker.keys.large(room),
        worker.keys.watched(room),
        worker.keys.positions(room),
    ]
    lives = [await worker.client.call("PTTL", name) for name in names]
    return {name.rpartition(":")[2]: ttl for name, ttl in zip(names, lives, strict=True) if ttl != -2}


@over_redis
async def test_a_member_that_was_alone_leaves_no_history(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(ttl=20))
    entry, _ = await join(worker)
    assert set(await keys_of(worker)) == {"meta", "presence", "quiet"}
    await worker.presence.leave(entry)
    left = await keys_of(worker)
    assert set(left) == {"meta", "quiet"}
    assert all(0 < ttl <= 20_000 for ttl in left.values())


@over_redis
async def test_the_history_ends_soon_after_the_last_member_leaves(make_worker: MakeWorker) -> None:
    history = HistorySettings(ttl=20, bytes=65_536)
    worker = await make_worker("a", history=history)
    first, _ = await join(worker, "p")
    second, joined = await join(worker, "q", fresh="f2")
    await worker.publish("room", b'{"x":"%b"}' % (b"x" * 70_000), sender="q", generation=joined.generation, key="k")
    await worker.presence.leave(first)
    assert (await keys_of(worker))["log"] > 15_000
    await worker.presence.leave(second)
    left = await keys_of(worker)
    assert set(left) == {"meta", "quiet", "log", "large", "repeats"}
    # Long enough for a worker that was cut off for a moment, whose observers missed something.
    assert 5_000 < left["log"] <= 10_000
    assert left["large"] <= 10_000
    assert all(0 < ttl <= 25_000 for ttl in left.values())


async def test_ids_go_on_when_a_room_fills_again_and_nobody_resumes_an_ended_membership(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a")
    entry, joined = await join(worker)
    sent = await worker.publish("room", sender="peer", generation=joined.generation)
    await worker.presence.leave(entry)
    _, again = await join(worker, offered="f1", fresh="f2", since=sent.id)
    assert not again.resumed
    assert again.id > sent.id
    assert again.began == again.id


async def test_a_member_that_was_alone_misses_nothing_of_those_that_come(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, first = await join(worker, "p")
    _, second = await join(worker, "q", fresh="f2", info=b'{"a":1}')
    await worker.presence.leave(entry, hold=5)
    sent = await worker.publish("room", sender="q", generation=second.generation)
    _, back = await join(worker, "p", offered="f1", fresh="f3")
    assert (back.resumed, back.id.seq) == (True, 5)
    replay = await worker.bus.replay("room", first.id)
    assert ([event.id.seq for event in replay.events], replay.skipped) == ([2, 3, 4, 5], BEFORE_ALL)
    assert replay.events[2].id == sent.id


async def test_an_observers_worker_that_was_cut_off_reads_all_that_was_said_before_the_end(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a")
    _, first = await join(worker, "p")
    entry, joined = await join(worker, "q", fresh="f2")
    await worker.publish("room", sender="q", generation=joined.generation)
    await worker.presence.leave(PresenceEntry("room", "p", first.generation))
    await worker.presence.leave(entry)
    replay = await worker.bus.replay("room", joined.id)
    assert [type(event) for event in replay.events] == [Message, MemberLeft, MemberLeft]
    assert not replay.lost


async def test_a_room_is_created_once(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, first = await join(worker, "p")
    _, second = await join(worker, "q")
    assert (first.created, second.created) == (True, False)
    await worker.presence.leave(entry)
    _, again = await join(worker, "p")
    assert not again.created


async def test_a_barred_attempt_joins_rooms_that_exist(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    with pytest.raises(Refused) as refused:
        await join(worker, barred="too_many_new_rooms")
    assert refused.value.code == "too_many_new_rooms"
    assert (await worker.presence.roster("room")).id == BEFORE_ALL
    await join(worker, "p")
    _, joined = await join(worker, "q", barred="too_many_new_rooms")
    assert joined.id.seq == 2


async def test_a_message_that_is_not_stored_is_delivered_and_missing_in_replays(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    _, joined = await join(worker, "p")
    claim = {"sender": "p", "generation": joined.generation}
    before = await worker.publish("room", **claim)
    for more in ({}, {"key": "k"}, {"to": ("p",)}):
        unstored = await worker.publish("room", stored=False, **claim, **more)
    after = await worker.publish("room", **claim)
    await worker.received.until(lambda events: [event.id.seq for event in events] == [1, 2, 3, 4, 5, 6])
    replay = await worker.bus.replay("room", before.id)
    assert (replay.lost, list(replay.events)) == ("trimmed", [])
    replay = await worker.bus.replay("room", unstored.id)
    assert (replay.lost, [event.id for event in replay.events]) == ("", [after.id])


async def test_large_messages_are_not_stored_while_memory_is_low(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", history=HistorySettings(bytes=65_536))
    _, joined = await join(worker, "p")
    claim = {"sender": "p", "generation": joined.generation}
    report_memory(worker, 85)
    small = await worker.publish("room", **claim)
    assert len((await worker.bus.replay("room", joined.id)).events) == 1
    await worker.publish("room", b'{"x":"%b"}' % (b"x" * 5_000), **claim)
    assert (await worker.bus.replay("room", small.id)).lost == "trimmed"
    report_memory(worker, 10)
    large = await worker.publish("room", b'{"x":"%b"}' % (b"x" * 5_000), **claim)
    await worker.publish("room", **claim)
    assert len((await worker.bus.replay("room", large.id)).events) == 1


async def test_with_full_memory_members_go_on_and_come_back_and_nobody_else_joins(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    entry, joined = await join(worker, "p")
    report_memory(worker, 95)
    sent = [await worker.publish("room", sender="p", generation=joined.generation, key=key) for key in ("", "k", "k")]
    assert (sent[1].id, sent[2].repeat) == (sent[2].id, True)
    for room in ("room", "new"):
        with pytest.raises(Refused) as refused:
            await worker.presence.join(JoinAttempt(room=room, peer="q", offered="", fresh="f"))
        assert refused.value.code == "memory_low"
    await worker.presence.leave(entry, hold=5)
    entry, back = await join(worker, "p", offered="f1", fresh="f2")
    assert back.resumed
    assert await worker.presence.leave(entry)
    await worker.received.until(lambda events: [event.id.seq for event in events] == [1, 2, 3, 4, 5])


class Late:
    """A clock of the commands that publish, which a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@over_redis
@pytest.mark.parametrize("size", [10, 5_000], ids=["small", "large"])
async def test_a_room_whose_messages_never_end_forgets_old_ones(make_worker: MakeWorker, size: int) -> None:
    worker, clock = await make_worker("a", history=HistorySettings(ttl=100, bytes=1_000_000)), Late()
    worker.bus._commands._clock = clock  # type: ignore[attr-defined]
    worker.bus._commands.add("room")  # type: ignore[attr-defined]
    _, joined = await join(worker, "p")
    sent = [joined.id]
    for _ in range(40):
        # Each text is a node of the stream, so that Redis drops it as a whole.
        text = b'{"x":"%b","y":"%b"}' % (b"x" * 4_100, b"y" * size)
        claim = {"sender": "p", "generation": joined.generation, "seen": sent[-1]}
        sent.append((await worker.publish("room", text, **claim)).id)
        clock.now += 10
    replay = await worker.bus.replay("room", sent[-10])
    assert [event.id for event in replay.events] == sent[-9:]
    assert worker.client is not None
    assert worker.keys is not None
    stored = await worker.client.call("XRANGE", worker.keys.of_room("room")[3], "-", "+")
    assert 10 <= len(stored) <= 16
