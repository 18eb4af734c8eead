"""A real Redis that refuses: `/health` says why and what to do, and the worker goes on by itself afterwards."""

import asyncio
import contextlib
import os
from collections.abc import Iterator

import pytest
import redis

from relay.backend.redis.error_codes import ERROR_CODES
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import RedisServer, Relay, eventually, redis_version


async def reported(relay: Relay, code: str) -> None:
    """Return when an operator reads the meaning of this code, and the remedy."""

    async def found() -> bool:
        checks = (await relay.get("/health", headers=relay.authorised)).json()["checks"]
        texts = [check["text"] for check in checks.values() if not check["ok"]]
        return any(ERROR_CODES[code].meaning in text and ERROR_CODES[code].remedy in text for text in texts)

    await eventually(found, 20)


async def goes_on(relay: Relay, enter: MakeClient) -> None:
    await relay.ready()
    ann = await enter(relay, "/rooms/room?peer=ann")
    assert (await ann.ask({"type": "publish", "envelope": {"message": "after"}}))["type"] == "ack"


async def test_too_few_replicas(start: MakeRelay, enter: MakeClient, own_redis: RedisServer) -> None:
    relay = await start(redis_url=own_redis.url)
    with own_redis.client as client:
        client.config_set("min-replicas-to-write", 1)
        await reported(relay, "NOREPLICAS")
        client.config_set("min-replicas-to-write", 0)
    await goes_on(relay, enter)


async def test_a_script_that_does_not_end(start: MakeRelay, enter: MakeClient, own_redis: RedisServer) -> None:
    relay = await start(redis_url=own_redis.url)

    def run() -> None:
        with own_redis.client as client, contextlib.suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    with own_redis.client as client:
        client.config_set("lua-time-limit", 100)
        running = asyncio.create_task(asyncio.to_thread(run))
        await reported(relay, "BUSY")
        client.script_kill()
        await running
    await goes_on(relay, enter)


async def test_a_user_that_loses_a_permission(start: MakeRelay, enter: MakeClient, own_redis: RedisServer) -> None:
    relay = await start(redis_url=own_redis.url)
    with own_redis.client as client:
        client.execute_command("ACL", "SETUSER", "relay", "-zadd")
        await reported(relay, "NOPERM")
        client.execute_command("ACL", "SETUSER", "relay", "+zadd")
    await goes_on(relay, enter)


@pytest.fixture
def master(own_redis: RedisServer) -> Iterator[RedisServer]:
    """A master that `own_redis` can follow."""
    master = RedisServer().start()
    yield master
    master.close()


async def test_a_replica_that_has_lost_its_master(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer, master: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url)
    with own_redis.client as client:
        client.config_set("replica-serve-stale-data", "no")
        await asyncio.to_thread(own_redis.follow, master)
        await reported(relay, "READONLY")
        master.kill()
        await reported(relay, "MASTERDOWN")
        client.replicaof("NO", "ONE")
    await goes_on(relay, enter)


async def test_a_redis_that_loads_its_data(start: MakeRelay, enter: MakeClient) -> None:
    if redis_version() < (7, 0):
        pytest.skip("this Redis answers too seldom while it loads few data")
    # Each key takes a tenth of a second to load, and Redis answers between two of them.
    slow = {"key-load-delay": 100_000, "loading-process-events-interval-bytes": 1024}
    server = RedisServer(persistent=True, options=slow).start()
    try:
        relay = await start(redis_url=server.url)
        with server.client as client:
            for number in range(30):
                client.set(f"large-{number}", os.urandom(4096))
        await asyncio.to_thread(server.remember)
        server.kill()
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        await reported(relay, "LOADING")
        await starting
        await goes_on(relay, enter)
    finally:
        server.close()
