"""The nodes of a cluster: which are asked, which are new, and which are given up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.backend.redis.cluster.redirects import Redirect
from relay.backend.redis.cluster.slots import slot_of_key, slot_of_tag
from relay.backend.redis.scripts import TURN_OVER, sharded
from relay.model.errors import Unavailable
from tests.unit.backend.redis.cluster.nodes import World, until

ALL = (0, 16_383)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with world.cluster:
        yield world


async def test_commands_go_to_the_node_of_their_key(world: World) -> None:
    at = slot_of_tag("room")
    await world.become(a=(0, at - 1), b=(at, 16_383))
    world.cluster.tell("SET", "relay:{room}:x", "1")
    called = world.cluster.call("GET", "relay:{room}:x")
    run = world.cluster.run(TURN_OVER, ("relay:{room}:turn",), "me")
    assert [sent.split(b"\r\n")[2] for sent in world.links["b"].sent] == [b"SET", b"GET", b"EVALSHA"]
    assert sharded(TURN_OVER).sha.encode() in world.links["b"].sent[2]
    for reply in (b"OK", b"1", 1):
        world.links["b"].pending.popleft()(reply)
    assert (await called, await run) == (b"1", 1)
    assert world.links["a"].sent == []
    assert world.cluster.slots_served == 16_384


async def test_commands_wait_until_the_cluster_is_known(world: World) -> None:
    called = world.cluster.call("GET", "x")
    assert not world.cluster.reachable
    assert world.cluster.report == "the nodes of the cluster are not known yet"
    await world.become(a=ALL)
    await until(lambda: world.links["a"].sent)
    world.links["a"].pending.popleft()(b"1")
    assert await called == b"1"
    assert (world.cluster.reachable, world.cluster.report) == (True, "")


async def test_no_more_waits_than_may(world: World) -> None:
    calls = [world.cluster.call("GET", "x") for _ in range(4)]
    with pytest.raises(Unavailable, match="too many requests"):
        await calls[3]
    for call in calls[:3]:
        with pytest.raises(Unavailable, match="no node of the Redis cluster"):
            await call


async def test_a_node_that_has_lost_its_slots_hands_its_commands_on_and_is_given_up(world: World) -> None:
    await world.become(a=ALL)
    old = world.links["a"]
    called = world.cluster.call("GET", "x")
    await world.become(2, b=ALL)
    assert world.given_up == [("a", 1)]
    await until(lambda: old.closed)
    await until(lambda: world.links["b"].sent)
    world.links["b"].pending.popleft()(b"1")
    assert await called == b"1"
    assert world.changes == 2


async def test_a_master_whose_part_another_has_taken_is_a_failover(world: World) -> None:
    await world.become(1, a=(0, 9999), b=(10_000, 16_383))
    # A cluster that grows and shrinks.
    await world.become(2, a=(0, 9999), b=(10_000, 11_999), c=(12_000, 16_383))
    await world.become(3, a=(0, 11_999), c=(12_000, 16_383))
    assert world.failovers == 0
    await world.become(4, d=(0, 11_999), c=(12_000, 16_383))
    assert world.failovers == 1
    # Redis 8.0 takes the slots of a dead master from it before a replica has them.
    await world.become(5, lost=["d"], c=(12_000, 16_383))
    await world.become(6, e=(0, 11_999), c=(12_000, 16_383))
    assert world.failovers == 2


async def test_another_address_of_a_node_is_no_failover(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Nodes that disagree name one address and another, and the first one works."""
    await world.become(1, a=ALL, ids={"a": "x"})
    for epoch in range(2, 6):
        await world.become(epoch, b=ALL, ids={"b": "x"})
        await world.become(epoch, a=ALL, ids={"a": "x"})
    assert (list(world.links), world.given_up, world.changes) == (["a"], [], 1)
    assert len(caplog.messages) == 1
    assert world.failovers == 0


async def test_a_node_whose_address_has_changed_is_reached_again_and_is_no_failover(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.backend.redis.cluster.places._FIRST_PAUSE", 0.0)
    await world.become(1, a=ALL, ids={"a": "x"})
    world.links["a"].reachable = False
    await world.become(1, b=ALL, ids={"b": "x"})
    assert list(world.cluster.nodes) == [("b", 1)]
    assert world.failovers == 0
    # Another node at the same address is one.
    await world.become(2, b=ALL, ids={"b": "y"})
    assert world.failovers == 1


async def test_the_same_topology_changes_nothing(world: World) -> None:
    await world.become(a=ALL)
    await world.become(2, a=ALL)
    assert world.changes == 1


async def test_a_redirection_leads_to_the_node_that_it_names(world: World) -> None:
    await world.become(a=ALL)
    asked: Any = world.links["a"]
    client: Any = world.cluster.follow(Redirect("moved", ("announced", 7)), 5, asked)
    assert client.address == ("mapped", 7)
    assert client.opened
    # Its slots are not known yet, but this one.
    assert slot_of_key(world.cluster.nodes["mapped", 7].run.key) == 5
    without_host: Any = world.cluster.follow(Redirect("moved", ("", 9)), 5, asked)
    assert without_host.address == ("a", 9)
    without_name: Any = world.cluster.follow(Redirect("moved", ("?", 1)), 5, asked)
    assert without_name is asked
    elsewhere: Any = world.cluster.follow(Redirect("moved", ("?", 8)), 5, asked)
    assert elsewhere.address == ("a", 8)
    assert world.cluster.follow(Redirect("again"), 5, asked) is None


async def test_a_lost_connection_asks_for_the_topology(world: World) -> None:
    await world.become(a=ALL)
    await asyncio.sleep(0.1)
    before = world.search.asked
    world.links["a"].on_lost()
    await until(lambda: world.search.asked > before)


async def test_each_node_is_looked_after(world: World) -> None:
    await world.become(a=(0, 99), b=(100, 16_383))
    world.cluster.look_after()
    assert world.links["a"].asked == world.links["b"].asked == ["time", "run", "memory"]


async def test_operators_are_told_which_nodes_are_away(world: World) -> None:
    await world.become(a=(0, 99), b=(100, 16_383))
    world.links["b"].reachable, world.links["b"].report = False, "connection refused"
    assert (world.cluster.reachable, world.cluster.report) == (False, "b:1: connection refused")


async def test_each_cause_for_which_no_node_is_found_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if "Redis cluster" in record.getMessage()]

    async def searched() -> None:
        before = world.search.asked
        await until(lambda: world.search.asked > before + 2)

    world.search.report = "a:1, b:1: connection refused"
    await until(lambda: world.search.asked > 2)
    world.search.report = "a:1: Redis does not accept the user or the password"
    await searched()
    assert lines() == [
        f"cannot find the nodes of the Redis cluster ({cause}); trying again until one of redis-url tells them"
        for cause in ("a:1, b:1: connection refused", "a:1: Redis does not accept the user or the password")
    ]
    await world.become(a=ALL)
    assert lines()[2].startswith("the Redis cluster was found after ")
    await world.become(2, a=(0, 99), b=(100, 16_383))
    await world.become(3, c=(0, 99), b=(100, 16_383))
    assert lines()[3:] == [
        "the Redis cluster has other masters: b:1 new, none gone; 2 now, 1 before",
        "the Redis cluster has other masters: c:1 new, a:1 gone; 2 now, 2 before",
    ]
