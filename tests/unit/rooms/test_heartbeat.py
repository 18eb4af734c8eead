import asyncio
import contextlib

import pytest

from relay.backend.bus import BusHealth
from relay.backend.presence import HeldMember, LeaseStatus, PresenceEntry
from relay.metrics import Metrics
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.rooms.heartbeat import Heartbeat, beat_interval
from relay.rooms.membership import Departure


class FakeMembership:
    def __init__(self) -> None:
        self.idle: dict[str, None] = {}
        self.held: list[Departure] = []
        self.names: list[str] = []
        self.done: list = []
        self.failing: list[Exception] = []
        self.untold = False

    async def announce(self, between) -> None:
        if self.failing:
            raise self.failing.pop()
        self.done.append("announce")
        await self.on_announce(between)

    async def on_announce(self, between) -> None:
        pass

    def take_over(self, holds) -> int:
        self.done.append(("take over", [hold.peer for hold in holds]))
        return len(holds)

    def departures(self):
        return iter(self.held)

    async def settle(self, departure: Departure) -> None:
        self.done.append(("settle", departure.entry.peer))

    async def unsubscribe_idle(self) -> None:
        self.idle = {}

    def occupied(self, room: str) -> bool:
        return room in self.names

    def rooms(self) -> list[str]:
        return self.names


class FakeLeases:
    def __init__(self) -> None:
        self.beats: list[LeaseStatus] = []
        self.touched: list = []
        self.buried: list[str] = []
        self.beaten = 0
        self.names = ["r1", "r2"]
        self.on_adopt = lambda: None
        self.failing: list[Exception] = []

    async def beat(self) -> LeaseStatus:
        self.beaten += 1
        if self.failing:
            raise self.failing.pop(0)
        return self.beats.pop(0) if self.beats else LeaseStatus(False)

    async def adopt(self, lease: str):
        for room in self.names:
            self.on_adopt()
            yield [HeldMember(room, f"{lease}-{room}", 1, 1.0)]

    async def forget(self, lease: str) -> None:
        self.buried.append(lease)

    async def retire(self) -> None:
        pass

    async def touch(self, rooms, left=()) -> None:
        self.touched.append((list(rooms), list(left)))


class FakeBus:
    state = BusHealth(True, True, 0.0)

    def health(self) -> BusHealth:
        return self.state


class World:
    def __init__(self, presence_ttl: float = 30) -> None:
        self.now = 0.0
        self.deaf = 0
        self.metrics = Metrics()
        self.membership, self.leases, self.bus = FakeMembership(), FakeLeases(), FakeBus()
        self.keeper = Heartbeat(
            self.membership,
            self.leases,
            self.bus,
            interval=0.5,
            lease=10,
            presence_ttl=presence_ttl,
            probe_interval=1,
            clock=lambda: self.now,
            metrics=self.metrics,
            on_deaf=self.on_deaf,
        )

    def on_deaf(self) -> None:
        self.deaf += 1


def test_several_beats_fit_into_a_lease_and_two_into_a_second() -> None:
    assert beat_interval(10) == 0.5
    assert beat_interval(1) == 0.25


async def test_a_lapsed_lease_is_followed_by_an_announcement_until_one_succeeds() -> None:
    world = World()
    world.leases.beats = [LeaseStatus(True)]
    world.membership.failing = [Unavailable()]
    with contextlib.suppress(Unavailable):
        await world.keeper._beat()
    assert world.membership.done == []
    await world.keeper._beat()
    await world.keeper._beat()
    assert world.membership.done == ["announce"]


async def test_who_came_in_under_a_lease_that_was_over_is_told_of() -> None:
    world = World()
    world.membership.untold = True
    await world.keeper._beat()
    assert world.membership.done == ["announce"]


async def test_a_lease_is_renewed_however_many_rooms_there_are_to_adopt() -> None:
    world = World()
    world.now = 10
    world.leases.beats = [LeaseStatus(False, ["w9"])]
    world.leases.names = [f"r{number}" for number in range(2000)]

    def takes_time() -> None:
        world.now += 0.01

    world.leases.on_adopt = takes_time
    await world.keeper._beat()
    assert world.leases.beaten > 10
    assert world.leases.buried == ["w9"]
    assert len(world.membership.done) == 2000


async def test_a_lease_is_renewed_however_many_members_there_are_to_tell_of() -> None:
    world = World()
    world.leases.beats = [LeaseStatus(True), LeaseStatus(False), LeaseStatus(False), LeaseStatus(True)]

    async def takes_time(between) -> None:
        for _ in range(10):
            world.now += 0.3
            await between()

    world.membership.on_announce = takes_time
    await world.keeper._beat()
    assert world.leases.beaten == 6
    # One that ran out all the same is told of in the next beat.
    await world.keeper._beat()
    assert world.membership.done == ["announce"] * 2


