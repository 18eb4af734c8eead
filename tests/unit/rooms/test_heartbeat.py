"""The heartbeat over fake leases, with a clock of its own."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from relay.awake import AwakeTime
from relay.backend.bus import BusHealth
from relay.backend.headroom import Headroom
from relay.backend.presence import LeaseEnd, LeaseStatus
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.rooms.health import HealthMonitor
from relay.rooms.heartbeat import Heartbeat, HeartbeatTiming, beat_interval
from tests.fleet import eventually

ALIVE = LeaseStatus()
LAPSED = LeaseStatus("lapsed")


class FakeAnnouncer:
    def __init__(self) -> None:
        self.rounds = 0
        self.needed = False
        self.reasons: list[LeaseEnd] = []
        self.failures: list[Exception] = []
        self.meanwhile: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] | None = None

    async def announce_all(self, between: Callable[[], Awaitable[None]], ended: LeaseEnd) -> None:
        if self.failures:
            raise self.failures.pop()
        self.rounds += 1
        self.reasons.append(ended)
        self.needed = False
        if self.meanwhile:
            await self.meanwhile(between)


class FakeTakeover:
    def __init__(self) -> None:
        self.begun: list[tuple[list[str], set[str]]] = []
        self.abandoned = 0

    def begin(self, status: LeaseStatus) -> None:
        if status.dead:
            self.begun.append((list(status.dead), set(status.retired)))

    def abandon(self) -> None:
        self.abandoned += 1


class FakeLeases:
    def __init__(self) -> None:
        self.replies: list[LeaseStatus | Exception] = []
        self.beats = 0

    async def beat(self) -> LeaseStatus:
        self.beats += 1
        reply = self.replies.pop(0) if self.replies else ALIVE
        if isinstance(reply, Exception):
            raise reply
        return reply


class FakeBus:
    state = BusHealth(ready=True, reachable=True, heard=0.0)

    def health(self) -> BusHealth:
        return self.state


class Awake(AwakeTime):
    """Reads the time of the test, less the time in which the worker stood still."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.stood_still = 0.0
        self._now = clock

    def read(self) -> float:
        return self._now() - self.stood_still


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.awake = Awake(lambda: self.now)
        self.returns: list[float] = []
        self.metrics = Metrics()
        self.announcer, self.takeover, self.leases, self.bus = FakeAnnouncer(), FakeTakeover(), FakeLeases(), FakeBus()
        self.health = HealthMonitor(
            self.bus,
            FleetKey(),
            headroom=Headroom(),
            uses_redis=True,
            deaf_limit=10,
            on_deaf=lambda: None,
            clock=lambda: self.now,
            metrics=self.metrics,
        )
        self.heartbeat = self.make(lambda: self.now, interval=0.5)

    def make(self, clock: Callable[[], float], interval: float) -> Heartbeat:
        return Heartbeat(
            self.leases,
            self.announcer,
            self.takeover,
            self.health,
            HeartbeatTiming(lease=10, interval=interval),
            on_return=self.returns.append,
            clock=clock,
            metrics=self.metrics,
            awake=self.awake,
        )

    async def beat_at(self, now: float, *replies: LeaseStatus | Exception) -> None:
        self.now = now
        self.leases.replies += replies
        await self.heartbeat.beat()


def dead(*leases: str, lapsed: bool = False, retired: set[str] | None = None) -> LeaseStatus:
    return LeaseStatus("lapsed" if lapsed else "", leases, retired or set())


@pytest.fixture
def world() -> World:
    return World()


def test_several_beats_fit_into_a_lease_and_two_into_a_second() -> None:
    assert beat_interval(10) == 0.5
    assert beat_interval(1) == 0.25


async def test_after_a_lapse_all_members_are_announced_until_that_succeeds(world: World) -> None:
    world.announcer.failures = [Unavailable()]
    await world.beat_at(0, LAPSED)
    assert world.announcer.rounds == 0
    await world.beat_at(0.5)
    await world.beat_at(1)
    assert world.announcer.rounds == 1
    assert world.metrics.registry.get_sample_value("relay_lease_lapses_total") == 1


@pytest.mark.parametrize("ended", ["lost", "older"])
async def test_after_a_loss_members_are_announced_as_after_a_loss_until_that_succeeds(world: World, ended) -> None:
    world.announcer.failures = [Unavailable(), Unavailable()]
    await world.beat_at(0, LeaseStatus(ended))
    await world.beat_at(0.5, LAPSED)
    await world.beat_at(1)
    await world.beat_at(1.5)
    assert world.announcer.reasons == [ended]
    assert world.metrics.registry.get_sample_value("relay_redis_losses_total", {"reason": ended}) == 1
    assert world.metrics.registry.get_sample_value("relay_lease_lapses_total") == 1


async def test_after_a_loss_members_are_taken_over_as_soon_as_the_lost_leases_end(world: World) -> None:
    await world.beat_at(20, dead("w8"))
    await world.beat_at(60, LeaseStatus("older", ["w9"]))
    assert world.takeover.abandoned == 1
    for now in (65, 68.9):
        await world.beat_at(now, dead("w9"))
    assert len(world.takeover.begun) == 1
    await world.beat_at(69, dead("w9"))
    assert world.takeover.begun[1:] == [(["w9"], set())]


async def test_members_are_announced_when_the_announcer_asks_for_it(world: World) -> None:
    world.announcer.needed = True
    await world.beat_at(0)
    assert world.announcer.rounds == 1


