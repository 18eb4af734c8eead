"""Background tasks: an owner that notices their end."""

import asyncio
import gc

import pytest

from relay import tasks as module
from relay.tasks import BackgroundTasks


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


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.04)
    monkeypatch.setattr(module, "_STEADY", 0.1)


async def own_cancellation() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def failure() -> None:
    raise ZeroDivisionError("by zero")


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("die", "cause"),
    [
        (failure, "died of ZeroDivisionError: by zero"),
        (own_cancellation, "died of CancelledError"),
        (nothing, "ended by itself"),
    ],
)
async def test_a_loop_that_ends_in_any_way_is_logged_with_the_cause_and_starts_again(fast, caplog, die, cause) -> None:
    starts, healthy = [], asyncio.Event()

    async def run() -> None:
        starts.append(1)
        if len(starts) < 4:
            await die()
        else:
            await healthy.wait()

    tasks = BackgroundTasks()
    loop = tasks.keep(run, "heartbeat")
    assert (len(tasks), loop.problem) == (1, "")
    await until(lambda: len(starts) == 4)
    assert loop.problem == cause
    await until(lambda: not loop.problem)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert all(text.startswith(f"background task heartbeat {cause}; it starts again in") for text in texts)
    # One traceback for each cause: the same one again says nothing new.
    assert [bool(record.exc_info) for record in caplog.records] == [cause != "ended by itself", False, False]
    await tasks.cancel()
    assert (len(tasks), loop.problem) == (0, "has ended")
    assert len(caplog.records) == 3


async def test_the_pauses_between_the_starts_of_a_loop_grow(monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.4)
    loop = module.KeptLoop(failure, "probe")
    await asyncio.sleep(1.2)
    await loop.stop()
    pauses = [record.getMessage().partition(" in ")[2][:5] for record in caplog.records]
    assert pauses[:4] == ["0.1 s", "0.2 s", "0.4 s", "0.4 s"]


async def test_a_task_that_is_cancelled_from_inside_is_logged(caplog) -> None:
    tasks = BackgroundTasks()
    tasks.spawn(own_cancellation(), "session")
    await until(lambda: not len(tasks))
    assert "background task session was cancelled from inside" in caplog.text


async def test_an_error_in_a_guarded_callback_is_logged_and_not_raised(caplog) -> None:
    module.guarded(lambda: 1 / 0, "a lost connection")
    assert "a lost connection failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text
