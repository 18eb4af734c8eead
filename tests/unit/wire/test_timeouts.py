"""Timeouts of one length, which share a timer."""

import asyncio

import pytest

from relay.wire.timeouts import Timeouts


async def test_timeouts_end_in_their_order_unless_they_are_cancelled() -> None:
    timeouts, ended, done = Timeouts(0.01, "a test"), list[int](), asyncio.Event()
    for number in range(3):
        timeout = timeouts.add(lambda number=number: ended.append(number))
        if number == 1:
            timeout.cancel()
    timeouts.add(done.set)
    await done.wait()
    assert ended == [0, 2]


async def test_a_timeout_lasts_its_whole_time_also_behind_others() -> None:
    timeouts, loop = Timeouts(0.05, "a test"), asyncio.get_running_loop()
    timeouts.add(lambda: None)
    await asyncio.sleep(0.03)
    for _ in range(2):
        begun, done = loop.time(), asyncio.Event()
        timeouts.add(done.set)
        await done.wait()
        # The event loop rounds times to milliseconds.
        assert loop.time() - begun >= 0.05 - 0.002


async def test_a_callback_that_fails_does_not_keep_the_others_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    timeouts, done = Timeouts(0.01, "a test"), asyncio.Event()
    timeouts.add(lambda: 1 / 0)
    timeouts.add(done.set)
    await done.wait()
    assert "a test failed" in caplog.text
