"""The turns of large messages, by a clock that only the messages move."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from relay.rooms.large_messages import LargeMessages


class Cpu:
    """Both clocks of the messages: the time that they take, and in which nothing else happens."""

    def __init__(self) -> None:
        self.now = 0.0
        self.served: list[Any] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: Any, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            self.served.append(name)

        return run


@pytest.fixture
def cpu() -> Cpu:
    return Cpu()


async def test_cheap_messages_are_served_at_once(cpu: Cpu) -> None:
    messages = LargeMessages(cpu, cpu)
    assert all(messages.serve("here", cpu.work(number, 0.0001)) for number in range(5))
    assert cpu.served == [*range(5)]


async def test_costly_messages_wait_and_the_loop_goes_on_between_two_of_them(cpu: Cpu) -> None:
    messages = LargeMessages(cpu, cpu)
    assert messages.serve("here", cpu.work(0, 0.002))
    assert not any(messages.serve("here", cpu.work(number, 0.002)) for number in range(1, 4))
    assert cpu.served == [0]
    turns = 0
    async with asyncio.timeout(10):
        while len(cpu.served) < 4:
            before = len(cpu.served)
            await asyncio.sleep(0)
            turns += 1
            assert len(cpu.served) <= before + 1
    assert cpu.served == [0, 1, 2, 3]
    # The clock stood still while the loop rested, for nine times as long as each message took.
    assert turns > 3


async def test_addresses_take_turns(cpu: Cpu) -> None:
    messages = LargeMessages(cpu, cpu)
    assert messages.serve("there", cpu.work("first", 0.001))
    for number in range(3):
        assert not messages.serve("there", cpu.work(f"there {number}", 0.0001))
    assert not messages.serve("here", cpu.work("here", 0.0001))
    async with asyncio.timeout(10):
        while len(cpu.served) < 5:
            await asyncio.sleep(0)
    assert cpu.served == ["first", "there 0", "here", "there 1", "there 2"]


async def test_a_message_that_fails_does_not_stop_the_others(cpu: Cpu, caplog: pytest.LogCaptureFixture) -> None:
    messages = LargeMessages(cpu, cpu)
    assert messages.serve("here", cpu.work("first", 0.001))
    assert not messages.serve("here", lambda: 1 / 0)
    assert not messages.serve("here", cpu.work("last", 0.0))
    async with asyncio.timeout(10):
        while len(cpu.served) < 2:
            await asyncio.sleep(0)
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


async def test_a_task_waits_for_its_turn_and_gets_the_error(cpu: Cpu) -> None:
    messages = LargeMessages(cpu, cpu)
    await messages.turn("here", cpu.work("first", 0.001))
    with pytest.raises(ZeroDivisionError):
        await messages.turn("here", lambda: 1 / 0)
    cancelled = asyncio.create_task(messages.turn("here", cpu.work("cancelled", 0.0)))
    await asyncio.sleep(0)
    cancelled.cancel()
    await messages.turn("here", cpu.work("last", 0.0))
    assert cpu.served == ["first", "last"]
