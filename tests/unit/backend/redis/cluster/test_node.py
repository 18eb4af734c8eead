"""A node's own keys follow its slots; questions over a connection of their own."""

from typing import Any

import pytest

from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.node import Node, ask_once
from relay.backend.redis.cluster.slots import slot_of_key
from relay.backend.redis.cluster.topology import Shard
from relay.backend.redis.connection import Dialer, pack
from relay.backend.redis.memory import RedisMemory
from relay.backend.redis.run import RedisRun
from relay.model.errors import OutcomeUnknown
from tests.unit.backend.redis.conftest import ScriptedRedis


def test_the_run_and_the_memory_are_asked_for_by_a_key_in_a_slot_of_the_node() -> None:
    keys, client = ClusterKeys("relay"), None
    placeless: Any = client
    node = Node(("h", 1), placeless, RedisRun(keys, ttl=60, on_change=int), RedisMemory(placeless, ""))
    for shard in (Shard(("h", 1), ((0, 99), (5000, 5100))), Shard(("h", 1), ((9000, 9100),))):
        node.serve(shard, keys)
        assert shard.has(slot_of_key(node.run.key))
        assert node.memory.key == node.run.key
    node.serve_slot(16_383, keys)
    assert slot_of_key(node.run.key) == 16_383


async def test_questions_are_answered_over_a_connection_that_ends(server: ScriptedRedis) -> None:
    server.answer = lambda command: b"+%b\r\n" % command[0]
    dialer = Dialer(server.url, timeout=5, name="test")
    assert await ask_once(dialer, [pack("A"), pack("B")]) == [b"A", b"B"]

    def hang_up(command: list[bytes]) -> None:
        server.hang_up()

    server.answer = hang_up
    with pytest.raises(OutcomeUnknown):
        await ask_once(dialer, [pack("A")])
