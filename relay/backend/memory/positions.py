"""Delivered positions of a process without Redis."""

from collections.abc import Sequence

from relay.backend.memory.state import MemoryRooms
from relay.backend.positions import DeliveredPosition
from relay.model.envelope import MessageId


class MemoryDeliveredPositions:
    """Positions beside the rooms; the end of a membership removes them there."""

    def __init__(self, rooms: MemoryRooms) -> None:
        self._rooms = rooms

    async def note(self, positions: Sequence[DeliveredPosition]) -> None:
        """Do as note.lua does."""
        for position in positions:
            state = self._rooms.peek(position.room)
            entry = state and state.members.get(position.peer)
            if entry and entry.generation == position.generation:
                self._rooms.positions[position.room, position.peer] = position.id

    async def noted(self, room: str, peer: str) -> MessageId | None:
        """Look the position up."""
        return self._rooms.positions.get((room, peer))

    async def renew(self, rooms: Sequence[str]) -> None:
        """Do nothing: rooms in memory have no time to live."""
