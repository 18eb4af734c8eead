"""Of several answers about the topology, the newest counts."""

import asyncio
from typing import Any

import pytest

from relay.backend.redis.cluster.search import TopologySearch
from relay.backend.redis.cluster.topology import AddressMap, Topology
from relay.backend.redis.connection import Dialer
from relay.model.errors import Unavailable
from tests.unit.backend.redis.cluster.test_topology import node, shard
from tests.unit.backend.redis.conftest import ScriptedRedis


class Master:
    """A node with a connection, which answers with an epoch and an owner of all slots; "" for no slots."""

    def __init__(self, epoch: int, owner: str, *, fails: bool = False, silent: bool = False, state: str = "ok") -> None:
        self.address, self.reachable, self.client = (owner, 1), True, self
        shards = [shard([0, 16_383], node(1, host=owner.encode()))] if owner else []
        self.answers: dict[str, Any] = {
            "SHARDS": shards,
            "INFO": f"cluster_state:{state}\r\ncluster_current_epoch:{epoch}".encode(),
        }
        self.fails, self.silent = fails, silent
        self.asked: list[str] = []

    async def call(self, *command: str) -> Any:
        self.asked.append(command[1])
        if self.silent:
            await asyncio.sleep(60)
        if self.fails:
            raise Unavailable().because("refused")
        return self.answers[command[1]]


def search() -> TopologySearch:
    return TopologySearch([], AddressMap(), lambda address: pytest.fail("nobody is to be dialed"))


async def find(*masters: Master, known: Topology | None = None) -> tuple[Topology | None, TopologySearch]:
    one = search()
    nodes: Any = masters
    return await one(nodes, known), one


async def test_the_highest_epoch_counts() -> None:
    found, _ = await find(Master(3, "a"), Master(5, "b"), Master(4, "c"))
    assert found is not None
    assert found.shards[0].address == ("b", 1)


async def test_a_cluster_is_down_if_all_that_answer_say_so() -> None:
    found, _ = await find(Master(5, "a", state="fail"), Master(5, "b", state="fail"))
    assert found is not None
    assert found.down
    found, _ = await find(Master(5, "a", state="fail"), Master(4, "b"))
    assert found is not None
    assert not found.down


async def test_one_old_answer_does_not_replace_the_known_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    """A master that was cut off from the others is the only one that answers."""
    monkeypatch.setattr("relay.backend.redis.cluster.search._TIME", 0.05)
    known, _ = await find(Master(5, "b"))
    assert known is not None
    three = Topology(5, known.shards * 3, known.nodes)
    found, _ = await find(Master(4, "a"), Master(5, "b", silent=True), Master(5, "b", fails=True), known=three)
    assert found is None
    found, _ = await find(Master(4, "a"), Master(4, "a"), Master(5, "b", fails=True), known=three)
    assert found is not None


async def test_of_many_nodes_a_few_of_the_newest_are_asked_for_the_shards_in_turn() -> None:
    masters = [Master(4, f"old{number}") for number in range(4)] + [Master(5, f"new{number}") for number in range(6)]
    nodes: Any = masters
    one, known = search(), None
    for _ in range(8):
        known = await one(nodes, known)
        assert known is not None
        assert (known.epoch, known.shards[0].address[0][:3]) == (5, "new")
    assert [master.asked.count("INFO") >= 8 for master in masters] == [True] * 10
    shards = {master.address[0]: master.asked.count("SHARDS") for master in masters}
    assert sum(shards.values()) == 8 * 3
    assert [shards[f"old{number}"] for number in range(4)] == [0] * 4
    assert min(shards[f"new{number}"] for number in range(6)) >= 2


async def test_in_a_large_cluster_few_old_answers_do_not_replace_the_known_topology() -> None:
    masters = [Master(4, "a"), Master(4, "a"), Master(4, "a"), Master(4, "a"), *[Master(5, "b", fails=True)] * 5]
    known, _ = await find(Master(5, "b"))
    assert known is not None
    nine = Topology(5, known.shards * 9, known.nodes)
    assert (await find(*masters, known=nine))[0] is None
    found, _ = await find(*masters, Master(4, "a"), known=nine)
    assert found is not None
    assert found.epoch == 4


async def test_nodes_of_the_url_are_dialed_while_no_connection_is_open(server: ScriptedRedis) -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[1] == b"INFO":
            return b"$23\r\ncluster_current_epoch:9\r\n"
        fields = b"$2\r\nid\r\n$1\r\nx\r\n$4\r\nport\r\n:7\r\n$8\r\nendpoint\r\n$1\r\nh\r\n"
        fields += b"$4\r\nrole\r\n$6\r\nmaster\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"
        return b"*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*10\r\n" + fields

    server.answer = answer
    port = server.port
    dead = ("127.0.0.1", 1)
    one = TopologySearch(
        [dead, ("127.0.0.1", port)],
        AddressMap(),
        lambda address: Dialer(server.url, timeout=5, name="test", address=address),
    )
    found = await one([], None)
    assert found is not None
    assert (found.epoch, found.shards[0].address) == (9, ("h", 7))
    assert one.report == ""


async def test_the_reasons_are_reported(server: ScriptedRedis) -> None:
    server.answer = lambda command: b"-ERR This instance has cluster support disabled\r\n"
    one = TopologySearch(
        [("127.0.0.1", server.port)],
        AddressMap(),
        lambda address: Dialer(server.url, timeout=5, name="test", address=address),
    )
    assert await one([], None) is None
    assert one.report.startswith(f"127.0.0.1:{server.port}: this Redis is no part of a cluster")
    assert "let redis-url begin with redis://" in one.report
    found, other = await find(Master(1, "a", fails=True), Master(1, ""), Master(1, "b", fails=True))
    assert found is None
    assert other.report == "a:1, b:1: refused; :1: it knows of no node with slots; make the cluster first " + (
        "(redis-cli --cluster create)"
    )


async def test_the_reasons_name_no_more_than_some_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.backend.redis.cluster.search._TIME", 0.05)
    monkeypatch.setattr("relay.backend.redis.cluster.search._MOST_ASKED", 9)
    found, one = await find(*[Master(1, f"m{number}", silent=True) for number in range(7)])
    assert (found, one.report) == (None, "m0:1, m1:1, m2:1, m3:1, m4:1 and 2 more: no answer within 0.05 s")
