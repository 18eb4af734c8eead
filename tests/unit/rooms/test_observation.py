"""Observers over the memory backend: the events that they get, and that members do not see them."""

import asyncio
from collections.abc import Callable

import pytest

from relay.model.errors import Refused, Unavailable
from relay.model.events import Gap
from relay.rooms.observer import Observer, Sight
from tests.unit.rooms.world import World


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.gaps._RETRY", 0.01)
    monkeypatch.setattr("relay.rooms.counts._INTERVAL", 0.01)


def kinds(observer: Observer) -> list[str]:
    return [event.get("type", "envelope") for event in observer.connection.sent]


async def test_an_observer_sees_members_joins_messages_and_leaves(world: World) -> None:
    a = await world.join("a")
    observer = await world.observe()
    b = await world.join("b")
    await asyncio.sleep(0)
    await world.publish(a, b'{"n":1}')
    await world.membership.leave(b, hold=False)
    await asyncio.sleep(0)
    world.notices.flush_all()
    welcome, joined, message, left = observer.connection.sent
    assert (welcome["observer"], welcome["members"], welcome["count"]) == (True, [{"peer": "a"}], 1)
    assert "peer" not in welcome
    assert "resume" not in welcome
    assert (joined["joined"], message["n"], left["left"]) == (["b"], 1, ["b"])


async def test_no_member_sees_an_observer(world: World) -> None:
    member = await world.join("a", presence=True)
    await world.observe(Sight.EVERYTHING)
    await asyncio.sleep(0)
    world.notices.flush_all()
    assert len(member.connection.sent) == 1
    assert await world.roster() == [("a", False)]
    await world.announce()
    assert await world.roster() == [("a", False)]
    assert (world.metric("relay_members"), world.metric("relay_observers")) == (1, 1)


async def test_messages_to_some_members_are_for_an_observer_that_sees_everything_alone(world: World) -> None:
    a, _ = await world.join("a"), await world.join("b")
    member_like, everything = await world.observe(Sight.MEMBER), await world.observe(Sight.EVERYTHING)
    await asyncio.sleep(0)
    await world.publish(a, b'{"to":"b"}', to=("b",))
    await world.publish(a, b'{"n":2}')
    await asyncio.sleep(0)
    assert (len(member_like.connection.ids), len(everything.connection.ids)) == (1, 2)


@pytest.mark.parametrize("members", [2, 6])
async def test_a_burst_reaches_observers_like_members(world: World, members: int) -> None:
    first, *others = [await world.join(f"m{number}") for number in range(members)]
    everything, silent = await world.observe(Sight.EVERYTHING), await world.observe(messages=False)
    await asyncio.sleep(0)
    for number in range(3):
        await world.publish(first, b'{"n":%d}' % number)
    await asyncio.sleep(0)
    assert everything.connection.ids == others[0].connection.ids
    assert len(everything.connection.ids) == 3
    assert silent.connection.ids == []


async def test_presence_and_messages_are_selected_separately(world: World) -> None:
    presence = await world.observe(messages=False)
    messages = await world.observe(presence=False)
    member = await world.join("a")
    await asyncio.sleep(0)
    await world.publish(member)
    await asyncio.sleep(0)
    world.notices.flush_all()
    assert (kinds(presence), kinds(messages)) == (["welcome", "presence"], ["welcome", "envelope"])
    assert "members" not in messages.connection.sent[0]


async def test_with_the_sight_of_counts_only_numbers_are_sent(world: World) -> None:
    member = await world.join("secret")
    observer = await world.observe(Sight.COUNTS)
    await world.join("another-secret")
    await world.publish(member, b'{"n":1}')
    await until(lambda: len(observer.connection.sent) == 2)
    welcome, count = observer.connection.sent
    assert (welcome["count"], count["count"], count["members"]) == (1, 2, [])
    assert not any(b"secret" in frame.data for frame in observer.connection.frames)
    await until(lambda: not len(world.tasks))


async def test_a_change_while_the_members_are_counted_is_sent_afterwards(world: World) -> None:
    async def join_meanwhile() -> None:
        del world.presence.meanwhile["roster"]
        await world.join("late")
        await asyncio.sleep(0)

    world.presence.meanwhile["roster"] = join_meanwhile
    observer = await world.observe(Sight.COUNTS)
    await until(lambda: observer.connection.sent[-1]["count"] == 1)


