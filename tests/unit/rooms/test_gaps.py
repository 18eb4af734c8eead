"""Gap recovery over memory, with failures put in."""

import asyncio
from collections.abc import Callable

import pytest

from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, Unavailable
from relay.model.events import Gap, Message, TakenOver
from tests.unit.rooms.world import World


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch) -> None:
    for name in ("_ARRIVAL", "_LOG_DELAY", "_PAST", "_RETRY"):
        monkeypatch.setattr(f"relay.rooms.gaps.{name}", 0.01)


async def test_after_a_gap_the_members_are_sent_the_missed_events(world: World) -> None:
    watcher, other = await world.join("a", presence=True), await world.join("b")
    await asyncio.sleep(0)
    world.deaf = True
    await world.publish(other, b'{"n":1}')
    await asyncio.sleep(0)
    world.deaf = False
    world.bus.before["replay"] = [Unavailable()]
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(watcher.connection.sent) == 3)
    assert watcher.connection.sent[2]["n"] == 1
    assert world.bus.calls.count("replay") == 2
    assert world.metric("relay_gap_recoveries_total") == 1


async def test_a_room_is_recovered_by_one_task_however_often_it_is_asked_for(world: World) -> None:
    await world.join("a")
    await asyncio.sleep(0)
    world.hub.deliver([Gap(["room"])])
    world.gaps.begin(["room"])
    assert len(world.tasks) == 1
    await until(lambda: not len(world.tasks))
    assert world.bus.calls.count("replay") == 1


async def test_lost_events_are_reported_and_watchers_get_a_new_roster(world: World, caplog) -> None:
    watcher = await world.join("a", presence=True)
    await asyncio.sleep(0)
    state = world.backend.room("room")
    state.seq += 5
    state.forgotten = state.seq
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(watcher.connection.sent) == 3)
    assert [event["type"] for event in watcher.connection.sent] == ["welcome", "error", "presence"]
    assert watcher.connection.sent[1]["reason"] == "trimmed"
    assert watcher.connection.sent[2]["members"] == [{"peer": "a"}]
    assert world.presence.calls.count("roster") == 1
    await until(lambda: "1 rooms missed events" in caplog.text)


async def test_events_of_a_master_of_the_past_are_not_delivered(world: World) -> None:
    listener, other = await world.join("a"), await world.join("b")
    await world.publish(other, b'{"n":1}')
    await asyncio.sleep(0)
    newest = world.rooms.last("room")
    for seq in (newest.seq, newest.seq + 1):
        world.hub.deliver([Message("room", MessageId(newest.epoch, seq), "b", (), "", b'{"n":"past"')])
    await world.publish(other, b'{"n":2}')
    await until(lambda: not len(world.tasks))
    assert [event["n"] for event in listener.connection.sent if "n" in event] == [1, 2]
    assert not [event for event in listener.connection.sent if event.get("code") == "messages_lost"]


async def test_a_late_duplicate_of_a_room_that_is_compared_with_redis_is_no_loss(world: World) -> None:
    listener, other = await world.join("a"), await world.join("b")
    await asyncio.sleep(0)
    before = world.rooms.last("room")
    world.deaf = True
    await world.publish(other, b'{"n":1}')
    await asyncio.sleep(0)
    world.deaf = False
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(listener.connection.sent) == 2)
    [late] = (await world.bus.replay("room", before)).events
    # The subscription is the same: what was read from the history may still arrive.
    world.hub.doubt(["room"])
    world.hub.deliver([late])
    await world.publish(other, b'{"n":2}')
    await until(lambda: not len(world.tasks))
    assert [event.get("n") for event in listener.connection.sent[1:]] == [1, 2]


async def test_a_history_that_fails_to_be_read_is_a_loss_and_the_room_goes_on(world: World, caplog) -> None:
    listener, other = await world.join("a"), await world.join("b")
    await asyncio.sleep(0)
    world.bus.before["replay"] = [RuntimeError("defect")]
    world.hub.deliver([Gap(["room"])])
    await world.publish(other, b'{"n":1}')
    await until(lambda: len(listener.connection.sent) == 3)
    error, message = listener.connection.sent[1:]
    assert (error["code"], error["reason"], message["n"]) == ("messages_lost", "internal", 1)
    assert "defect" in caplog.text


async def test_after_redis_lost_its_data_the_roster_waits_until_all_workers_have_announced(world: World) -> None:
    watcher = await world.join("a", presence=True)
    await asyncio.sleep(0)
    world.backend.room("room").epoch += 5
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(watcher.connection.sent) == 2)
    assert watcher.connection.sent[1]["reason"] == "epoch"
    world.entries()["b"] = world.entries()["a"]
    await until(lambda: len(watcher.connection.sent) == 3)
    assert watcher.connection.sent[2]["members"] == [{"peer": "a"}, {"peer": "b"}]


