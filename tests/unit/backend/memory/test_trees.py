"""Trees in memory, where they differ; tests/contract/test_trees.py has the rest."""

from relay.backend.memory import trees
from relay.backend.memory.state import MemoryRooms
from relay.backend.memory.trees import MemoryTrees
from relay.backend.settings import HistorySettings
from relay.backend.trees import Writer
from relay.model.tree_changes import PathWrite, TreeChange
from relay.model.tree_envelopes import set_envelope

CHANGE = TreeChange([PathWrite("a", {"a": b"1"})], set_envelope("a", 1))


async def test_a_tree_ends_after_its_time_and_the_number_of_trees_is_bounded(monkeypatch: object) -> None:
    now = 0.0
    rooms = MemoryRooms(lambda: now, lambda: 1e9, HistorySettings())
    backend = MemoryTrees(rooms)
    for number in range(3):
        await backend.write(f"room{number}", Writer("ann"), CHANGE, ttl=10 + number)
    now = 11.5
    assert (await backend.read("room1", "", ttl=10)).leaves == []
    assert (await backend.read("room2", "", ttl=12)).leaves == [("a", b"1")]
    trees_before, trees._MOST_TREES = trees._MOST_TREES, 2
    try:
        await backend.write("room3", Writer("ann"), CHANGE, ttl=100)
        assert (await backend.read("room2", "", ttl=12)).leaves == [("a", b"1")]
        await backend.write("room4", Writer("ann"), CHANGE, ttl=100)
    finally:
        trees._MOST_TREES = trees_before
    assert (await backend.read("room2", "", ttl=10)).leaves == []