async def test_events_before_the_welcome_follow_it(world: World) -> None:
    member, publisher = await world.join("a"), world.publish
    listed = world.presence.__getattr__("roster")

    async def roster(room: str, limit: int | None = None):
        result = await listed(room, limit)
        await publisher(member, b'{"n":1}')
        await world.join("b")
        await asyncio.sleep(0)
        return result

    world.presence.roster = roster
    observer = await world.observe()
    world.notices.flush_all()
    await asyncio.sleep(0)
    assert kinds(observer) == ["welcome", "envelope", "presence"]
    assert observer.connection.sent[0]["count"] == 1


async def test_beyond_the_limit_observers_are_refused_and_the_limit_is_for_one_room(world: World) -> None:
    first = await world.observe()
    await world.observe(Sight.COUNTS)
    with pytest.raises(Refused) as refused:
        await world.observe()
    assert refused.value.code == "too_many_observers"
    await world.observe(room="other")
    world.observation.end(first)
    await world.observe()
    assert world.metric("relay_observers") == 3


async def test_observers_that_wait_for_their_welcome_count_against_the_limit(world: World) -> None:
    reply = asyncio.Event()
    world.presence.meanwhile["roster"] = reply.wait
    waiting = [asyncio.create_task(world.observe()) for _ in range(2)]
    await asyncio.sleep(0.001)
    with pytest.raises(Refused):
        await world.observe()
    reply.set()
    await asyncio.gather(*waiting)


async def test_observers_that_wait_for_a_subscription_count_against_the_limit(world: World) -> None:
    subscribed = asyncio.Event()
    world.bus.meanwhile["subscribe"] = subscribed.wait
    waiting = [asyncio.create_task(world.observe()) for _ in range(4)]
    await asyncio.sleep(0.001)
    subscribed.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, Refused) for result in results] == [False, False, True, True]
    assert world.metric("relay_observers") == 2


@pytest.mark.parametrize("call", ["subscribe", "roster"])
async def test_an_observer_that_is_not_welcomed_leaves_nothing_behind(world: World, call: str) -> None:
    (world.bus if call == "subscribe" else world.presence).before[call] = [Unavailable()]
    with pytest.raises(Unavailable):
        await world.observe()
    assert (len(world.rooms), world.metric("relay_observers"), world.metric("relay_rooms")) == (0, 0, 0)


async def test_a_room_is_subscribed_for_its_observers_and_unsubscribed_after_the_last(world: World) -> None:
    observer = await world.observe()
    assert world.metric("relay_rooms") == 1
    world.observation.end(observer)
    world.observation.end(observer)
    await world.subscriptions.unsubscribe_idle()
    assert (world.bus.calls, world.metric("relay_observers")) == (["subscribe", "unsubscribe"], 0)


async def test_the_last_member_leaves_and_the_observers_stay(world: World) -> None:
    member, observer = await world.join("a"), await world.observe()
    await world.membership.leave(member, hold=False)
    assert await world.subscriptions.unsubscribe_idle() == ["room"]
    assert world.bus.calls == ["subscribe"]
    again = await world.join("b")
    await asyncio.sleep(0)
    await world.publish(again, b'{"n":1}')
    await asyncio.sleep(0)
    assert observer.connection.sent[-1]["n"] == 1
    world.observation.end(observer)
    await world.membership.leave(again, hold=False)
    await world.subscriptions.unsubscribe_idle()
    assert world.bus.calls == ["subscribe", "unsubscribe"]


# Rooms that come into being later, or end meanwhile.


async def test_the_first_event_of_a_room_that_began_later_is_seen(world: World) -> None:
    observer = await world.observe()
    assert observer.connection.sent[0]["id"] == "0-0"
    member = await world.join("a")
    await asyncio.sleep(0)
    await world.publish(member, b'{"n":1}')
    await asyncio.sleep(0)
    assert [event.get("joined", event.get("n")) for event in observer.connection.sent[1:]] == [["a"], 1]
    assert member.connection.sent[0]["type"] == "welcome"
    assert "replay" not in world.bus.calls


