"""The calls of the scripts, and their replies; tests/contract/test_waiting.py has the contract."""

from collections.abc import AsyncIterator

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.waiting import RedisWaitingMessages
from relay.model.waiting import WaitingMessage
from tests.unit.backend.redis.conftest import ScriptedRedis


@pytest.fixture
async def waiting(server: ScriptedRedis) -> AsyncIterator[RedisWaitingMessages]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as client:
        yield RedisWaitingMessages(client, Keys("relay"))


def answer(server: ScriptedRedis, reply: bytes) -> None:
    server.answer = lambda command: reply if command[0] == b"EVALSHA" else b"+OK\r\n"


def calls(server: ScriptedRedis) -> list[list[bytes]]:
    return [command[3:] for command in server.commands if command[0] == b"EVALSHA"]


@pytest.mark.parametrize(("reply", "kept"), [(b":1\r\n", True), (b":0\r\n", False)])
async def test_a_full_record_is_told(
    server: ScriptedRedis, waiting: RedisWaitingMessages, reply: bytes, kept: bool
) -> None:
    answer(server, reply)
    assert await waiting.keep("room", WaitingMessage("ann", "bob", "k", b"{}", 1.5)) is kept
    assert calls(server) == [
        [b"relay:{room}:waiting", b"ann k", b"bob", b"{}", b"1500", b"60000", b"512", b"1048576"]
    ]  # fmt: skip


async def test_a_reply_is_read(server: ScriptedRedis, waiting: RedisWaitingMessages) -> None:
    late, early, foreign = ("ann k", "9 750  {}"), ("ann j", "8 2000 bob {} {}"), ("ann x", "of another program")
    texts = "".join(f"${len(text)}\r\n{text}\r\n" for text in (*late, *foreign, *early))
    answer(server, f"*7\r\n:1000\r\n{texts}".encode())
    assert await waiting.of("room", "ann") == [
        WaitingMessage("ann", "bob", "j", b"{} {}", 1.0),
        WaitingMessage("ann", "", "k", b"{}", -0.25),
    ]


async def test_without_keys_nothing_is_asked(server: ScriptedRedis, waiting: RedisWaitingMessages) -> None:
    answer(server, b":0\r\n")
    await waiting.drop("room", "ann", [])
    await waiting.drop("room", "ann", ["k"])
    await waiting.drop("room", "ann")
    assert calls(server) == [
        [b"relay:{room}:waiting", b"ann", b"k"],
        [b"relay:{room}:waiting", b"ann"],
    ]  # fmt: skip
