"""The contract of `Turns`: one worker has the turn, and the others get its result."""

import asyncio
import time

from relay.backend.memory.turns import MemoryTurns
from relay.backend.redis.turns import RedisTurns
from relay.backend.turns import Turns
from tests.contract.conftest import FakeWorker, MakeWorker
from tests.fleet import eventually

_memory = MemoryTurns(time.monotonic)


def turns_of(worker: FakeWorker) -> Turns:
    if worker.client is None or worker.keys is None:
        return _memory
    return RedisTurns(worker.client, worker.keys)


async def test_one_worker_has_the_turn(make_worker: MakeWorker) -> None:
    workers = [turns_of(await make_worker(name)) for name in ("one", "two", "three")]
    taken = await asyncio.gather(*(worker.take("work", 30) for worker in workers for _ in range(3)))
    assert sum(taken) == 1
    assert not await workers[1].is_taken("other work")
    assert await workers[0].take("other work", 30)
    assert await workers[1].is_taken("other work")
    assert not await workers[1].take("other work", 30)


async def test_the_next_turn_comes_when_the_time_is_over(make_worker: MakeWorker) -> None:
    one, other = turns_of(await make_worker("one")), turns_of(await make_worker("other"))
    assert await one.take("short work", 0.1)

    async def taken() -> bool:
        return await other.take("short work", 30)

    assert not await taken()
    assert await other.is_taken("short work")
    await eventually(taken)


async def test_a_turn_that_is_given_back_is_free(make_worker: MakeWorker) -> None:
    one, other = turns_of(await make_worker("one")), turns_of(await make_worker("other"))
    assert await one.take("work to give back", 30, "a")
    assert not await other.take("work to give back", 30, "b")
    await one.give_back("work to give back", "a")
    assert await other.take("work to give back", 30, "b")
    # One that nobody has taken.
    await one.give_back("no work", "a")


async def test_a_turn_is_given_back_by_its_owner_alone(make_worker: MakeWorker) -> None:
    one, other = turns_of(await make_worker("one")), turns_of(await make_worker("other"))
    assert await one.take("work of one", 0.1, "a")

    async def taken() -> bool:
        return await other.take("work of one", 30, "b")

    await eventually(taken)
    # It is late: its turn is over.
    await one.give_back("work of one", "a")
    assert not await one.take("work of one", 30, "c")


async def test_values_are_shared_until_they_end(make_worker: MakeWorker) -> None:
    one, other = turns_of(await make_worker("one")), turns_of(await make_worker("other"))
    assert await other.shared("work") == b""
    value = bytes(range(256)) * 400
    await one.share("work", value, 30)
    assert await other.shared("work") == value
    assert await other.shared("other work") == b""
    await other.share("work", b"newer", 0.1)

    async def gone() -> bool:
        return await one.shared("work") == b""

    await eventually(gone)
