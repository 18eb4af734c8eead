"""The fleet key of whole workers: the check in `/health`, a Redis that loses the key, and secrets that never show."""

from tests.conftest import MakeRelay
from tests.fleet import RedisServer, Relay, eventually

SECRET = "never-to-be-seen-anywhere-0123456789"


async def check(relay: Relay) -> dict:
    return (await relay.get("/health")).json()["checks"]["fleet_key"]


def stored(server: RedisServer) -> bytes | None:
    return server.client.get("relay:fleet-key")


async def test_a_worker_waits_for_redis_and_its_key(start: MakeRelay, own_redis: RedisServer) -> None:
    own_redis.kill()
    relay = await start(ready=False, redis_url=own_redis.url)
    await eventually(lambda: relay.healthy(503))
    assert await check(relay) == {"ok": False, "text": "was not read from Redis yet", "seconds": None}
    own_redis.start()
    await relay.ready()
    assert await check(relay) == {"ok": True, "text": "is shared through Redis", "seconds": None}
    assert len(stored(own_redis)) == 17 + 1 + 64


async def test_a_flushed_redis_gets_the_same_key_back(start: MakeRelay, own_redis: RedisServer) -> None:
    first, second = await start(redis_url=own_redis.url), await start(redis_url=own_redis.url)
    before = stored(own_redis)
    own_redis.client.flushall()
    await eventually(lambda: stored(own_redis))
    assert stored(own_redis) == before
    # A worker that starts right after a loss may make a key of its own, which the others replace.
    own_redis.client.set("relay:fleet-key", f"{10**16:017}-{'a' * 64}")
    await eventually(lambda: stored(own_redis).startswith(before))
    for relay in (first, second):
        assert (await check(relay))["ok"]
        assert await relay.metric("relay_fleet_key_changes_total") == 0
        assert before.decode().partition("-")[2] not in relay.logged


async def test_a_secret_that_is_set_never_reaches_redis_the_log_or_health(
    start: MakeRelay, own_redis: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url, fleet_secret=SECRET, log_level="debug")
    assert await check(relay) == {"ok": True, "text": "is set by fleet-secret", "seconds": None}
    assert not own_redis.client.exists("relay:fleet-key")
    shown = relay.logged + (await relay.get("/health")).text + (await relay.get("/metrics")).text
    assert SECRET not in shown
