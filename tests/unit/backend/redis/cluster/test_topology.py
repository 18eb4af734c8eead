"""Reading CLUSTER SHARDS, as Redis answers it in RESP 2."""

from typing import Any

import pytest

from relay.backend.redis.cluster.topology import AddressMap, Owners, Shard, Topology, read_topology

INFO = b"cluster_state:ok\r\ncluster_current_epoch:7\r\n"
ASKED = ("10.0.0.1", 6379)


def node(port: int, role: bytes = b"master", health: bytes = b"online", host: bytes = b"h", **more: Any) -> list[Any]:
    fields = {b"id": b"", b"port": port, b"ip": host, b"endpoint": host, b"role": role, b"health": health}
    fields |= {name.replace("_", "-").encode(): value for name, value in more.items()}
    return [part for pair in fields.items() for part in pair]


def shard(slots: list[int], *nodes: list[Any]) -> list[Any]:
    return [b"slots", slots, b"nodes", list(nodes)]


def read(*shards: Any, addresses: AddressMap | None = None) -> Topology:
    return read_topology(list(shards), INFO, ASKED, addresses or AddressMap())


def test_masters_have_their_ranges_and_all_living_nodes_are_known() -> None:
    found = read(shard([0, 99, 200, 299], node(1), node(2, b"replica")), shard([100, 199], node(3)), shard([], node(4)))
    assert found.epoch == 7
    assert found.shards == (Shard(("h", 1), ((0, 99), (200, 299))), Shard(("h", 3), ((100, 199),)))
    assert found.nodes == (("h", 1), ("h", 2), ("h", 3), ("h", 4))
    owners = Owners(found)
    assert [owners.of(slot) for slot in (0, 99, 100, 299, 300)] == [("h", 1), ("h", 1), ("h", 3), ("h", 1), None]


def test_of_two_masters_the_living_one_counts() -> None:
    found = read(shard([0, 9], node(1, health=b"failed"), node(2)), shard([10, 19], node(3, health=b"failed")))
    assert [one.address for one in found.shards] == [("h", 2), ("h", 3)]
    assert found.nodes == (("h", 2),)


def test_a_dead_master_without_slots_keeps_those_that_nobody_has_taken() -> None:
    """Redis 8.0 names it without its slots; that which has taken over a part of them has them."""
    before = read(shard([0, 9, 20, 29], node(1)), shard([10, 19], node(2)))
    dead = shard([], node(1, health=b"fail"))
    found = read(dead, shard([10, 19], node(2)), shard([], node(4)))
    assert (found.lost, found.nodes) == ((("h", 1),), (("h", 2), ("h", 4)))
    assert found.recalling(None) is found
    assert set(found.recalling(before).shards) == set(before.shards)
    later = read(dead, shard([8, 22, 25, 25], node(2))).recalling(found.recalling(before))
    assert later.shards[1] == Shard(("h", 1), ((0, 7), (23, 24), (26, 29)))
    replaced = read(shard([0, 9, 20, 29], node(1, health=b"fail"), node(3)), shard([10, 19], node(2)))
    assert replaced.recalling(later) is replaced
    assert len(read(dead, shard([0, 29], node(2))).recalling(before).shards) == 1


def test_addresses_are_mapped_and_those_without_a_host_are_where_the_answer_came_from() -> None:
    mapped = AddressMap({("h", 2): ("nat", 9)})
    found = read(shard([0, 9], node(1, host=b"")), shard([10, 19], node(2)), addresses=mapped)
    assert [one.address for one in found.shards] == [("10.0.0.1", 1), ("nat", 9)]
    encrypted = AddressMap(is_encrypted=True)
    assert read(shard([0, 9], node(1, tls_port=5)), addresses=encrypted).shards[0].address == ("h", 5)


@pytest.mark.parametrize("endpoint", [None, b""])
def test_a_node_with_an_unknown_endpoint_is_on_the_host_that_was_asked(endpoint: bytes | None) -> None:
    """As `cluster-preferred-endpoint-type unknown-endpoint` says: its IP address may be one that nobody reaches."""
    found = read(shard([0, 9], node(1, host=b"10.9.9.9", endpoint=endpoint)))
    assert found.shards[0].address == ("10.0.0.1", 1)


def test_a_node_without_a_host_name_is_at_its_ip_address() -> None:
    found = read(shard([0, 9], node(1, host=b"10.0.0.2", endpoint=b"?", id=b"abc")))
    assert found.shards == (Shard(("10.0.0.2", 1), ((0, 9),), "abc"),)
    assert found.nodes == (("10.0.0.2", 1),)


@pytest.mark.parametrize(
    "answer",
    [None, b"", [[b"slots", [0, 9]]], [shard([0], node(1))], [shard([9, 16_384], node(1))], [[b"a"]],
     [shard([0, 9], [b"id", b"x"])], [shard([0, 9], node(1, host=b"\xff"))]],
)  # fmt: skip
def test_anything_else_is_a_value_error(answer: Any) -> None:
    with pytest.raises(ValueError):
        read_topology(answer, INFO, ASKED, AddressMap())
    with pytest.raises(ValueError):
        read_topology([], b"cluster_enabled:0", ASKED, AddressMap())
