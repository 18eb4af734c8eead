"""The commands; tests/contract/test_checkpoints.py has the contract."""

from relay.backend.redis.checkpoints import RedisCheckpoints
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from tests.unit.backend.redis.conftest import ScriptedRedis


async def test_a_write_sets_its_time_to_live(server: ScriptedRedis) -> None:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as client:
        store = RedisCheckpoints(client, Keys("relay"))
        server.answer = lambda command: b":1\r\n" if command[0] in {b"HSET", b"PEXPIRE", b"DEL"} else b"+OK\r\n"
        await store.keep("name", 2, b"data")
        await store.drop("name")
        sent = [command for command in server.commands if command[0] in {b"HSET", b"PEXPIRE", b"DEL"}]
    key = b"relay:checkpoint:name"
    assert sent == [[b"HSET", key, b"2", b"data"], [b"PEXPIRE", key, b"21600000"], [b"DEL", key]]
