"""The usage of addresses in Redis: the commands that are sent, and ignored failures."""

import asyncio

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.usage import RedisAddressUsage
from tests.unit.backend.redis.conftest import ScriptedRedis


async def test_a_count_is_added_under_a_hash_of_the_address_and_expires(server: ScriptedRedis) -> None:
    answers = {b"INCRBY": [b":7\r\n", b"-OOM command not allowed\r\n"], b"PEXPIRE": [b":1\r\n", b":1\r\n"]}
    server.answer = lambda command: answers[command[0]].pop(0) if command[0] in answers else b"+OK\r\n"
    async with RedisClient(
        Dialer(server.url, timeout=5, name="test"), timeout=5, waiting=10, on_reconnect=lambda: None
    ) as client:
        usage, told = RedisAddressUsage(client, Keys("relay")), asyncio.Queue[int]()
        usage.add("rooms", "2001:db8::/64", 5, 3, told.put_nowait)
        usage.add("rooms", "2001:db8::/64", 5, 1, told.put_nowait)
        assert await told.get() == 7
        await client.call("PING")
    assert told.empty()
    increments = [command for command in server.commands if command[0] == b"INCRBY"]
    [key] = {command[1] for command in increments}
    assert key.startswith(b"relay:usage:rooms:")
    assert (b"2001" in key, key.endswith(b":5")) == (False, True)
    assert [command[2] for command in increments] == [b"3", b"1"]
    assert [command[1] for command in server.commands if command[0] == b"PEXPIRE"] == [key, key]
