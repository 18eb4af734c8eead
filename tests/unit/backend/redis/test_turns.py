"""Turns in Redis: the commands that are sent."""

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.turns import RedisTurns
from relay.backend.turns import NOBODY
from tests.unit.backend.redis.conftest import ScriptedRedis


async def test_each_call_is_one_command(server: ScriptedRedis) -> None:
    answers = {b"SET": [b"+OK\r\n", b"$-1\r\n", b"+OK\r\n"], b"GETRANGE": [b"$2\r\nab\r\n", b"$0\r\n\r\n"]}
    server.answer = lambda command: answers[command[0]].pop(0) if command[0] in answers else b"+OK\r\n"
    async with RedisClient(
        Dialer(server.url, timeout=5, name="test"), timeout=5, waiting=10, on_reconnect=lambda: None
    ) as client:
        turns = RedisTurns(client, Keys("relay"))
        assert [await turns.take("keys", 30), await turns.take("keys", 30)] == [True, False]
        await turns.share("keys", b"ab", 3600)
        assert [await turns.shared("keys"), await turns.shared("keys")] == [b"ab", b""]
    sent = [command for command in server.commands if command[0] in answers]
    assert sent[0] == [b"SET", b"relay:turn:keys", NOBODY.encode(), b"NX", b"PX", b"30000"]
    assert sent[2] == [b"SET", b"relay:shared:keys", b"ab", b"PX", b"3600000"]
    assert sent[3] == [b"GETRANGE", b"relay:shared:keys", b"0", b"-1"]
