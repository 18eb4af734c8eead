"""The time in which a process works."""

import asyncio
from typing import Any

import pytest

from relay.awake import TICK, AwakeTime, awake_limit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def ticked(awake: AwakeTime) -> None:
    """Return after one more tick."""
    async with asyncio.timeout(5):
        before = awake.now
        while awake.now == before:
            await asyncio.sleep(TICK / 10)


async def test_each_tick_counts_a_quarter_of_a_second_at_most() -> None:
    clock = Clock()
    awake = AwakeTime(clock)
    awake.open()
    clock.now += 0.06
    await ticked(awake)
    assert awake.now == pytest.approx(0.06)
    clock.now += 3
    await ticked(awake)
    assert awake.now == awake.read() == pytest.approx(0.31)
    awake.close()


async def test_the_most_that_a_tick_counts_can_be_less() -> None:
    clock = Clock()
    awake = AwakeTime(clock, most=0.1)
    awake.open()
    clock.now += 3
    await ticked(awake)
    assert awake.now == pytest.approx(0.1)
    awake.close()


async def test_it_ticks_until_its_last_user_has_gone() -> None:
    awake = AwakeTime()
    awake.open()
    awake.open()
    awake.close()
    await ticked(awake)
    awake.close()
    now = awake.now
    await asyncio.sleep(3 * TICK)
    assert awake.now == now
    awake.open()
    await ticked(awake)
    awake.close()


async def test_a_limit_does_not_count_the_time_in_which_the_process_stood_still() -> None:
    clock = Clock()
    awake = AwakeTime(clock)
    awake.open()
    async with awake.limit(0.4):
        clock.now += 60
        await ticked(awake)
    with pytest.raises(TimeoutError):
        async with awake.limit(0.2):
            while True:
                clock.now += 0.05
                await asyncio.sleep(TICK)
    awake.close()


async def test_a_limit_without_a_clock_ticks_rarely(monkeypatch) -> None:
    """Thousands of them may wait at once."""
    planned, call_later = list[float](), asyncio.get_running_loop().call_later

    def noted(delay: float, *arguments: Any) -> asyncio.TimerHandle:
        planned.append(delay)
        return call_later(delay, *arguments)

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", noted, raising=False)
    async with awake_limit(4):
        assert planned == [0.5, 4]


async def test_a_limit_without_a_clock_ends_and_leaves_no_timer_behind() -> None:
    with pytest.raises(TimeoutError):
        async with awake_limit(0.1):
            await asyncio.sleep(5)
    async with awake_limit(5):
        pass