async def test_a_roster_that_cannot_be_had_is_logged_and_asked_for_again(world: World, caplog) -> None:
    watcher = await world.join("a", presence=True)
    await asyncio.sleep(0)
    world.presence.before["roster"] = [Unavailable("away")]
    world.backend.room("room").epoch += 5
    world.hub.deliver([Gap(["room"])])
    await until(lambda: "the members of room cannot be listed (unavailable: away)" in caplog.text)
    await until(lambda: len(watcher.connection.sent) == 3)
    assert watcher.connection.sent[2]["members"] == [{"peer": "a"}]


async def test_without_a_history_a_gap_without_missing_events_is_no_loss() -> None:
    world = World(history=0)
    a, b = await world.join("a"), await world.join("b")
    await asyncio.sleep(0)
    await world.publish(b, b'{"n":1}')
    world.hub.deliver([Gap(["room"])])
    await until(lambda: bool(a.connection.ids))
    await until(lambda: not len(world.tasks))
    assert [event.get("n") for event in a.connection.sent] == [None, 1]


async def test_a_room_that_is_left_meanwhile_is_recovered_no_further(world: World) -> None:
    a = await world.join("a")
    await asyncio.sleep(0)
    world.bus.before["replay"] = [Unavailable()]
    world.hub.deliver([Gap(["room"])])
    await until(lambda: "replay" in world.bus.calls)
    await world.membership.leave(a, hold=False)
    await until(lambda: not len(world.tasks))
    assert world.bus.calls.count("replay") == 1


def forget_history(world: World) -> None:
    """Let the history of the room expire."""
    state = world.backend.room("room")
    while state.history:
        state.forget_oldest(large=1_000_000)


async def test_where_no_message_is_missing_no_member_is_told_of_a_loss(world: World) -> None:
    plain, watcher = await world.join("a"), await world.join("w", presence=True)
    await asyncio.sleep(0)
    world.deaf = True
    await world.join("b")
    await asyncio.sleep(0)
    world.deaf = False
    forget_history(world)
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(watcher.connection.sent) == 2)
    await until(lambda: not len(world.tasks))
    listed = watcher.connection.sent[1]
    assert [one["peer"] for one in listed["members"]] == ["a", "b", "w"]
    assert listed["id"] == str(world.rooms.last("room"))
    assert len(plain.connection.sent) == 1
    assert world.metric("relay_message_losses_total", reason="trimmed") in (0, None)
    await world.publish(plain)
    await until(lambda: bool(watcher.connection.ids))


async def test_a_takeover_among_the_skipped_events_closes_the_older_connection(world: World) -> None:
    older = await world.join("a", offered="key")
    await asyncio.sleep(0)
    world.deaf = True
    elsewhere = world.entries()["a"]
    elsewhere.generation += 1
    world.backend.emit(TakenOver("room", world.backend.room("room").next_id(), "a", elsewhere.generation))
    await asyncio.sleep(0)
    world.deaf = False
    forget_history(world)
    world.hub.deliver([Gap(["room"])])
    await until(lambda: older.connection.reason is REPLACED)
    assert world.metric("relay_message_losses_total", reason="trimmed") in (0, None)


async def test_events_after_the_skipped_ones_are_delivered(world: World) -> None:
    listener, other = await world.join("a"), await world.join("b")
    await asyncio.sleep(0)
    world.deaf = True
    await world.join("c")
    forget_history(world)
    await world.publish(other, b'{"n":1}')
    await asyncio.sleep(0)
    world.deaf = False
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(listener.connection.sent) == 2)
    assert listener.connection.sent[1]["n"] == 1
    await until(lambda: not len(world.tasks))
    await world.publish(other, b'{"n":2}')
    await until(lambda: len(listener.connection.sent) == 3)


async def test_members_of_a_room_that_redis_lost_alone_are_announced(world: World) -> None:
    await world.join("a")
    await asyncio.sleep(0)
    world.entries().clear()
    world.backend.room("room").epoch += 5
    world.hub.deliver([Gap(["room"])])
    await until(lambda: "a" in world.entries())


async def test_a_room_that_lost_members_without_an_event_begins_a_new_epoch(world: World, caplog) -> None:
    member, watcher = await world.join("a"), await world.join("w", presence=True)
    await asyncio.sleep(0)
    epoch = world.rooms.last("room").epoch
    world.entries().pop("a")
    world.gaps.renew_epoch("room")
    await until(lambda: "a" in world.entries())
    await until(lambda: world.rooms.last("room").epoch > epoch)
    for one in (member, watcher):
        await until(lambda one=one: any(frame.get("code") == "messages_lost" for frame in one.connection.sent))
    await until(lambda: "members" in watcher.connection.sent[-1])
    assert [one["peer"] for one in watcher.connection.sent[-1]["members"]] == ["a", "w"]
    assert "has lost members of room room" in caplog.text


async def test_a_new_epoch_that_redis_does_not_begin_is_left_to_the_next_look(world: World, monkeypatch) -> None:
    async def fail(room: str, after: MessageId) -> None:
        raise Unavailable()

    await world.join("a")
    await asyncio.sleep(0)
    monkeypatch.setattr(world.bus, "replay", fail)
    world.gaps.renew_epoch("room")
    await until(lambda: not len(world.tasks))
    assert world.metric("relay_message_losses_total", reason="epoch") in (0, None)
