"""When a worker counts as working, and the checks that `/health` reports."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from relay.backend.bus import BusHealth
from relay.backend.headroom import Headroom
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.rooms.health import Check, HealthMonitor
from relay.tasks import KeptLoop

READY = BusHealth(ready=True, reachable=True, heard=0.5)
DEAF = BusHealth(ready=False, reachable=True, heard=5.0, problem="not heard for 5 s")
AWAY = BusHealth(ready=False, reachable=False, heard=5.0, problem="Redis is away")


class World:
    def __init__(self, *, uses_redis: bool = True) -> None:
        self.now, self.bus_state, self.deaf = 0.0, READY, 0
        self.metrics = Metrics()
        self.fleet_key = FleetKey(["x" * 32])
        self.monitor = HealthMonitor(
            self,
            self.fleet_key,
            headroom=Headroom(),
            uses_redis=uses_redis,
            deaf_limit=10,
            on_deaf=self._on_deaf,
            clock=lambda: self.now,
            metrics=self.metrics,
        )
        self.loop = KeptLoop(self._run, "upkeep")
        self.monitor.supervise(self.loop)

    def health(self) -> BusHealth:
        """As a bus."""
        return self.bus_state

    def _on_deaf(self) -> None:
        self.deaf += 1

    def watch_until(self, end: int) -> None:
        while self.now < end:
            self.now += 1
            self.monitor.watch()

    async def _run(self) -> None:
        await asyncio.Event().wait()

    async def end_loop(self) -> None:
        await self.loop.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.end_loop()


async def test_a_worker_works_while_it_hears_itself_and_its_loops_run(world: World) -> None:
    assert world.monitor.works
    world.bus_state = DEAF
    assert not world.monitor.works
    world.bus_state = READY
    await world.end_loop()
    assert not world.monitor.works
    check = world.monitor.checks(draining=False)["heartbeat"]
    assert (check.ok, check.text) == (False, "upkeep has ended")


async def test_a_worker_works_only_with_the_fleet_key(world: World) -> None:
    key = FleetKey()
    monitor = HealthMonitor(
        world,
        key,
        headroom=Headroom(),
        uses_redis=True,
        deaf_limit=1,
        on_deaf=lambda: None,
        clock=lambda: 0.0,
        metrics=Metrics(),
    )
    monitor.supervise(world.loop)
    assert not monitor.works
    assert monitor.checks(draining=False)["fleet_key"] == Check(False, "was not read from Redis yet")
    key.agree([f"{1:017}-{key.suggestion}"])
    assert monitor.works
    assert monitor.checks(draining=False)["fleet_key"] == Check(True, "is shared through Redis")


async def test_handshakes_ask_for_the_state_of_a_moment_ago_and_never_for_an_earlier_failure(world: World) -> None:
    assert world.monitor.worked_just_now
    world.bus_state = DEAF
    assert world.monitor.worked_just_now
    world.now += 0.1
    assert not world.monitor.worked_just_now
    world.bus_state = READY
    assert world.monitor.worked_just_now
    world.bus_state = DEAF
    assert not world.monitor.works
    assert not world.monitor.worked_just_now


async def test_a_worker_without_redis_has_nothing_to_hear() -> None:
    world = World(uses_redis=False)
    world.bus_state = AWAY
    assert world.monitor.works
    assert set(world.monitor.checks(draining=False)) == {"bus", "heartbeat", "memory", "draining"}
    await world.end_loop()


async def test_a_worker_that_was_not_started_does_not_work() -> None:
    monitor = HealthMonitor(
        World(),
        FleetKey(),
        headroom=Headroom(),
        uses_redis=False,
        deaf_limit=1,
        on_deaf=lambda: None,
        clock=lambda: 0.0,
        metrics=Metrics(),
    )
    assert not monitor.works


async def test_the_checks_say_what_is_missing(world: World) -> None:
    assert world.monitor.checks(draining=False) == {
        "redis": Check(True, "answers"),
        "fleet_key": Check(True, "is set by fleet-secret"),
        "subscription": Check(True, "heard itself", 0.5),
        "heartbeat": Check(True, "runs"),
        "memory": Check(True, "the memory has no limit that the relay knows"),
        "draining": Check(True, "no"),
    }
    world.bus_state = AWAY
    checks = world.monitor.checks(draining=True)
    assert checks["redis"] == Check(False, "Redis is away")
    assert checks["subscription"] == Check(False, "Redis is away", 5.0)
    assert checks["draining"] == Check(False, "is stopping")


async def test_a_refusal_counts_until_every_loop_that_met_one_has_succeeded(world: World, caplog) -> None:
    world.monitor.note("heartbeat", Unavailable().because("OOM"))
    world.monitor.note("upkeep", Unavailable().because("OOM"))
    assert not world.monitor.works
    assert world.monitor.checks(draining=False)["redis"] == Check(False, "refuses: OOM")
    world.monitor.note("heartbeat", None)
    assert world.monitor.refusal == "OOM"
    world.monitor.note("upkeep", OutcomeUnknown("late"))
    assert (world.monitor.refusal, world.monitor.works) == ("", True)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_what_one_shard_refuses_takes_no_worker_out(world: World, caplog) -> None:
    """The bus names a shard that refuses, and decides by `shards-needed`."""
    world.bus_state = replace(READY, deaf=())
    for source in ("heartbeat", "upkeep", "fleet key"):
        world.monitor.note(source, Unavailable().because("NOREPLICAS"))
    assert (world.monitor.works, world.monitor.refusal, caplog.text) == (True, "", "")
    world.bus_state = replace(READY, reachable=False, problem="shard a:1", deaf=("shard a:1",))
    checks = world.monitor.checks(draining=False)
    assert (checks["shards"], checks["redis"]) == (Check(False, "shard a:1"), Check(False, "shard a:1"))
    assert world.monitor.works


async def test_a_refusal_is_reported_in_the_words_of_redis(world: World, caplog) -> None:
    world.monitor.note("heartbeat", Unavailable("a permission is missing").because("NOPERM can't run 'evalsha'"))
    assert world.monitor.checks(draining=False)["redis"].text == "refuses: NOPERM can't run 'evalsha'"
    assert "NOPERM can't run 'evalsha'" in caplog.text


async def test_the_lateness_of_the_worker_is_no_refusal_of_redis(world: World) -> None:
    world.monitor.note("heartbeat", Unavailable("the lease had lapsed"))
    assert world.monitor.works


async def test_an_absent_redis_is_no_refusal(world: World) -> None:
    world.bus_state = AWAY
    world.monitor.note("heartbeat", Unavailable().because("Redis was away for 5 s"))
    assert world.monitor.refusal == ""


async def test_a_worker_that_stays_deaf_calls_back_once(world: World) -> None:
    world.bus_state = DEAF
    world.watch_until(11)
    assert world.deaf == 0
    world.watch_until(12)
    assert world.deaf == 1
    world.watch_until(20)
    assert world.deaf == 1


@pytest.mark.parametrize("state", [READY, AWAY])
async def test_a_worker_that_hears_itself_or_has_no_redis_is_not_deaf(world: World, state: BusHealth) -> None:
    world.bus_state = DEAF
    world.watch_until(10)
    world.bus_state = state
    world.watch_until(11)
    world.bus_state = DEAF
    world.watch_until(21)
    assert world.deaf == 0


async def test_the_gauges_follow_the_bus(world: World) -> None:
    value = world.metrics.registry.get_sample_value
    world.monitor.watch()
    assert (value("relay_ready"), value("relay_bus_probe_age_seconds")) == (1, 0.5)
    world.bus_state = BusHealth(ready=False, reachable=True, heard=None)
    world.monitor.watch()
    age = value("relay_bus_probe_age_seconds")
    assert value("relay_ready") == 0
    assert age != age  # never heard: not a number
