import pytest

from relay.backend.memory import checkpoints
from relay.backend.memory.checkpoints import MemoryCheckpoints
from relay.model.checkpoints import CHECKPOINT_TTL, Kept


async def keep(store: MemoryCheckpoints, name: str, seconds: float = 60) -> None:
    await store.keep(name, 1, name.encode(), {}, (), seconds)


async def test_a_checkpoint_ends_after_its_time_and_the_oldest_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    store = MemoryCheckpoints(lambda: now[0])
    await keep(store, "a")
    now[0] = 60
    await keep(store, "b", CHECKPOINT_TTL)
    assert await store.read("a") == Kept(1, b"a", {})
    now[0] += 1
    assert await store.read("a") is None
    monkeypatch.setattr(checkpoints, "_MOST", 2)
    for name in ("c", "d"):
        await keep(store, name)
    assert await store.read("b") is None
    assert await store.read("d") == Kept(1, b"d", {})
    await store.drop("d")
    await store.drop("d")
    assert await store.read("d") is None
