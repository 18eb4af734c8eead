"""Taking over dead workers' members: over fake leases, and beside a heartbeat and upkeep that must not wait."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from relay.backend.headroom import Headroom
from relay.backend.memory.rules import MemoryRoomRules
from relay.backend.memory.state import MemoryRooms
from relay.backend.memory.watches import MemoryWatchedRooms
from relay.backend.presence import HeldMember, LeaseStatus, PresenceEntry, Touched
from relay.backend.settings import HistorySettings, RoomSettings
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.errors import Unavailable
from relay.rooms.departures import Departures
from relay.rooms.health import HealthMonitor
from relay.rooms.heartbeat import Heartbeat, HeartbeatTiming
from relay.rooms.registry import LocalRooms
from relay.rooms.renewal import RoomRenewal
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.subscriptions import RoomSubscriptions
from relay.rooms.takeover import Takeover
from relay.rooms.trees import RoomTrees
from relay.rooms.upkeep import Upkeep
from relay.rooms.watches import Watches
from relay.tasks import BackgroundTasks
from tests.unit.rooms.test_departures import FakePresence
from tests.unit.rooms.test_heartbeat import FakeAnnouncer, FakeBus


class FakeLeases:
    """Dead workers' members by lease and batch; `step` is awaited before each batch."""

    def __init__(self, *batches: Sequence[HeldMember]) -> None:
        self.batches = batches
        self.forgotten: list[str] = []
        self.adopting: list[str] = []
        self.failures: list[Exception] = []
        self.released = asyncio.Event()
        self.released.set()

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        for batch in self.batches:
            self.adopting.append(lease)
            await self.released.wait()
            if self.failures:
                raise self.failures.pop()
            yield batch

    async def forget(self, lease: str) -> None:
        self.forgotten.append(lease)


class FakeTrees(RoomTrees):
    """Notes the members whose prepared changes are to be made, and whether their leaves may have been sent by then."""

    def __init__(self, is_leaving: Callable[[str], bool]) -> None:
        self.ended: list[tuple[str, str, bool]] = []
        self.is_leaving = is_leaving

    async def take_over(self, members: Iterable[HeldMember]) -> None:
        self.ended += [(member.room, member.peer, self.is_leaving(member.room)) for member in members]


class World:
    def __init__(self, *batches: Sequence[HeldMember]) -> None:
        self.now = 100.0
        self.leases, self.presence = FakeLeases(*batches), FakePresence()
        self.metrics, self.tasks = Metrics(), BackgroundTasks()
        self.departures = Departures(
            self.presence, grace=10, clock=lambda: self.now, metrics=self.metrics, on_settled=lambda room: None
        )
        self.trees = FakeTrees(self.departures.__contains__)
        rooms = MemoryRooms(lambda: self.now, lambda: self.now, HistorySettings())
        self.rules = MemoryRoomRules(rooms, RoomSettings())
        self.copies = RuleCopies(
            self.rules, self.tasks, is_ours=self.departures.__contains__, has_members=self.departures.__contains__
        )
        self.takeover = Takeover(self.leases, self.departures, self.copies, self.trees, self.tasks, self.metrics)

    async def finish(self) -> None:
        async with asyncio.timeout(5):
            while len(self.tasks):
                await asyncio.sleep(0)


TWO = ([HeldMember("r1", "a", 1, 3.0)], [HeldMember("r2", "b", 1, 3.0)])


async def test_members_are_held_batch_by_batch_and_then_the_lease_is_forgotten() -> None:
    world = World(*TWO)
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert sorted(world.departures.rooms()) == ["r1", "r2"]
    assert world.leases.forgotten == ["w9"]
    # A leave that is due at once would end the entry by which the changes are found.
    assert world.trees.ended == [("r1", "a", False), ("r2", "b", False)]


async def test_only_workers_that_died_without_a_word_are_counted_and_warned_of(caplog) -> None:
    world = World(*TWO)
    world.takeover.begin(LeaseStatus(dead=["w7", "w8", "w9"], retired={"w8"}, lost={"w7"}))
    await world.finish()
    assert world.leases.forgotten == ["w7", "w8", "w9"]
    assert world.metrics.registry.get_sample_value("relay_dead_workers_total") == 1
    assert [record.args[0] for record in caplog.records if record.levelname == "WARNING"] == ["w9"]


async def test_a_lease_is_taken_over_once_though_every_heartbeat_reports_it(caplog) -> None:
    world = World(*TWO)
    world.leases.released.clear()
    for _ in range(3):
        world.takeover.begin(LeaseStatus(dead=["w9"]))
        await asyncio.sleep(0)
    world.leases.released.set()
    await world.finish()
    # This heartbeat was on its way to Redis before the lease was forgotten.
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert world.leases.forgotten == ["w9"]
    # Redis was restored from a snapshot, and has the lease again.
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert world.leases.forgotten == ["w9", "w9"]


