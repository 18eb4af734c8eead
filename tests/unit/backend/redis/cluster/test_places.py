"""Nodes of a cluster that name different addresses for one node: its connection stays where it works."""

import pytest

from relay.backend.redis.cluster.places import NodePlaces, State
from relay.backend.redis.cluster.topology import Shard, Topology
from relay.config.redis_url import Address

A, B, C = (("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1))
WORKS, DEAF, AWAY = State(True, True), State(True, False), State(False, False)


class Cluster:
    """One node, which other nodes name at one address or another, and the clock."""

    def __init__(self) -> None:
        self.states: dict[Address, State] = {}
        self.now = 100.0
        self.places = NodePlaces(lambda address: self.states.get(address, AWAY), lambda: self.now)

    def named(self, address: Address, *others: Address, lost: tuple[Address, ...] = ()) -> Address:
        """The address that is used when this one is named for the node."""
        shards = (Shard(address, ((0, 99),), "x"), *(Shard(other, ((100, 199),), "y") for other in others))
        found = self.places.settle(Topology(1, shards, tuple(one.address for one in shards), lost=lost))
        return found.shards[0].address


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_node_that_works_stays_where_it_is(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.states[A] = WORKS
    for address in (A, B, A, B):
        cluster.now += 10
        assert cluster.named(address) == A
    assert cluster.places.of(B) == A
    assert caplog.messages == [
        "the Redis cluster names another address for the node at 10.0.0.1:1, which answers there: 10.0.0.2:1; "
        "this worker goes there when the connection is lost"
    ]


def test_a_node_that_is_lost_moves_at_once(cluster: Cluster) -> None:
    cluster.states[A] = WORKS
    assert cluster.named(A) == A
    cluster.now += 10
    assert cluster.named(B) == A
    cluster.states[A] = AWAY
    assert cluster.named(B) == B
    assert cluster.places.of(B) == B


def test_a_node_that_is_reached_nowhere_moves_less_and_less(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """The nodes name one address and another, and neither works."""
    for turn in range(4 * 3600):
        cluster.now += 0.25
        cluster.named((A, B)[turn % 2])
    assert 60 <= len(caplog.messages) <= 66
    # Once it has worked, it need not wait any more.
    used = cluster.named(A)
    cluster.states[used] = WORKS
    cluster.now += 100
    cluster.named(used)
    cluster.states.clear()
    assert cluster.named(C) == C


def test_an_address_that_works_for_commands_alone_is_left_after_a_while(cluster: Cluster) -> None:
    cluster.states[A] = WORKS
    cluster.named(A)
    cluster.now += 10
    cluster.named(A)
    cluster.states[A] = DEAF
    assert cluster.named(B) == A
    cluster.now += 10
    assert cluster.named(B) == B


def test_an_address_that_another_node_has_now_is_left(cluster: Cluster) -> None:
    cluster.states[A] = WORKS
    assert cluster.named(A) == A
    assert cluster.named(B, A) == B
    assert cluster.places.of(B) == B


def test_a_dead_master_is_known_by_the_address_that_was_used(cluster: Cluster) -> None:
    cluster.states[A] = WORKS
    cluster.named(A)
    cluster.named(B)
    for _ in range(2):
        found = cluster.places.settle(Topology(2, (), (), lost=(B,)))
        assert found.lost == (A,)
