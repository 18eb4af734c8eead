"""A Redis as its callers see it: commands and scripts in one form, for one server and for a part of a cluster."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.place import ignore
from relay.backend.redis.scripts import LEAVE, PUBLISH, TURN_OVER, sharded, with_fence
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis


@pytest.fixture(params=[False, True])
async def client(server: ScriptedRedis, request: pytest.FixtureRequest) -> AsyncIterator[RedisClient]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None, clustered=request.param) as client:
        yield client


async def test_scripts_publish_on_sharded_channels_of_a_cluster(client: RedisClient, server: ScriptedRedis) -> None:
    await client.run(PUBLISH, ("k",), "x")
    loaded = [command[2] for command in server.commands if command[:2] == [b"SCRIPT", b"LOAD"]]
    published = b"call('SPUBLISH'" if client.clustered else b"call('PUBLISH'"
    assert sum(published in source for source in loaded) >= 10
    assert not any((b"'PUBLISH'" if client.clustered else b"'SPUBLISH'") in source for source in loaded)
    script = with_fence(sharded(PUBLISH)) if client.clustered else PUBLISH
    assert server.commands[-1][1] == script.sha.encode()


async def test_a_script_that_came_too_late_is_run_again_without_a_fence(
    client: RedisClient, server: ScriptedRedis
) -> None:
    await client.call("PING")
    server.answer = lambda command: (
        b"*1\r\n$8\r\ngiven up\r\n" if command[0] == b"EVALSHA" and command[-1] != b"0" * 13 else b"+done\r\n"
    )
    replies = await asyncio.gather(client.run(LEAVE, ("k",), "x"), client.run(TURN_OVER, ("k",), "x"))
    given_up = [b"given up"]
    assert replies == ([b"done", given_up] if client.fenced else [given_up, given_up])


async def test_a_script_that_was_lost_and_then_came_too_late_is_run_all_the_same(
    client: RedisClient, server: ScriptedRedis
) -> None:
    await client.call("PING")
    refusals = [b"-NOSCRIPT No matching script\r\n", b"*1\r\n$8\r\ngiven up\r\n", b"-NOSCRIPT No matching script\r\n"]
    if not client.fenced:
        del refusals[1:]

    def answer(command: list[bytes]) -> bytes:
        return refusals.pop(0) if command[0] == b"EVALSHA" and refusals else b"+done\r\n"

    server.answer = answer
    assert await client.run(LEAVE, ("k",), "x") == b"done"


async def test_a_redis_that_never_executes_a_script_is_asked_a_few_times_only(
    client: RedisClient, server: ScriptedRedis
) -> None:
    await client.call("PING")
    server.answer = lambda command: b"-NOSCRIPT No matching script\r\n" if command[0] == b"EVALSHA" else b"+done\r\n"
    with pytest.raises(Unavailable):
        await client.run(LEAVE, ("k",), "x")
    assert sum(command[0] == b"EVALSHA" for command in server.commands) == 4


async def test_a_script_that_publishes_nothing_is_the_same_everywhere() -> None:
    assert sharded(TURN_OVER) == TURN_OVER


async def test_the_reply_of_a_command_that_is_told_is_ignored_or_handed_over(
    client: RedisClient, server: ScriptedRedis
) -> None:
    replies = []
    client.tell("SET", "k", "1")
    client.tell("GET", "k", done=replies.append)
    await client.call("PING")
    assert replies == [b"OK"]
    ignore(Unavailable())


async def test_an_error_reply_is_the_error_of_the_call(client: RedisClient, server: ScriptedRedis) -> None:
    server.answer = lambda command: b"-OOM command not allowed\r\n" if command[0] == b"SET" else b"+OK\r\n"
    with pytest.raises(Unavailable):
        await client.call("SET", "k", "1")
