"""Callbacks in small batches."""

import asyncio

from relay.rooms.throttle import Throttle


async def test_at_most_eight_callbacks_run_in_one_turn_and_in_order() -> None:
    throttle, called, turns = Throttle(), [], []
    for number in range(20):
        throttle.add(lambda number=number: called.append(number))
    while len(called) < 20:
        await asyncio.sleep(0)
        turns.append(len(called))
    assert turns == [8, 16, 20]
    assert called == list(range(20))


async def test_a_callback_that_is_added_meanwhile_waits_for_its_turn() -> None:
    throttle, called = Throttle(), []
    throttle.add(lambda: throttle.add(lambda: called.append("second")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert called == ["second"]


async def test_finishing_calls_back_all_that_wait_at_once() -> None:
    throttle, called = Throttle(), []
    for number in range(20):
        throttle.add(lambda number=number: called.append(number))
    throttle.finish()
    assert called == list(range(20))
    await asyncio.sleep(0)
    assert len(called) == 20


async def test_a_callback_that_fails_does_not_keep_the_others_waiting(caplog) -> None:
    throttle, called = Throttle(), []

    def fail() -> None:
        raise ZeroDivisionError

    for number in range(20):
        throttle.add(fail if number in {3, 19} else lambda number=number: called.append(number))
    throttle.add(lambda: called.append("last"))
    async with asyncio.timeout(5):
        while "last" not in called:
            await asyncio.sleep(0)
    assert len(called) == 19
    assert len(caplog.records) == 2
    throttle.add(fail)
    throttle.add(lambda: called.append("after"))
    throttle.finish()
    assert called[-1] == "after"


async def test_calls_are_made_at_once_until_there_were_eight_in_a_turn() -> None:
    throttle, called, turns = Throttle(), [], []
    for number in range(20):
        throttle.call(lambda number=number: called.append(number))
    assert called == list(range(8))
    while len(called) < 20:
        await asyncio.sleep(0)
        turns.append(len(called))
    assert turns == [16, 20]
    assert called == list(range(20))
    await asyncio.sleep(0)
    throttle.call(lambda: called.append(20))
    assert called[-1] == 20


async def test_a_finished_throttle_lets_no_call_wait() -> None:
    throttle, called = Throttle(), []
    throttle.finish()
    for number in range(20):
        throttle.call(lambda number=number: called.append(number))
    assert called == list(range(20))
