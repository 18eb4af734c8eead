"""The index of subjects in Redis: the commands of each call."""

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.subjects import RedisSubjects
from relay.backend.subjects import Place
from tests.unit.backend.redis.conftest import ScriptedRedis, array


async def test_a_record_has_its_worker_and_its_key_a_hash_of_the_subject(server: ScriptedRedis) -> None:
    answers = {b"ZRANGEBYSCORE": array(b"b q w1", b"a p w1", b"a p w2")}
    server.answer = lambda command: answers.get(command[0], b":1\r\n")
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None) as client:
        subjects = RedisSubjects(client, Keys("relay"), "w1", ttl=60)
        subjects.note("ann@example.com", Place("a", "p"))
        subjects.forget("ann@example.com", Place("a", "p"))
        assert list(await subjects.find("ann@example.com", 5)) == [("a", "p"), ("b", "q")]
    commands = [command for command in server.commands if command[0] not in {b"CLIENT", b"SCRIPT", b"TIME"}]
    names = [command[0] for command in commands]
    assert names == [b"ZADD", b"ZREMRANGEBYRANK", b"PEXPIRE", b"ZREM", b"ZRANGEBYSCORE"]
    [key] = {command[1] for command in commands}
    assert key.startswith(b"relay:subject:")
    assert b"ann" not in key
    assert commands[0][3] == commands[3][2] == b"a p w1"