async def test_the_lease_is_renewed_however_many_members_are_announced(world: World) -> None:
    async def slowly(between) -> None:
        for _ in range(10):
            world.now += 0.3
            await between()

    world.announcer.meanwhile = slowly
    await world.beat_at(0, LAPSED, ALIVE, ALIVE, LAPSED)
    assert world.leases.beats == 6
    # The lease lapsed once more meanwhile: another round follows.
    await world.beat_at(4)
    assert world.announcer.rounds == 2


async def test_dead_workers_are_handed_to_the_takeover(world: World) -> None:
    await world.beat_at(10, dead("w8", "w9", retired={"w8"}))
    assert world.takeover.begun == [(["w8", "w9"], {"w8"})]


async def test_a_worker_that_starts_gives_others_the_time_of_a_lease_to_come_back(world: World) -> None:
    for now in (0, 5, 9.5):
        await world.beat_at(now, dead("w9"))
    assert world.takeover.begun == []
    await world.beat_at(10, dead("w9"))
    assert world.takeover.begun == [(["w9"], set())]


async def test_a_worker_whose_lease_lapsed_abandons_its_takeovers_and_waits_again(world: World) -> None:
    await world.beat_at(20, dead("w9"))
    await world.beat_at(60, dead("w9", lapsed=True))
    for now in (65, 69.9):
        await world.beat_at(now, dead("w9"))
    assert (len(world.takeover.begun), world.takeover.abandoned) == (1, 1)
    await world.beat_at(70, dead("w9"))
    assert len(world.takeover.begun) == 2


async def test_a_worker_that_was_cut_off_for_nearly_a_lease_waits_as_well(world: World) -> None:
    await world.beat_at(20)
    await world.beat_at(29.8, dead("w9"))
    for tenths in range(303, 398, 5):
        await world.beat_at(tenths / 10, dead("w9"))
    assert (world.takeover.begun, world.takeover.abandoned) == ([], 1)
    await world.beat_at(39.8, dead("w9"))
    assert world.takeover.begun == [(["w9"], set())]


async def test_the_end_of_an_outage_is_told_with_the_last_beat_before_it(world: World) -> None:
    assert not world.heartbeat.is_away
    await world.beat_at(20)
    await world.beat_at(20.5, Unavailable("gone"))
    await world.beat_at(21)
    assert world.returns == []
    await world.beat_at(22.4, Unavailable("gone"))
    assert not world.heartbeat.is_away
    await world.beat_at(22.5, Unavailable("gone"))
    assert world.heartbeat.is_away
    await world.beat_at(26)
    assert (world.heartbeat.is_away, world.returns) == (False, [21])


async def test_a_worker_that_stood_still_does_not_take_that_for_an_outage(world: World) -> None:
    await world.beat_at(20)
    world.awake.stood_still = 60
    await world.beat_at(80.1)
    assert world.returns == []
    # In an outage, nobody could return in the whole time.
    world.awake.stood_still += 5
    await world.beat_at(87.1, Unavailable("gone"))
    await world.beat_at(88.1)
    assert world.returns == [80.1]


async def test_a_redis_that_answers_late_was_there_all_the_time(world: World) -> None:
    await world.beat_at(20)
    await world.beat_at(22)
    assert world.returns == []
    # A beat that began without a connection waited for one.
    world.bus.state = BusHealth(ready=False, reachable=False, heard=1.0)
    await world.beat_at(24)
    assert world.returns == [22]


async def test_the_lease_is_renewed_while_a_part_of_redis_keeps_the_announcement_waiting(world: World) -> None:
    away = asyncio.Event()

    async def wait(between: Callable[[], Awaitable[None]]) -> None:
        await away.wait()
        await between()

    world.announcer.meanwhile = wait
    world.heartbeat = world.make(asyncio.get_running_loop().time, interval=0.01)
    world.leases.replies = [dead(lapsed=True)]
    beating = asyncio.create_task(world.heartbeat.beat())
    await eventually(lambda: world.leases.beats > 3)
    assert not beating.done()
    away.set()
    await beating
    assert world.announcer.reasons == ["lapsed"]


async def test_a_refusal_is_noted_until_redis_obeys_again(world: World, caplog) -> None:
    for reply in (Unavailable().because("OOM"), Unavailable().because("OOM"), OutcomeUnknown("late"), ALIVE):
        await world.beat_at(0, reply)
        caplog.records.append(world.health.refusal)
    levels = [getattr(record, "levelname", record) for record in caplog.records]
    assert levels == ["ERROR", "OOM", "OOM", "WARNING", "", ""]


async def test_the_loop_beats_until_it_is_cancelled(world: World) -> None:
    world.leases.replies = [Unavailable()]
    beating = asyncio.create_task(
        Heartbeat(
            world.leases,
            world.announcer,
            world.takeover,
            world.health,
            HeartbeatTiming(lease=0.02, interval=0.001),
            on_return=lambda since: None,
            clock=asyncio.get_running_loop().time,
            metrics=world.metrics,
        ).run()
    )
    async with asyncio.timeout(5):
        while world.leases.beats < 4:
            await asyncio.sleep(0)
    beating.cancel()
    await asyncio.wait([beating])
    assert beating.cancelled()
    assert world.metrics.registry.get_sample_value("relay_event_loop_lag_seconds_count") >= 3
