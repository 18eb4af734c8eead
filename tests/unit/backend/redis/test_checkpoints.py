"""The commands; tests/contract/test_checkpoints.py has the contract."""

from relay.backend.redis.checkpoints import RedisCheckpoints
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from tests.unit.backend.redis.conftest import ScriptedRedis

_COMMANDS = {b"HSET", b"HDEL", b"HINCRBY", b"PEXPIRE", b"DEL"}


async def test_a_write_sets_its_time_to_live(server: ScriptedRedis) -> None:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as client:
        store = RedisCheckpoints(client, Keys("relay"))
        server.answer = lambda command: b":1\r\n" if command[0] in _COMMANDS else b"+OK\r\n"
        await store.keep("name", 2, b"data", {7: b"seven"}, (5, 6), 60)
        assert await store.begin_turn("name") == 2
        await store.drop("name")
        sent = [command for command in server.commands if command[0] in _COMMANDS]
    key = b"relay:checkpoint:name"
    assert sent == [
        [b"HSET", key, b"2", b"data", b"2:7", b"seven"],
        [b"PEXPIRE", key, b"60000"],
        [b"HDEL", key, b"2:5", b"2:6"],
        [b"HINCRBY", key, b"turns", b"1"],
        [b"PEXPIRE", key, b"21600000"],
        [b"DEL", key],
    ]
