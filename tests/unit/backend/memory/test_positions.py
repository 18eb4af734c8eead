"""tests/contract/test_positions.py has the contract."""

import time

from relay.backend.memory.positions import MemoryDeliveredPositions
from relay.backend.memory.state import MemoryRooms
from relay.backend.positions import DeliveredPosition
from relay.backend.settings import HistorySettings
from relay.model.envelope import MessageId


async def test_a_position_in_a_room_that_is_gone_is_not_recorded() -> None:
    rooms = MemoryRooms(time.monotonic, time.time, HistorySettings())
    positions = MemoryDeliveredPositions(rooms)
    await positions.note([DeliveredPosition("room", "peer", 1, MessageId(1, 1))])
    assert rooms.positions == {}
    assert await positions.noted("room", "peer") is None
