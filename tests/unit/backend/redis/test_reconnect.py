import asyncio
import logging
from contextlib import suppress

import pytest

from relay.backend.redis.connection import RedisUnreachable
from relay.backend.redis.reconnect import ReconnectDelay, Reconnector


def test_delays_double_to_half_a_second_and_are_random() -> None:
    longest = ReconnectDelay(draw=lambda: 1.0)
    assert [longest.next() for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    longest.reset()
    assert longest.next() == 0.05
    assert ReconnectDelay(draw=lambda: 0.0).next() == 0.025


@pytest.mark.parametrize("error", [None, RedisUnreachable("refused", "refused")])
async def test_a_reconnector_ends_although_its_cancellation_was_swallowed(error: Exception | None) -> None:
    dialing = asyncio.Event()

    async def dial() -> None:
        dialing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if error:
            raise error

    task = asyncio.create_task(Reconnector("test", dial, lambda: None).run())
    await dialing.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done == {task}


async def test_each_change_is_logged_once_and_the_problem_is_in_words_of_the_relay(caplog) -> None:
    caplog.set_level(logging.WARNING, "relay.backend.redis")
    attempts, reconnects = [], []
    connected = asyncio.Event()

    async def connect() -> None:
        attempts.append(1)
        if len(attempts) in {1, 2, 4}:
            raise RedisUnreachable("Error 111 connecting to 10.0.0.1:6379\n", "connection refused")
        connected.set()

    reconnector = Reconnector("commands", connect, lambda: reconnects.append(1))
    assert reconnector.problem == "not connected yet"
    task = asyncio.create_task(reconnector.run())
    async with asyncio.timeout(5):
        await connected.wait()
        assert (reconnector.problem, reconnects) == ("", [])
        connected.clear()
        reconnector.disconnected()
        await connected.wait()
    assert reconnects == [1]
    task.cancel()
    await asyncio.wait([task])
    texts = [record.getMessage() for record in caplog.records]
    assert [text.partition(" (")[0].partition(" after")[0] for text in texts] == [
        "commands: cannot reach Redis",
        "commands: lost the connection to Redis; connecting again",
        "commands: cannot reach Redis",
        "commands: connected to Redis again",
    ]
    assert "10.0.0.1:6379\\x0a" in texts[0]
