"""The parts for one Redis; tests/contract has the rest."""

import asyncio
import time

from relay.backend.presence import LeaseName
from relay.backend.redis.durability import Replicas
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.parts import parts_of_one
from relay.backend.settings import BackendSettings, RedisSettings
from relay.metrics import Metrics


async def test_the_parts_share_one_client_and_one_prefix() -> None:
    redis = RedisSettings("redis://127.0.0.1:1/2", prefix="chat", replicas=2)
    settings = BackendSettings(redis=redis)
    await asyncio.sleep(0)
    parts = parts_of_one(settings, redis, LeaseName("w"), Metrics(), time.monotonic, on_new_run=int, probe="w/1")
    assert parts.opened is parts.client
    assert parts.client.at_room("room") is parts.client.at_key("x") is parts.client
    assert parts.keys.channel("room") == "chat:@2:{room}"
    assert isinstance(parts.durability, Replicas)
    assert isinstance(parts.make_leases(None, None), RedisLeases)
    without = RedisSettings("redis://127.0.0.1:1")
    assert (
        parts_of_one(
            settings, without, LeaseName("w"), Metrics(), time.monotonic, on_new_run=int, probe="w/1"
        ).durability
        is None
    )
