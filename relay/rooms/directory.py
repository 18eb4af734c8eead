"""Questions about rooms: which members they have, and whether a name is in use."""

from contextlib import suppress

from relay.backend.bus import Bus
from relay.backend.presence import ListRooms, Presence
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.model.events import Message, Roster
from relay.model.names import escape_room
from relay.rooms.registry import LocalRooms

_SEARCHED = (512, 64, 8)
"""Newest events that are searched for a channel. The smaller numbers are for a history that cannot replay so many."""


class Directory:
    """Answers from the presence entries and the history; every method raises `Unavailable` or `OutcomeUnknown`."""

    def __init__(self, rooms: LocalRooms, bus: Bus, presence: Presence, list_rooms: ListRooms) -> None:
        self._rooms = rooms
        self._bus = bus
        self._presence = presence
        self.occupied = list_rooms

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """The members of a room; `limit` is as in `Presence.roster`."""
        return await self._presence.roster(room, limit)

    async def detect(self, name: str, room: str) -> bool:
        """Whether a name, given as text, is in use, for a member of `room` that wants to know whether it can use it.

        It is in use if a room of that name has members (besides the one that asks), or if one of the newest events of
        `room` is a message to a channel of that name.
        """
        with suppress(Refused):
            named = escape_room(name)
            roster = await self._presence.roster(named, 0)
            if roster.count > (named == room):
                return True
        epoch, seq = self._rooms.last(room)
        if not epoch:
            return False
        for count in _SEARCHED:
            replay = await self._bus.replay(room, MessageId(epoch, max(0, seq - count)))
            if not replay.lost:
                return any(isinstance(event, Message) and event.channel == name for event in replay.events)
        return False
