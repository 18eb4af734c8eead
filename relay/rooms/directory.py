"""Questions about rooms: which members they have, and whether a name is in use."""

from relay.backend.channels import RecentChannels
from relay.backend.presence import ListRooms, Presence
from relay.model.errors import Refused
from relay.model.events import Roster
from relay.model.names import escape_room


class Directory:
    """Answers from the presence entries and the recent channels; raises `Unavailable` or `OutcomeUnknown`."""

    def __init__(self, channels: RecentChannels, presence: Presence, list_rooms: ListRooms) -> None:
        self._channels = channels
        self._presence = presence
        self.list_rooms = list_rooms

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """The members of a room; `limit` is as in `Presence.roster`."""
        return await self._presence.roster(room, limit)

    async def detect(self, name: str, room: str, *, rooms: bool = True) -> bool:
        """Whether a name, given as text, is in use, for a member of `room` that wants to know whether it can use it.

        It is in use if a room of that name has members (besides the one that asks), or if messages of `room` have used
        a channel of that name lately. Without `rooms`, only channels count.
        """
        if rooms and await self._is_occupied(name, room):
            return True
        return await self._channels.used(room, name)

    def note_channel(self, name: str, room: str) -> None:
        """Record that a channel of a room is in use, as a message in it does; neither waits nor fails."""
        self._channels.note(room, name)

    async def _is_occupied(self, name: str, room: str) -> bool:
        """Whether a room of this name has members, besides one in the room itself."""
        try:
            named = escape_room(name)
        except Refused:
            return False
        roster = await self._presence.roster(named, 0)
        return roster.count > (named == room)