async def test_a_takeover_that_failed_is_begun_again_by_the_next_heartbeat() -> None:
    world = World(*TWO)
    world.leases.failures = [Unavailable()]
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert world.leases.forgotten == []
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert world.leases.forgotten == ["w9"]


async def test_a_takeover_that_died_is_logged_and_begun_again(caplog) -> None:
    world = World(*TWO)
    world.leases.failures = [ZeroDivisionError()]
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert "background task takeover died" in caplog.text
    world.takeover.begin(LeaseStatus(dead=["w9"]))
    await world.finish()
    assert world.leases.forgotten == ["w9"]


async def test_an_abandoned_takeover_stops_after_its_batch() -> None:
    world = World(*TWO)
    world.leases.released.clear()
    world.takeover.begin(LeaseStatus(dead=["w8", "w9"]))
    await asyncio.sleep(0)
    world.takeover.abandon()
    world.leases.released.set()
    await world.finish()
    assert (world.leases.adopting, world.leases.forgotten) == (["w8"], [])
    assert list(world.departures.rooms()) == ["r1"]


class SlowLeases(FakeLeases):
    """Counts time: each batch takes a tenth of a second of the world's clock, and each beat is noted."""

    def __init__(self, world: World, *batches: Sequence[HeldMember]) -> None:
        super().__init__(*batches)
        self._world = world
        self.beaten_at: list[float] = []

    async def beat(self) -> LeaseStatus:
        self.beaten_at.append(self._world.now)
        return LeaseStatus(False, ["dead"] if not self.forgotten else [])

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        async for batch in super().adopt(lease):
            await self._world.pass_time(0.1)
            yield batch

    async def touch(self, rooms, left=()) -> Touched:
        return Touched(())


class BusyWorld(World):
    """A heartbeat and upkeep beside a takeover of 10,000 members, in the world's time."""

    def __init__(self) -> None:
        super().__init__()
        batches = [[HeldMember(f"room{n}", f"p{m}", 1, 600.0) for m in range(100)] for n in range(100)]
        self.leases = SlowLeases(self, *batches)
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.takeover = Takeover(self.leases, self.departures, self.copies, self.trees, self.tasks, self.metrics)
        rooms = LocalRooms(self.metrics)
        health = HealthMonitor(
            FakeBus(),
            FleetKey(),
            headroom=Headroom(),
            uses_redis=True,
            deaf_limit=10,
            on_deaf=lambda: None,
            clock=lambda: self.now,
            metrics=self.metrics,
        )
        self.heartbeat = Heartbeat(
            self.leases,
            FakeAnnouncer(),
            self.takeover,
            health,
            HeartbeatTiming(lease=2, interval=0.5),
            on_return=lambda since: None,
            clock=lambda: self.now,
            metrics=self.metrics,
        )
        self.upkeep = Upkeep(
            self.departures,
            RoomSubscriptions(rooms, FakeBus(), Watches(rooms, MemoryWatchedRooms()), timeout=5, clock=time.monotonic),
            RoomRenewal(rooms, self.departures, self.leases, rounds=60, metrics=self.metrics),
            self.copies,
            health,
            interval=0.5,
            clock=lambda: self.now,
        )

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps, in which all others get to run."""
        for _ in range(round(seconds * 20)):
            self.now = round(self.now + 0.05, 2)
            due = [sleeper for end, sleeper in self._sleepers if end <= self.now]
            self._sleepers = [one for one in self._sleepers if one[0] > self.now]
            for sleeper in due:
                sleeper.set_result(None)
            for _ in range(10):
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def every_half_second(self, work: Callable[[], Awaitable[None]]) -> None:
        """As the loops' own `run`, in the world's time."""
        while True:
            due = self.now + 0.5
            await work()
            sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.append((due, sleeper))
            await sleeper


async def test_a_takeover_of_ten_thousand_members_delays_neither_the_lease_nor_own_departures() -> None:
    world, left_at = BusyWorld(), dict[str, float]()
    leave = world.presence.leave

    def noted(entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        if not hold:
            left_at[entry.peer] = world.now
        return leave(entry, hold=hold)

    world.presence.leave = noted
    for number in range(5):
        # Lost one after the other: each is due in one of the next seconds, while the takeover is under way.
        world.now += 1
        await world.departures.begin(PresenceEntry("own", f"own{number}", 1), hold=True)
    world.now = began = 110.0
    loops = [asyncio.create_task(world.every_half_second(work)) for work in (world.heartbeat.beat, world.upkeep.work)]
    while not world.leases.forgotten:
        await world.pass_time(0 if world.leases.adopting else 0.05)
    for loop in loops:
        loop.cancel()
    await asyncio.wait(loops)
    assert world.now - began >= 10
    assert len(world.departures) == 10_000
    beats = world.leases.beaten_at
    assert max(later - earlier for earlier, later in itertools.pairwise(beats)) < 0.61
    delays = [left_at[f"own{number}"] - (111 + number) for number in range(5)]
    assert max(delays) < 0.61
