import pytest

from relay.backend.checkpoints import CHECKPOINT_TTL
from relay.backend.memory import checkpoints
from relay.backend.memory.checkpoints import MemoryCheckpoints


async def test_a_checkpoint_ends_after_its_time_and_the_oldest_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    store = MemoryCheckpoints(lambda: now[0])
    await store.keep("a", 1, b"1")
    now[0] = CHECKPOINT_TTL
    await store.keep("b", 1, b"2")
    assert await store.read("a") == {1: b"1"}
    now[0] += 1
    assert await store.read("a") == {}
    monkeypatch.setattr(checkpoints, "_MOST", 2)
    for name in ("c", "d"):
        await store.keep(name, 1, b"3")
    assert await store.read("b") == {}
    assert await store.read("d") == {1: b"3"}
    await store.drop("d")
    await store.drop("d")
    assert await store.read("d") == {}
