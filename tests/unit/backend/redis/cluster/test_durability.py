"""A receipt waits for the replicas of the node that has given it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.backend.redis.cluster.durability import ClusterDurability
from relay.backend.redis.cluster.node import Node
from relay.model.errors import NotMember, OutcomeUnknown
from relay.model.publication import Receipt
from tests.unit.backend.redis.cluster.nodes import World, until


class Replicas:
    problem = ""

    def __init__(self, node: Node) -> None:
        self.address, self.closed = node.address, False
        self.held: list[Any] = []

    def open(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    def after(self, done: Any, outcome: Any) -> None:
        self.held.append(outcome)


class Desk:
    def __init__(self, world: World) -> None:
        self.world, self.made, self.unconfirmed = world, dict[str, Replicas](), 0
        self.durability = ClusterDurability(world.cluster, self.make, self.count)
        self.outcomes: list[Any] = []

    def make(self, node: Node) -> Any:
        self.made[node.address[0]] = Replicas(node)
        return self.made[node.address[0]]

    def count(self) -> None:
        self.unconfirmed += 1

    def publish(self) -> None:
        def answered(reply: Any) -> None:
            self.durability.confirm("room", self.outcomes.append, reply)

        self.world.cluster.at_room("room").send(b"x", answered)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(World())
    async with desk.world.cluster, desk.durability:
        yield desk


RECEIPT = Receipt(b"1-1")


async def test_a_receipt_waits_for_the_replicas_of_the_node_that_gave_it(desk: Desk) -> None:
    await desk.world.become(a=(0, 16_383))
    desk.publish()
    desk.world.links["a"].pending.popleft()(RECEIPT)
    assert (desk.made["a"].held, desk.outcomes) == ([RECEIPT], [])


async def test_a_receipt_of_a_node_that_was_replaced_is_an_unknown_outcome(desk: Desk) -> None:
    """Its successor may lack the message, however many replicas that has."""
    await desk.world.become(a=(0, 16_383))
    desk.publish()
    desk.publish()
    first, second = desk.world.links["a"].pending
    desk.world.links["a"].pending.clear()
    await desk.world.become(2, b=(0, 16_383))
    first(RECEIPT)
    (outcome,) = desk.outcomes
    assert isinstance(outcome, OutcomeUnknown)
    assert (desk.unconfirmed, desk.made["b"].held) == (1, [])
    second(NotMember())
    assert isinstance(desk.outcomes[1], NotMember)
    await until(lambda: desk.made["a"].closed)


async def test_a_loop_that_has_died_shows(desk: Desk) -> None:
    await desk.world.become(a=(0, 16_383))
    assert desk.durability.problem == ""
    desk.made["a"].problem = "redis replicas died"
    assert desk.durability.problem == "redis replicas died"
