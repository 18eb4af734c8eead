"""Calls for many rooms, and replies that are no positions; tests/contract/test_positions.py has the contract."""

from collections.abc import AsyncIterator

import pytest

from relay.backend.positions import DeliveredPosition
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.positions import RedisDeliveredPositions
from relay.model.envelope import MessageId
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


@pytest.fixture
async def positions(server: ScriptedRedis) -> AsyncIterator[RedisDeliveredPositions]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as client:
        yield RedisDeliveredPositions(client, Keys("relay"), ttl=60)


def answer(server: ScriptedRedis, by_key: dict[bytes, bytes]) -> None:
    """Answer each script by its first key, and all else with OK."""
    server.answer = lambda command: by_key.get(command[3], b":1\r\n") if command[0] == b"EVALSHA" else b"+OK\r\n"


def position(room: str, number: int = 1) -> DeliveredPosition:
    return DeliveredPosition(room, f"peer{number}", 7, MessageId(5, number))


def calls(server: ScriptedRedis) -> list[list[bytes]]:
    return [command for command in server.commands if command[0] == b"EVALSHA"]


async def test_each_room_is_one_call_and_a_large_one_several(
    server: ScriptedRedis, positions: RedisDeliveredPositions
) -> None:
    answer(server, {})
    await positions.note([*(position("large", number) for number in range(201)), position("small")])
    assert [(call[3], len(call)) for call in calls(server)] == [
        (b"relay:{large}:presence", 6 + 600),
        (b"relay:{large}:presence", 6 + 3),
        (b"relay:{small}:presence", 6 + 3),
    ]
    assert calls(server)[-1][3:] == [
        b"relay:{small}:presence", b"relay:{small}:positions", b"60000", b"peer1", b"7", b"5-1"
    ]  # fmt: skip


async def test_a_room_in_which_the_script_fails_does_not_fail_the_others(
    server: ScriptedRedis, positions: RedisDeliveredPositions
) -> None:
    answer(server, {b"relay:{bad}:presence": b"-WRONGTYPE in script: x\r\n"})
    await positions.note([position("bad"), position("good")])
    assert len(calls(server)) == 2


async def test_a_refusal_is_raised(server: ScriptedRedis, positions: RedisDeliveredPositions) -> None:
    answer(server, {b"relay:{room}:presence": OOM})
    with pytest.raises(Unavailable):
        await positions.note([position("room")])


@pytest.mark.parametrize("value", [b"x", b"1-x", b"-"])
async def test_a_value_that_is_no_id_counts_as_none(
    server: ScriptedRedis, positions: RedisDeliveredPositions, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda command: b"$%d\r\n%b\r\n" % (len(value), value) if command[0] == b"HGET" else b"+OK\r\n"
    assert await positions.noted("room", "peer") is None
    assert "the member is not recovered" in caplog.text
