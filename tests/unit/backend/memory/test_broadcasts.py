"""Trees of broadcasts in memory; tests/contract/test_broadcasts.py has the contract."""

import time

from relay.backend.memory.broadcasts import MemoryBroadcasts
from relay.backend.memory.state import MemoryEntry, MemoryRooms
from relay.backend.settings import HistorySettings


async def test_a_tree_ends_with_its_last_member() -> None:
    rooms = MemoryRooms(time.monotonic, time.time, HistorySettings())
    for peer in ("host", "ann"):
        rooms.room("r").put(
            peer, MemoryEntry(generation=1, lease="a", current="", previous="", began=rooms.room("r").id)
        )
    broadcasts = MemoryBroadcasts(rooms)
    await broadcasts.enter("r", "host", "host", 1)
    assert (await broadcasts.enter("r", "ann", "host", 1)).source == "host"
    for peer in ("host", "ann", "stranger"):
        await broadcasts.set_relay("r", peer, can_relay=True)
        await broadcasts.leave("r", peer)
    assert broadcasts._trees == {}


async def test_trees_of_rooms_that_have_ended_do_not_stay() -> None:
    rooms = MemoryRooms(time.monotonic, time.time, HistorySettings())
    broadcasts = MemoryBroadcasts(rooms)
    for number in range(500):
        await broadcasts.enter(f"r{number}", "host", "host", 1)
    assert len(broadcasts._trees) < 100
