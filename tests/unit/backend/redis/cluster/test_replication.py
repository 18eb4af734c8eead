"""The replicas of all masters of a cluster, for health and metrics."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.backend.redis.cluster.replication import ShardReplication
from relay.backend.redis.replication import INTERVAL
from relay.metrics import Metrics
from tests.unit.backend.redis.cluster.nodes import World


def info(*lags: int, offset: int = 1000) -> bytes:
    """The answer of a master with a replica for each lag, in seconds; each is ten times as many bytes behind."""
    slaves = "".join(
        f"slave{number}:ip=h,port=1,state=online,offset={offset - 10 * lag},lag={lag}\r\n"
        for number, lag in enumerate(lags)
    )
    return f"role:master\r\n{slaves}master_repl_offset:{offset}\r\n".encode()


class Scene:
    def __init__(self, needed: int) -> None:
        self.world = World()
        self.metrics = Metrics()
        self.now = 100.0
        self.replication = ShardReplication(self.world.cluster, self.metrics, needed=needed, clock=lambda: self.now)

    def answer(self, **replies: Any) -> None:
        self.now += INTERVAL
        self.replication.ask()
        for host, reply in replies.items():
            self.world.links[host].pending.pop()(reply)

    def gauge(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"relay_redis_{name}")
        assert value is not None
        return value


@pytest.fixture
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    scene = Scene(getattr(request, "param", 1))
    async with scene.world.cluster:
        await scene.world.become(a=(0, 9999), b=(10_000, 16_383))
        yield scene


async def test_the_shard_that_is_worst_off_counts(scene: Scene) -> None:
    assert (scene.replication.is_known, scene.replication.suffices) == (True, False)
    scene.answer(a=info(1, 3), b=info(0))
    assert scene.replication.suffices
    assert scene.replication.text == (
        "masters: 2; replicas online of each: 1 or more, and messages need 1 (durability); "
        "the last one is 3 s and 30 bytes behind"
    )
    assert [scene.gauge(name) for name in ("replicas", "replica_lag_seconds", "replica_lag_bytes")] == [1, 3, 30]


async def test_a_master_without_enough_replicas_is_named(scene: Scene) -> None:
    scene.answer(a=info(0), b=info())
    assert not scene.replication.suffices
    assert scene.replication.text.endswith("; b:1 has none")
    assert scene.gauge("replicas") == 0


async def test_a_master_that_is_away_or_does_not_tell_leaves_its_shard_unknown(scene: Scene) -> None:
    scene.answer(a=info(0), b=info(0))
    scene.world.links["b"].reachable = False
    scene.answer(a=Exception("NOPERM"))
    assert not scene.replication.suffices
    assert scene.replication.text == (
        "the replicas are not known, and messages need 1 (durability); a:1 has an unknown number; "
        "b:1 has an unknown number"
    )
    assert math.isnan(scene.gauge("replicas"))


async def test_masters_that_have_lost_their_part_are_forgotten(scene: Scene) -> None:
    scene.answer(a=info(0), b=info())
    await scene.world.become(2, a=(0, 9999), c=(10_000, 16_383))
    scene.answer(a=info(0), c=info(0))
    assert scene.replication.suffices
    assert "b:1" not in scene.replication.text


def asked(scene: Scene) -> list[int]:
    return [len(scene.world.links[host].sent) for host in "ab"]


async def test_heartbeats_ask_once_in_two_seconds_and_a_master_that_is_back_at_once(scene: Scene) -> None:
    for _ in range(8):
        scene.replication.ask()
        scene.now += INTERVAL / 4
    assert asked(scene) == [2, 2]
    scene.world.links["b"].reachable = False
    scene.replication.ask()
    scene.world.links["b"].reachable = True
    scene.replication.ask()
    scene.replication.ask()
    assert asked(scene) == [3, 3]


@pytest.mark.parametrize("scene", [0], indirect=True)
async def test_a_cluster_without_replicas_is_nothing_to_talk_about(scene: Scene) -> None:
    scene.answer(a=info(), b=info())
    assert (scene.replication.is_known, scene.replication.suffices) == (False, True)
    assert math.isnan(scene.gauge("replica_lag_seconds"))
