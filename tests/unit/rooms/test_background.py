"""Background tasks: an owner that notices their end."""

import asyncio
import gc

from relay.rooms.background import BackgroundTasks


async def test_a_task_is_kept_until_it_has_ended() -> None:
    tasks, go = BackgroundTasks(), asyncio.Event()
    done = []

    async def work() -> None:
        await go.wait()
        done.append(True)

    tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    go.set()
    while len(tasks):
        await asyncio.sleep(0)
    assert done == [True]


async def test_the_error_that_ends_a_task_is_logged_with_its_name(caplog) -> None:
    tasks = BackgroundTasks()

    async def fail() -> None:
        raise ZeroDivisionError

    tasks.spawn(fail(), "division")
    while len(tasks):
        await asyncio.sleep(0)
    assert "background task division died" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_cancelling_waits_until_all_have_ended_and_logs_nothing(caplog) -> None:
    tasks, ended = BackgroundTasks(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    for _ in range(2):
        tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    await tasks.cancel()
    await tasks.cancel()
    assert (ended, len(tasks), caplog.records) == ([True, True], 0, [])
