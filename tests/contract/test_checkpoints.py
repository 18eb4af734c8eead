"""Checkpoints of streams, for every backend."""

import asyncio

from relay.model.checkpoints import FIRST_TURN, Kept
from tests.contract.conftest import MakeWorker


async def test_any_worker_reads_the_checkpoint_of_the_newest_turn(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    assert await a.checkpoints.read("stream") is None
    await a.checkpoints.keep("stream", 1, b"\x00 one", {7: b"seven"}, (), 60)
    await a.checkpoints.keep("stream", 1, b"two", {8: b"eight"}, (7,), 60)
    assert await b.checkpoints.read("stream") == Kept(1, b"two", {8: b"eight"})
    await b.checkpoints.keep("stream", 12, b"three", {}, (), 60)
    # A worker that has lost the stream, and does not know it.
    await a.checkpoints.keep("stream", 1, b"late", {9: b"nine"}, (8,), 60)
    await a.checkpoints.keep("other", 1, b"", {}, (), 60)
    assert await a.checkpoints.read("stream") == Kept(12, b"three", {})
    await b.checkpoints.drop("stream")
    assert await a.checkpoints.read("stream") is None
    assert await b.checkpoints.read("other") == Kept(1, b"", {})


async def test_each_resumption_has_a_turn_of_its_own(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.checkpoints.keep("stream", FIRST_TURN, b"one", {}, (), 60)
    assert await b.checkpoints.newest_turn("stream") == FIRST_TURN
    turns = await asyncio.gather(*(worker.checkpoints.begin_turn("stream") for worker in (a, b) for _ in range(5)))
    assert sorted(turns) == [*range(FIRST_TURN + 1, FIRST_TURN + 11)]
    assert await a.checkpoints.newest_turn("stream") == FIRST_TURN + 10
    # None of them has written anything yet.
    assert await a.checkpoints.read("stream") == Kept(FIRST_TURN, b"one", {})
