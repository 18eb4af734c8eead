"""The call for each method; tests/contract/test_broadcasts.py tests the script."""

from relay.backend.broadcasts import BroadcastMember
from relay.backend.redis.broadcasts import RedisBroadcasts
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from tests.unit.backend.redis.conftest import ScriptedRedis


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


async def test_each_method_is_one_script_call_with_the_keys_of_the_room(server: ScriptedRedis) -> None:
    replies = {b"enter": bulk(b"host 0 0 host"), b"find": bulk(b"host 2 1 host")}
    server.answer = lambda command: replies.get(command[5], bulk(b"")) if command[0] == b"EVALSHA" else b"+OK\r\n"
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None) as client:
        broadcasts = RedisBroadcasts(client, Keys("relay"), ttl=60)
        assert await broadcasts.enter("r", "ann", "host", 2) == BroadcastMember("host", initiator="host")
        await broadcasts.set_relay("r", "ann", can_relay=True)
        await broadcasts.rename("r", "ann", "eve")
        await broadcasts.leave("r", "ann")
        assert await broadcasts.find("r", "ann") == BroadcastMember("host", 2, can_relay=True, initiator="host")
        replies[b"find"] = bulk(b"")
        assert await broadcasts.find("r", "ann") is None
        replies[b"find"] = bulk(b"$ 0 0 $")
        assert await broadcasts.find("r", "ann") == BroadcastMember()
    calls = [command[2:] for command in server.commands if command[0] == b"EVALSHA"]
    assert {tuple(call[:3]) for call in calls} == {(b"2", b"relay:{r}:presence", b"relay:{r}:broadcast")}
    assert calls[0][3:] == [b"enter", b"ann", b"60000", b"host", b"2"]
    assert [call[3] for call in calls] == [b"enter", b"relay", b"rename", b"leave", b"find", b"find", b"find"]
    assert calls[2][4:] == [b"ann", b"60000", b"eve"]
