import asyncio
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.backend.redis.bus import RedisBus, decode
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.settings import RedisSettings, RoomSettings
from relay.metrics import Metrics
from relay.model.envelope import MessageId
from relay.model.errors import Unavailable
from relay.model.events import MemberJoined, MemberLeft, Message, TakenOver
from tests.unit.backend.redis.conftest import ScriptedRedis, server
from tests.unit.backend.redis.test_subscriber import confirm

__all__ = ["server"]

ID = MessageId(7, 8)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b'm 7-8 p \n""\n{"a":1', Message("r", ID, "p", (), "", b'{"a":1')),
        (b'm 7-8 p q,r\n"c\\n"\n{"a":\n1', Message("r", ID, "p", ("q", "r"), "c\n", b'{"a":\n1')),
        (b"j 7-8 p", MemberJoined("r", ID, "p")),
        (b"l 7-8 p", MemberLeft("r", ID, "p")),
        (b"t 7-8 p 9", TakenOver("r", ID, "p", 9)),
    ],
)
def test_payloads_decode_to_events(payload: bytes, event: object) -> None:
    assert decode("r", payload) == event


def test_a_message_that_an_older_worker_let_through_is_not_understood() -> None:
    nested = b'm 7-8 p \n""\n{"a":' + b"[" * 127 + b"]" * 127
    assert isinstance(decode("r", nested), Message)
    with pytest.raises(ValueError, match="nested"):
        decode("r", nested.replace(b"[]", b"[[]]"))


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"m 1-1 " + tail))
def test_any_other_payload_is_a_value_error_at_worst(payload: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode("r", payload)


@contextlib.asynccontextmanager
async def bus_over(server: ScriptedRedis, heard=lambda batch: None, timeout: float = 0.2):
    dialer = Dialer(server.url, timeout=timeout, name="test")
    client = RedisClient(dialer, timeout=timeout, waiting=10, on_reconnect=lambda: None)
    settings = RedisSettings(server.url, timeout=timeout, probe_timeout=30)
    bus = RedisBus(heard, client, dialer, settings, RoomSettings(), worker="w", metrics=Metrics(), clock=time.monotonic)
    async with client, bus:
        yield bus


async def test_a_room_whose_subscription_was_not_confirmed_is_not_subscribed_again(server: ScriptedRedis) -> None:
    def answer(command: list[bytes]) -> bytes | None:
        if command[0] == b"SUBSCRIBE":
            return None if b"relay:{deaf}" in command else confirm(command)
        return b"+OK\r\n"

    server.answer = answer
    async with bus_over(server) as bus:
        await bus.subscribe(["heard"])
        with pytest.raises(Unavailable):
            await bus.subscribe(["deaf"])
        before = len(server.commands)
        server.hang_up()
        async with asyncio.timeout(5):
            while not any(command[0] == b"SUBSCRIBE" for command in server.commands[before:]):
                await asyncio.sleep(0.005)
        again = {
            channel for command in server.commands[before:] if command[0] == b"SUBSCRIBE" for channel in command[1:]
        }
        assert b"relay:{heard}" in again
        assert b"relay:{deaf}" not in again