async def test_who_was_cut_off_for_nearly_a_lease_gives_others_the_time_as_well() -> None:
    world = World()
    world.now = 20
    await world.keeper._beat()
    world.leases.beats = [LeaseStatus(False, ["w9"]), LeaseStatus(False, ["w9"])]
    world.now = 29.8
    await world.keeper._beat()
    assert (world.membership.done, world.leases.buried) == ([], [])
    world.now = 39.8
    world.keeper._beaten = 39.3
    await world.keeper._beat()
    assert world.leases.buried == ["w9"]


async def test_the_dead_are_adopted_room_by_room_then_buried() -> None:
    world = World()
    world.now = 10
    world.leases.beats = [LeaseStatus(False, ["w9"])]
    await world.keeper._beat()
    assert world.membership.done == [("take over", ["w9-r1"]), ("take over", ["w9-r2"])]
    assert world.leases.buried == ["w9"]


async def test_only_who_died_without_a_word_is_counted_and_warned_of(caplog) -> None:
    world = World()
    world.now = 10
    world.leases.beats = [LeaseStatus(False, ["w8", "w9"], {"w8"})]
    await world.keeper._beat()
    assert world.leases.buried == ["w8", "w9"]
    assert world.metrics.registry.get_sample_value("relay_dead_workers_total") == 1
    assert [record.args[0] for record in caplog.records if record.levelname == "WARNING"] == ["w9"]


async def test_who_was_cut_off_gives_others_a_lease_to_come_back_as_well() -> None:
    world = World()
    world.leases.beats = [
        LeaseStatus(False, ["w9"]),
        LeaseStatus(True, ["w9"]),
        LeaseStatus(False, ["w9"]),
        LeaseStatus(False, ["w9"]),
    ]
    await world.keeper._beat()
    world.now = 60
    await world.keeper._beat()
    world.now = 69
    await world.keeper._beat()
    assert (world.membership.done, world.leases.buried) == (["announce"], [])
    world.now = 70
    await world.keeper._beat()
    assert world.leases.buried == ["w9"]


async def test_only_what_is_due_or_untold_is_settled() -> None:
    world = World()
    world.now = 10
    world.membership.held = [
        Departure(PresenceEntry("r", "due", 1), due=10),
        Departure(PresenceEntry("r", "later", 1), due=11),
        Departure(PresenceEntry("r", "untold", 1), due=11, hold=True),
    ]
    await world.keeper._tend()
    assert world.membership.done == [("settle", "due"), ("settle", "untold")]


async def test_every_room_is_touched_once_in_a_third_of_its_time_evenly() -> None:
    world = World(presence_ttl=30)
    world.membership.names = [f"r{number}" for number in range(100)]
    for _ in range(20):
        await world.keeper._tend()
    sizes = [len(rooms) for rooms, _ in world.leases.touched]
    assert sum(sizes) == 100
    assert max(sizes) == 5
    assert {room for rooms, _ in world.leases.touched for room in rooms} == set(world.membership.names)


async def test_nothing_is_sent_for_no_rooms() -> None:
    world = World()
    await world.keeper._tend()
    assert world.leases.touched == []


async def test_rooms_that_fell_idle_are_forgotten_unless_somebody_came() -> None:
    world = World(presence_ttl=3000)
    world.membership.idle = {"gone": None, "back": None}
    world.membership.names = ["back"]
    await world.keeper._tend()
    assert world.leases.touched == [([], ["gone"])]


def test_staying_deaf_sends_the_clients_away_once() -> None:
    world = World()
    world.bus.state = BusHealth(False, True, 5.0, "deaf")
    for world.now in range(11):
        world.keeper._watch()
    assert world.deaf == 0
    world.now = 11
    world.keeper._watch()
    assert world.deaf == 1


def test_an_absent_redis_sends_nobody_away() -> None:
    world = World()
    world.bus.state = BusHealth(False, False, 5.0, "away")
    for world.now in range(0, 100, 5):
        world.keeper._watch()
    assert world.deaf == 0


async def test_what_redis_refuses_is_kept_until_it_does_not(caplog) -> None:
    world = World()
    world.leases.failing = [Unavailable("OOM"), Unavailable("OOM"), OutcomeUnknown("late")]
    seen = []

    async def beaten(_: float) -> None:
        seen.append(world.keeper.refusal)
        if len(seen) == 4:
            raise asyncio.CancelledError

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(asyncio.CancelledError):
        patch.setattr("relay.rooms.heartbeat.asyncio.sleep", beaten)
        await world.keeper.run()
    assert seen == ["OOM", "OOM", "", ""]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_that_redis_is_away_is_no_refusal() -> None:
    world = World()
    world.bus.state = BusHealth(False, False, 5.0, "away")
    world.leases.failing = [Unavailable("Redis was away for 5 s")]

    async def beaten(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(asyncio.CancelledError):
        patch.setattr("relay.rooms.heartbeat.asyncio.sleep", beaten)
        await world.keeper.run()
    assert world.keeper.refusal == ""
