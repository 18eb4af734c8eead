"""The parts for a cluster; tests/contract has the rest, over a real one."""

import time

import pytest

from relay.backend.presence import LeaseName
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.durability import ClusterDurability
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.parts import cluster_client, dialing, parts_of_cluster
from relay.backend.settings import BackendSettings, RedisSettings
from relay.metrics import Metrics


def test_the_parts_are_those_of_a_cluster() -> None:
    redis = RedisSettings("redis+cluster://127.0.0.1:1", replicas=1)
    settings = BackendSettings(redis=redis)
    parts = parts_of_cluster(settings, redis, LeaseName("w"), Metrics(), time.monotonic, on_new_run=int, probe="w/1")
    assert isinstance(parts.client, ClusterClient)
    assert isinstance(parts.keys, ClusterKeys)
    assert isinstance(parts.durability, ClusterDurability)
    assert parts.opened is parts.client


def test_a_url_of_one_redis_names_no_cluster() -> None:
    redis = RedisSettings("redis://127.0.0.1")
    assert not redis.is_cluster
    with pytest.raises(ValueError, match="names no cluster"):
        cluster_client(BackendSettings(), redis, ClusterKeys("relay"), Metrics(), dialing(redis, "w"))
