"""Joining, leaving and publishing over memory, with failures put in."""

import asyncio
import json
import time
from typing import Any

import pytest

from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.presence import MemoryPresence
from relay.backend.memory.state import MemoryRooms
from relay.backend.presence import HeldMember, LeaseName
from relay.backend.settings import HistorySettings, RoomSettings
from relay.gateways.native.gateway import NativeCodec
from relay.ids import IdGenerator
from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.commands import Publish
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, OutcomeUnknown, Refused, RelayError, Replaced, Unavailable
from relay.rooms.gaps import GapRecovery
from relay.rooms.hub import Hub
from relay.rooms.member import Member
from relay.rooms.membership import Membership

ROOMS = RoomSettings()


class FakeConnection:
    def __init__(self) -> None:
        self.told: list[dict] = []
        self.reason = None

    def write(self, frame: Frame) -> None:
        self.told.append(json.loads(frame.data))

    def write_batch(self, batch: Batch) -> None:
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason) -> None:
        self.reason = reason


class Failing:
    """Stands before a bus or a presence, and fails the next calls of one method, before or after they are done."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.before: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        method = getattr(self._inner, name)
        if name in {"publish", "_deliver"}:
            return method

        async def call(*arguments, **named):
            self.calls.append(name)
            if self.before.get(name):
                raise self.before[name].pop(0)
            result = await method(*arguments, **named)
            if self.after.get(name):
                raise self.after[name].pop(0)
            return result

        return call


class World:
    def __init__(self, grace: float = 15) -> None:
        self.now = 1000.0
        log = HistorySettings(size=10)
        self.rooms = rooms = MemoryRooms(lambda: self.now, time.time, log)
        self.metrics = Metrics()
        self.hub = Hub(self.metrics, later=lambda _: None, on_gap=lambda names: self.repairs.begin(names))
        self.bus = Failing(MemoryBus(self.hub.deliver, rooms, log))
        self.presence = Failing(MemoryPresence(rooms, LeaseName("w"), ROOMS))
        self.repairs = GapRecovery(self.hub, self.bus, self.presence, lease=0.01)
        self.membership = Membership(
            self.hub,
            self.bus,
            self.presence,
            grace=grace,
            clock=lambda: self.now,
            metrics=self.metrics,
            random=IdGenerator(),
        )

    def member(self, peer: str = "p", room: str = "room", **options) -> Member:
        return Member(FakeConnection(), NativeCodec(), room, peer, **options)

    async def join(self, peer: str = "p", **options) -> Member:
        member = self.member(peer, **options)
        await self.membership.join(member, offered="", since=None)
        return member

    async def publish(self, member: Member, envelope: bytes = b"{}") -> Any:
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.membership.publish(member, Publish(envelope), told.set_result)
        return await told

    async def announce(self) -> None:
        async def between() -> None:
            pass

        await self.membership.announce(between)

    async def count(self, room: str = "room") -> int:
        return (await self.presence.roster(room)).count


@pytest.fixture
def world() -> World:
    return World()


async def test_a_join_subscribes_first_and_once(world: World) -> None:
    await world.join("a")
    await world.join("b")
    assert world.bus.calls == ["subscribe"]
    assert world.presence.calls == ["join", "join"]


async def test_a_welcome_says_whether_anything_was_missed(world: World) -> None:
    first = await world.join("a")
    seen = MessageId.parse(first.connection.told[0]["id"])
    assert "recovered" not in first.connection.told[0]
    key = first.connection.told[0]["resume"]
    other = await world.join("b")
    await world.publish(other, b'{"n":1}')
    await world.publish(other, b'{"n":2}')
    back = world.member("a")
    await world.membership.join(back, offered=key, since=seen)
    welcome, *missed, recovered = back.connection.told
    assert (welcome["resumed"], welcome["recovered"], welcome["id"]) == (True, True, str(seen))
    assert [event["n"] for event in missed] == [1, 2]
    assert (recovered["type"], recovered["replayed"], recovered["id"][-2:]) == ("recovered", 2, "-5")
    stranger = world.member("c")
    await world.membership.join(stranger, offered="", since=seen)
    told = stranger.connection.told[0]
    assert (told["recovered"], told["reason"], told["id"][-2:]) == (False, "not_resumed", "-6")


async def test_what_was_said_before_somebody_came_is_not_for_them(world: World) -> None:
    other = await world.join("other")
    early = MessageId.parse(other.connection.told[0]["id"])
    first = await world.join("a")
    await world.publish(other, b'{"n":"for the first a"}')
    await world.membership.leave(first, hold=False)
    second = await world.join("a")
    key = second.connection.told[0]["resume"]
    for _ in range(2):
        back = world.member("a")
        await world.membership.join(back, offered=key, since=early)
        key = back.connection.told[0]["resume"]
        assert [(event["type"], event["reason"]) for event in back.connection.told] == [("welcome", "not_resumed")]
        await world.announce()


@pytest.mark.parametrize(("epochs", "seqs"), [(-1, 0), (1, 0), (0, 100)])
async def test_a_place_that_was_never_given_is_not_recovered_and_changes_nothing(
    world: World, epochs: int, seqs: int
) -> None:
    first = await world.join("a")
    welcome = first.connection.told[0]
    seen = MessageId.parse(welcome["id"])
    back = world.member("a")
    since = MessageId(seen.epoch + epochs, seen.seq + seqs)
    await world.membership.join(back, offered=welcome["resume"], since=since)
    told = back.connection.told[0]
    assert (told["resumed"], told["recovered"], told["reason"]) == (True, False, "epoch")
    assert MessageId.parse(told["id"]).epoch == seen.epoch
    assert world.rooms.room("room").epoch == seen.epoch


async def test_a_log_that_cannot_be_read_leaves_the_place_to_come_back_to(world: World) -> None:
    first = await world.join("a")
    welcome = first.connection.told[0]
    world.bus.before["replay"] = [Unavailable()]
    back = world.member("a")
    since = MessageId.parse(welcome["id"])
    with pytest.raises(Unavailable):
        await world.membership.join(back, offered=welcome["resume"], since=since)
    await asyncio.sleep(0)
    (departure,) = world.membership.departures()
    await world.membership.settle(departure)
    assert [one.held for one in (await world.presence.roster("room")).members] == [True]
    again = world.member("a")
    await world.membership.join(again, offered=welcome["resume"], since=since)
    assert again.connection.told[0]["recovered"] is True


async def test_a_refused_join_leaves_nothing_behind(world: World) -> None:
    await world.join("a")
    twin = world.member("a")
    with pytest.raises(Refused):
        await world.membership.join(twin, offered="", since=None)
    assert list(world.membership.departures()) == []
    assert await world.count() == 1
    other = world.member("x", room="alone")
    world.bus.before["subscribe"] = [Unavailable()]
    with pytest.raises(Unavailable):
        await world.membership.join(other, offered="", since=None)
    assert world.hub.names() == ["room"]


async def test_a_join_without_an_answer_is_undone_when_redis_answers_again(world: World) -> None:
    world.presence.after["join"] = [OutcomeUnknown()]
    world.presence.before["leave"] = [Unavailable()]
    with pytest.raises(OutcomeUnknown):
        await world.join("a")
    assert await world.count() == 1
    (departure,) = world.membership.departures()
    await world.membership.settle(departure)
    assert await world.count() == 1
    await world.membership.settle(departure)
    assert await world.count() == 0
    assert list(world.membership.departures()) == []


async def test_a_goodbye_ends_the_place_at_once_and_a_loss_after_the_grace_time(world: World) -> None:
    polite, lost = await world.join("polite"), await world.join("lost")
    await world.membership.leave(polite, hold=False)
    await world.membership.leave(lost, hold=True)
    assert [(one.peer, one.held) for one in (await world.presence.roster("room")).members] == [("lost", True)]
    (departure,) = world.membership.departures()
    assert departure.due == world.now + 15
    world.now += 15
    await world.membership.settle(departure)
    assert await world.count() == 0
    assert not world.membership.occupied("room")


async def test_without_a_grace_time_a_loss_is_a_goodbye() -> None:
    world = World(grace=0)
    lost = await world.join("lost")
    await world.membership.leave(lost, hold=True)
    assert await world.count() == 0


async def test_leaving_twice_is_leaving_once(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    await world.membership.leave(member, hold=False)
    assert world.presence.calls.count("leave") == 1


async def test_a_hold_that_redis_missed_is_told_later_for_what_is_left_of_it(world: World) -> None:
    member = await world.join("a")
    world.presence.before["leave"] = [Unavailable()]
    await world.membership.leave(member, hold=True)
    assert [one.held for one in (await world.presence.roster("room")).members] == [False]
    world.now += 5
    (departure,) = world.membership.departures()
    await world.membership.settle(departure)
    assert [one.held for one in (await world.presence.roster("room")).members] == [True]
    assert departure.due == 1015


async def test_who_came_back_is_not_let_go_of_when_the_old_hold_ends(world: World) -> None:
    member = await world.join("a")
    key = member.connection.told[0]["resume"]
    await world.membership.leave(member, hold=True)
    back = world.member("a")
    await world.membership.join(back, offered=key, since=None)
    assert back.connection.told[0]["resumed"]
    world.now += 20
    (departure,) = world.membership.departures()
    await world.membership.settle(departure)
    assert await world.count() == 1
    assert list(world.membership.departures()) == []


async def test_what_another_worker_left_behind_is_let_go_of_in_time(world: World) -> None:
    world.membership.take_over([HeldMember("room", "ghost", 5, 3.0)])
    assert world.membership.take_over([HeldMember("room", "ghost", 5, 2.9), HeldMember("room", "other", 6, 3.0)]) == 1
    assert world.membership.take_over([HeldMember("room", "other", 6, 3.0)]) == 0
    del world.membership._departures["room"]["other", ""]
    assert world.membership.occupied("room")
    assert [departure.due - world.now for departure in world.membership.departures()] == [3.0]
    assert world.metrics.registry.get_sample_value("relay_adopted_members_total") == 2


async def test_a_publisher_that_redis_forgot_is_announced_and_publishes(world: World) -> None:
    member = await world.join("a")
    state = world.presence._inner._rooms.room("room")
    del state.members["a"]
    receipt = await world.publish(member)
    assert receipt.id.seq == 3  # the join, the join anew, the message
    assert await world.count() == 1


async def test_a_publisher_whose_place_is_taken_is_closed(world: World) -> None:
    member = await world.join("a")
    state = world.presence._inner._rooms.room("room")
    state.members["a"].generation += 1
    assert isinstance(await world.publish(member), Replaced)
    assert member.connection.reason is REPLACED


async def test_announcing_closes_those_whose_place_is_taken(world: World) -> None:
    kept, lost = await world.join("kept"), await world.join("lost")
    state = world.presence._inner._rooms.room("room")
    state.members["lost"].generation += 1
    state.members.pop("kept")
    await world.announce()
    assert (kept.connection.reason, lost.connection.reason) == (None, REPLACED)
    assert await world.count() == 2


async def test_who_leaves_while_others_are_told_of_anew_is_not_told_of(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.membership._BATCH", 1)
    first, second = await world.join("first"), await world.join("second")
    announce = world.presence._inner.announce

    async def slowly(entries):
        await world.membership.leave(second, hold=False)
        return await announce(entries)

    monkeypatch.setattr(world.presence._inner, "announce", slowly)
    await world.announce()
    assert [one.peer for one in (await world.presence.roster("room")).members] == ["first"]
    assert first.connection.reason is None


async def test_a_publisher_that_left_before_it_could_be_told_of_anew_stays_away(world: World) -> None:
    member = await world.join("a")
    del world.presence._inner._rooms.room("room").members["a"]
    told = asyncio.ensure_future(world.publish(member))
    await asyncio.sleep(0)
    await world.membership.leave(member, hold=True)
    assert isinstance(await told, RelayError)
    assert await world.count() == 0


async def test_who_comes_in_while_the_others_are_told_of_anew_is_told_of_after_them(world: World) -> None:
    first = await world.join("a")
    welcome = first.connection.told[0]
    replay = world.bus._inner.replay

    async def meanwhile(*arguments):
        await world.announce()
        del world.presence._inner._rooms.room("room").members["a"]
        return await replay(*arguments)

    world.bus._inner.replay = meanwhile
    back = world.member("a")
    await world.membership.join(back, offered=welcome["resume"], since=MessageId.parse(welcome["id"]))
    assert world.membership.untold
    await world.announce()
    assert not world.membership.untold
    assert [(one.peer, one.held) for one in (await world.presence.roster("room")).members] == [("a", False)]


async def test_coming_back_without_an_answer_does_not_cost_the_place(world: World) -> None:
    first = await world.join("a")
    key = first.connection.told[0]["resume"]
    await world.membership.leave(first, hold=True)
    world.presence.after["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.membership.join(world.member("a"), offered=key, since=None)
    for departure in list(world.membership.departures()):
        await world.membership.settle(departure)
    assert [one.held for one in (await world.presence.roster("room")).members] == [True]
    back = world.member("a")
    await world.membership.join(back, offered=key, since=None)
    assert back.connection.told[0]["resumed"] is True


async def test_a_room_left_and_entered_again_stays_subscribed(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    await world.join("b")
    await world.membership.unsubscribe_idle()
    assert world.bus.calls == ["subscribe"]


async def test_a_room_nobody_is_in_is_unsubscribed(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    await world.membership.unsubscribe_idle()
    assert world.bus.calls == ["subscribe", "unsubscribe"]
    await world.join("b")
    assert world.bus.calls == ["subscribe", "unsubscribe", "subscribe"]


async def test_what_waits_for_redis_on_its_way_in_holds_up_nobody_who_goes_out(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    async with world.membership._lock("room"), asyncio.timeout(1):
        await world.membership.unsubscribe_idle()
    assert world.bus.calls == ["subscribe"]
    await world.membership.unsubscribe_idle()
    assert world.bus.calls == ["subscribe", "unsubscribe"]


async def test_whatever_fails_while_leaving_is_not_the_callers_business(world: World) -> None:
    member = await world.join("a")
    world.presence.before["leave"] = [OutcomeUnknown(), RelayError(), Unavailable()]
    await world.membership.leave(member, hold=False)
    for _ in range(3):
        for departure in list(world.membership.departures()):
            await world.membership.settle(departure)
    assert await world.count() == 0


async def test_a_place_that_nobody_could_be_welcomed_to_is_given_up(world: World, monkeypatch) -> None:
    await world.join("other")
    broken = world.member("broken")
    monkeypatch.setattr(broken.connection, "write", None)
    with pytest.raises(TypeError):
        await world.membership.join(broken, offered="", since=None)
    assert not world.hub.has(broken)
    [departure] = world.membership.departures()
    world.now += 60
    await world.membership.settle(departure)
    world.now += 60
    for due in list(world.membership.departures()):
        await world.membership.settle(due)
    assert await world.count() == 1


async def test_who_moves_keeps_its_keys_and_who_only_comes_back_gets_no_new_place(world: World) -> None:
    here = await world.join("p")
    key = here.connection.told[0]["resume"]
    there = world.member("p", "there")
    await world.membership.join(there, offered="", since=None, moved=here)
    await world.membership.leave(there, hold=True)
    back = world.member("p", "there")
    await world.membership.join(back, offered=key, since=None, back=True)
    assert back.connection.told[0]["resumed"]
    stranger = world.member("q", "there")
    with pytest.raises(Refused) as refused:
        await world.membership.join(stranger, offered=key, since=None, back=True)
    assert refused.value.code == "not_joined"
    assert await world.count("there") == 1


async def test_a_move_that_is_tried_again_keeps_the_place_it_was_given(world: World) -> None:
    here = await world.join("p")
    world.presence.after["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.membership.join(world.member("p", "there"), offered="", since=None, moved=here)
    again = world.member("p", "there")
    await world.membership.join(again, offered="", since=None, moved=here)
    for departure in list(world.membership.departures()):
        await world.membership.settle(departure)
    assert await world.count("there") == 1
    await world.membership.leave(again, hold=True)
    back = world.member("p", "there")
    await world.membership.join(back, offered=here.connection.told[0]["resume"], since=None, back=True)
    assert back.connection.told[0]["resumed"]


async def test_a_join_that_came_to_nothing_leaves_a_held_place_to_whoever_holds_it(world: World) -> None:
    lost = await world.join("p")
    await world.membership.leave(lost, hold=True)
    world.presence.before["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.membership.join(world.member("p"), offered="", since=None)
    world.now += 60
    for departure in list(world.membership.departures()):
        await world.membership.settle(departure)
    assert await world.count() == 0
    assert list(world.membership.departures()) == []
