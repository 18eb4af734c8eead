"""Subscriptions at the nodes of a cluster: each channel is where its slot is, and follows it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from relay.awake import AwakeTime
from relay.backend.bus import BusHealth
from relay.backend.redis.cluster.lines import ClusterLines
from relay.backend.redis.cluster.node import Node
from relay.backend.redis.cluster.replication import ShardReplication
from relay.backend.redis.cluster.slots import slot_of_tag
from relay.backend.redis.cluster.subscriber import Subscription
from relay.metrics import Metrics
from relay.model.errors import Unavailable
from tests.unit.backend.redis.cluster.nodes import World, until

AT = slot_of_tag("room")
ROOM, OTHER = "relay:{room}", "relay:{r}"
HEARD = BusHealth(True, True, 0.1)


class Line:
    """A line that confirms its subscriptions, unless it is mute."""

    def __init__(self, node: Node, probe: str, on_moved: Callable[[int], None]) -> None:
        self.node, self.probe, self.on_moved = node, probe, on_moved
        self.shard = self
        self.channels: dict[str, Subscription] = {}
        self.mute = False
        self.state = HEARD
        self.away = 0.0
        self.closed = False

    def deliver(self, on_arrivals: Any) -> None:
        self.on_arrivals = on_arrivals

    def open(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    def probe_on(self, channel: str) -> None:
        self.probe = channel

    def give_up(self, channels: Iterable[str]) -> dict[str, Subscription]:
        given = {}
        for channel in channels:
            its = self.channels.pop(channel)
            given[channel] = its if self.mute else Subscription(was_confirmed=True)
        return given

    def go_on(self, given: dict[str, Subscription]) -> None:
        self.channels |= given
        for one in given.values():
            if one.waiting is not None and not one.waiting.done() and not self.mute:
                one.waiting.set_result(None)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self.channels.pop(channel, None)

    def health(self) -> BusHealth:
        return self.state


class Desk:
    def __init__(self, *, all_needed: bool = False) -> None:
        self.world = World()
        self.made: dict[str, Line] = {}
        self.refusals: dict[str, str] = {}
        self.replication = ShardReplication(self.world.cluster, Metrics(), needed=0, clock=time.monotonic)
        self.lines = self.make_lines(all_needed=all_needed)

    def make_lines(self, *, all_needed: bool = False, awake: AwakeTime | None = None) -> ClusterLines:
        return ClusterLines(
            self.world.cluster,
            self.make,
            lambda node: f"probe-{node.tag}",
            self.replication,
            lambda node: self.refusals.get(node.address[0], ""),
            all_needed=all_needed,
            timeout=0.2,
            awake=awake,
        )

    def make(self, node: Node, probe: str, on_moved: Callable[[int], None]) -> Any:
        self.made[node.address[0]] = Line(node, probe, on_moved)
        return self.made[node.address[0]]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    async with desk.world.cluster, desk.lines:
        await desk.world.become(a=(0, AT - 1), b=(AT, 16_383))
        yield desk


async def test_a_channel_is_subscribed_at_the_node_of_its_slot(desk: Desk) -> None:
    await desk.lines.subscribe([ROOM, OTHER])
    assert slot_of_tag("r") < AT
    assert ([*desk.made["a"].channels], [*desk.made["b"].channels]) == ([OTHER], [ROOM])
    desk.lines.unsubscribe([ROOM])
    assert not desk.made["b"].channels


async def test_channels_follow_their_slot_by_the_topology(desk: Desk) -> None:
    await desk.lines.subscribe([ROOM, OTHER])
    await desk.world.become(2, a=(0, 16_383))
    assert desk.made["a"].channels[ROOM] == Subscription(was_confirmed=True)
    await until(lambda: desk.made["b"].closed)
    assert desk.made["a"].probe.startswith("probe-")


async def test_channels_that_a_node_has_lost_are_tried_until_the_topology_is_known(desk: Desk) -> None:
    await desk.lines.subscribe([ROOM])
    desk.made["b"].on_moved(AT)
    assert not desk.made["b"].channels
    # The topology still names this node.
    await until(lambda: desk.made["b"].channels)
    assert desk.made["b"].channels[ROOM].was_confirmed
    desk.made["b"].on_moved(AT)
    await desk.world.become(2, a=(0, 16_383))
    await until(lambda: desk.made["a"].channels)
    # Another slot, of which nothing is subscribed.
    desk.made["a"].on_moved(5)


async def test_a_late_answer_of_the_old_node_does_not_take_channels_from_the_new_one(desk: Desk) -> None:
    await desk.lines.subscribe([ROOM])
    await desk.world.become(2, a=(0, 16_300), b=(16_301, 16_383))
    desk.made["b"].on_moved(AT)
    assert ROOM in desk.made["a"].channels


async def test_a_subscriber_at_a_mute_node_is_refused_in_time_or_confirmed_by_the_next(desk: Desk) -> None:
    desk.made["b"].mute = True
    desk.made["b"].state = BusHealth(False, False, None, "connection refused")
    with pytest.raises(Unavailable) as raised:
        await desk.lines.subscribe([ROOM])
    assert "connection refused" in raised.value.report
    assert "connection refused" not in raised.value.text
    waiting = asyncio.create_task(desk.lines.subscribe([ROOM]))
    await asyncio.sleep(0)
    await desk.world.become(2, a=(0, 16_383))
    await waiting


async def test_a_worker_is_ready_while_it_hears_any_shard_and_says_which_are_deaf(desk: Desk) -> None:
    assert desk.lines.health() == BusHealth(True, True, 0.1, "", deaf=())
    desk.made["b"].state = BusHealth(False, False, 7.0, "own probe not heard for 7.0 s: connection refused")
    health = desk.lines.health()
    assert (health.ready, health.reachable, health.heard) == (True, False, 7.0)
    (deaf,) = health.deaf or ()
    assert deaf == f"shard b:1 (slots {AT}-16383): own probe not heard for 7.0 s: connection refused"
    desk.made["a"].state = BusHealth(False, True, None, "own probe not heard yet")
    assert not desk.lines.health().ready


async def test_a_shard_that_refuses_commands_counts_as_deaf_although_probes_come_back(desk: Desk) -> None:
    desk.refusals["b"] = "NOREPLICAS"
    health = desk.lines.health()
    assert health.deaf == (f"shard b:1 (slots {AT}-16383): refuses commands: NOREPLICAS",)
    assert (health.ready, health.reachable) == (True, False)
    # Not deaf: the worker keeps its clients, as no other one could serve them.
    desk.refusals["a"] = "NOREPLICAS"
    health = desk.lines.health()
    assert (health.ready, health.reachable) == (False, False)


async def test_slots_without_a_node_are_named(desk: Desk) -> None:
    await desk.world.become(2, a=(0, 16_000))
    health = desk.lines.health()
    assert (health.ready, health.reachable) == (True, False)
    assert health.problem == "383 of 16384 slots: no node of the cluster has them"
    # A worker that has begun while a shard was lost does not know its slots.
    await desk.world.become(3, a=(0, 16_000), lost=["c"])
    assert desk.lines.health().problem == "383 of 16384 slots: no node of the cluster has them; dead: c:1"


async def test_a_dead_master_that_redis_names_without_its_slots_is_a_deaf_shard(desk: Desk) -> None:
    desk.made["b"].state = BusHealth(False, False, 7.0, "connection refused")
    await desk.world.become(2, a=(0, AT - 1), lost=["b"])
    assert desk.lines.health().problem == f"shard b:1 (slots {AT}-16383): connection refused"


async def test_all_shards_may_be_needed() -> None:
    desk = Desk(all_needed=True)
    async with desk.world.cluster, desk.lines:
        assert not desk.lines.health().ready
        await desk.world.become(a=(0, AT - 1), b=(AT, 16_383))
        assert desk.lines.health().ready
        desk.refusals["a"] = "NOREPLICAS"
        assert not desk.lines.health().ready
        desk.refusals.clear()
        desk.made["b"].state = BusHealth(False, True, None, "own probe not heard yet")
        assert not desk.lines.health().ready


async def test_a_cluster_that_refuses_all_commands_is_not_reached(desk: Desk) -> None:
    """Its workers are not deaf, so they keep their clients: no other worker could serve them."""
    await desk.world.become(a=(0, 16_383), down=True)
    health = desk.lines.health()
    assert (health.ready, health.reachable) == (False, False)
    assert health.problem.startswith("the Redis cluster is down")
    await desk.world.become(2, a=(0, 16_383))
    assert desk.lines.health() == BusHealth(True, True, 0.1, "", deaf=())


async def test_the_clock_of_others_goes_on_before_and_after_the_lines_are_open() -> None:
    desk = Desk()
    awake = desk.world.cluster.awake

    async def ticked() -> None:
        before = awake.now
        await until(lambda: awake.now > before)

    async with desk.world.cluster:
        lines = desk.make_lines(awake=awake)
        await ticked()
        async with lines:
            await ticked()
        await ticked()


async def test_without_a_known_shard_not_all_are_heard() -> None:
    desk = Desk()
    desk.world.search.report = "a:1: connection refused"
    text = "no shard is known; no node that redis-url names tells them (a:1: connection refused)"
    async with desk.world.cluster, desk.lines:
        health = desk.lines.health()
        assert not health.ready
        assert health.deaf == (text,)
        assert health.problem == text
        await desk.world.become(a=(0, 16_383))
        assert desk.lines.health().deaf == ()


def refusal(desk: Desk, channel: str) -> str:
    """The text with which requests for a channel are refused at once; "" if they are not."""
    try:
        desk.lines.check(channel)
    except Unavailable as error:
        return error.text
    return ""


async def test_a_channel_of_a_lost_shard_is_refused_at_once_when_no_failover_can_be_expected(desk: Desk) -> None:
    assert refusal(desk, ROOM) == ""
    # A failover takes longer than the 0.2 seconds of the timeout: whoever waits meanwhile is served after it.
    desk.made["b"].away = 0.39
    assert refusal(desk, ROOM) == ""
    desk.made["b"].away = 12.0
    text = refusal(desk, ROOM)
    assert text.startswith("the part of the Redis cluster that has this room is away; other rooms go on (since 12 s)")
    assert "b:1" not in text
    assert refusal(desk, OTHER) == ""
    # A replica has taken its part.
    await desk.world.become(2, a=(0, AT - 1), c=(AT, 16_383))
    assert refusal(desk, ROOM) == ""


async def test_channels_of_slots_without_a_node_are_refused_after_some_time(desk: Desk) -> None:
    await desk.world.become(2, a=(0, 16_000))
    assert refusal(desk, "relay:{r}") == ""
    channel = next(f"relay:{{x{number}}}" for number in range(10_000) if slot_of_tag(f"x{number}") > 16_000)
    assert refusal(desk, channel) == ""
    await until(lambda: refusal(desk, channel))
    assert refusal(desk, OTHER) == ""
    # It is looked for, though nobody asks for it.
    looks = desk.world.search.asked
    await until(lambda: desk.world.search.asked > looks)
    await desk.world.become(3, a=(0, 16_383))
    assert refusal(desk, channel) == ""


async def test_all_channels_of_a_cluster_that_is_down_are_refused_after_some_time(desk: Desk) -> None:
    await desk.world.become(2, a=(0, 16_383), down=True)
    assert refusal(desk, OTHER) == ""
    await until(lambda: refusal(desk, OTHER))
    assert refusal(desk, OTHER).startswith("the Redis cluster is down (since ")
    await desk.world.become(3, a=(0, 16_383))
    assert refusal(desk, OTHER) == ""
