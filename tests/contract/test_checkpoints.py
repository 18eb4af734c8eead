"""Checkpoints of streams, for every backend."""

from tests.contract.conftest import MakeWorker


async def test_any_worker_reads_the_checkpoints_of_all_turns(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    assert await a.checkpoints.read("stream") == {}
    await a.checkpoints.keep("stream", 1, b"\x00 one")
    await a.checkpoints.keep("stream", 1, b"two")
    await b.checkpoints.keep("stream", 2, b"three")
    # A worker that has lost the stream, and does not know it.
    await a.checkpoints.keep("stream", 1, b"late")
    await a.checkpoints.keep("other", 1, b"")
    assert await a.checkpoints.read("stream") == {1: b"late", 2: b"three"}
    await b.checkpoints.drop("stream")
    assert await a.checkpoints.read("stream") == {}
    assert await b.checkpoints.read("other") == {1: b""}
