"""The list of all rooms, read in batches."""

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.room_list import occupied_rooms
from tests.unit.backend.redis.conftest import ScriptedRedis


async def test_rooms_are_counted_in_batches_and_empty_ones_left_out(server: ScriptedRedis, monkeypatch) -> None:
    monkeypatch.setattr("relay.backend.redis.room_list._BATCH", 2)
    names = [b"r%d" % number for number in range(5)]

    def answer(command: list[bytes]) -> bytes:
        match command:
            case [b"ZRANGE", *_]:
                return b"*1\r\n$3\r\na/1\r\n"
            case [b"SMEMBERS", b"relay:worker:a/1:rooms"]:
                return b"*5\r\n" + b"".join(b"$2\r\n%b\r\n" % name for name in names)
            case [b"HLEN", key]:
                return b":%d\r\n" % (key != b"relay:{r3}:presence")
        return b"+OK\r\n"

    server.answer = answer
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None) as client:
        found = await occupied_rooms(client, Keys("relay"))
    assert found == [("r0", 1), ("r1", 1), ("r2", 1), ("r4", 1)]
    batches = [[command[0] for command in read] for read in server.reads if read[0][0] == b"HLEN"]
    assert [len(batch) for batch in batches] == [2, 2, 1]