async def test_observing_makes_no_room(world: World) -> None:
    await world.observe()
    world.hub.deliver([Gap(["room"])])
    await until(lambda: not len(world.tasks))
    assert world.backend.peek("room") is None


async def test_the_events_of_a_gap_in_which_the_room_began_are_read_from_the_history(world: World) -> None:
    observer = await world.observe()
    world.deaf = True
    member = await world.join("a")
    await world.publish(member, b'{"n":1}')
    await asyncio.sleep(0)
    world.deaf = False
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(observer.connection.sent) == 3)
    assert [event.get("n", event.get("members")) for event in observer.connection.sent[1:]] == [1, [{"peer": "a"}]]


async def test_the_beginning_that_the_bus_missed_is_read_when_the_next_event_comes(world: World) -> None:
    observer = await world.observe()
    world.deaf = True
    member = await world.join("a")
    await asyncio.sleep(0)
    world.deaf = False
    await world.publish(member, b'{"n":1}')
    await until(lambda: len(observer.connection.sent) == 3)
    assert [event.get("n", event.get("members")) for event in observer.connection.sent[1:]] == [1, [{"peer": "a"}]]
    assert world.metric("relay_message_losses_total", reason="epoch") == 0


async def test_a_room_that_expired_and_began_anew_has_lost_nothing(world: World) -> None:
    member, observer = await world.join("a"), await world.observe()
    await world.membership.leave(member, hold=False)
    await asyncio.sleep(0)
    world.notices.flush_all()
    world.backend.room("room").epoch += 5
    world.backend.room("room").seq = 0
    await world.join("b")
    await asyncio.sleep(0)
    world.notices.flush_all()
    assert kinds(observer)[:3] == ["welcome", "presence", "presence"]
    # Members of the old epoch may have ended without a sign: the list follows when all workers have announced theirs.
    await until(lambda: len(observer.connection.sent) == 4)
    assert observer.connection.sent[3]["members"] == [{"peer": "b"}]


async def test_a_new_epoch_after_a_gap_may_have_lost_events(world: World) -> None:
    member, observer = await world.join("a"), await world.observe()
    await world.membership.leave(member, hold=False)
    await asyncio.sleep(0)
    world.backend.room("room").epoch += 5
    world.hub.deliver([Gap(["room"])])
    await until(lambda: "error" in kinds(observer))
    assert next(one for one in observer.connection.sent if one["type"] == "error")["reason"] == "epoch"


async def test_members_that_redis_lost_without_an_event_leave_the_list(world: World) -> None:
    listening, counting = await world.observe(), await world.observe(Sight.COUNTS)
    await world.join("ghost")
    await asyncio.sleep(0)
    world.notices.flush_all()
    await until(lambda: counting.connection.sent[-1]["count"] == 1)
    # Its worker died as well, and announces it no more.
    world.rooms.remove(next(iter(world.rooms["room"].members.values())))
    world.backend.room("room").members.clear()
    await world.announce()
    await until(lambda: "members" in listening.connection.sent[-1])
    assert listening.connection.sent[-1]["members"] == []
    await until(lambda: counting.connection.sent[-1]["count"] == 0)


# Gaps, and losses.


async def test_after_a_gap_an_observer_gets_the_missed_events(world: World) -> None:
    member, observer = await world.join("a"), await world.observe()
    await asyncio.sleep(0)
    world.deaf = True
    await world.publish(member, b'{"n":1}')
    await asyncio.sleep(0)
    world.deaf = False
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(observer.connection.sent) == 2)
    assert observer.connection.sent[1]["n"] == 1


async def test_lost_messages_are_reported_to_observers_that_may_see_messages(world: World) -> None:
    await world.join("a")
    listening, counting = await world.observe(), await world.observe(Sight.COUNTS)
    await asyncio.sleep(0)
    state = world.backend.room("room")
    state.seq += 5
    state.forgotten = state.seq
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(listening.connection.sent) == 3)
    assert kinds(listening) == ["welcome", "error", "presence"]
    await until(lambda: len(counting.connection.sent) == 2)
    assert kinds(counting) == ["welcome", "presence"]
