"""Questions about rooms: which members they have, and whether a name is in use."""

from collections.abc import Callable

from relay.backend.channels import RecentChannels
from relay.backend.headroom import Headroom
from relay.backend.presence import ListRooms, Presence
from relay.model.errors import Refused
from relay.model.events import Roster
from relay.model.names import escape_room
from relay.rooms.quotas import Quotas


class Directory:
    """Answers from the presence entries and the recent channels; raises `Unavailable` or `OutcomeUnknown`.

    `quotas` are those of channels that clients open without a message. `check` is called with the room of each
    question, and may raise `Unavailable` at once.
    """

    def __init__(
        self,
        channels: RecentChannels,
        presence: Presence,
        list_rooms: ListRooms,
        quotas: Quotas,
        headroom: Headroom,
        *,
        check: Callable[[str], None] = lambda room: None,
    ) -> None:
        self._channels = channels
        self._presence = presence
        self._quotas = quotas
        self._headroom = headroom
        self.list_rooms = list_rooms
        self._check = check

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """The members of a room; `limit` is as in `Presence.roster`."""
        self._check(room)
        return await self._presence.roster(room, limit)

    async def detect(self, name: str, room: str, *, rooms: bool = True) -> bool:
        """Whether a name, given as text, is in use, for a member of `room` that wants to know whether it can use it.

        It is in use if a room of that name has members (besides the one that asks), or if messages of `room` have used
        a channel of that name lately. Without `rooms`, only channels count.
        """
        if rooms and await self._is_occupied(name, room):
            return True
        self._check(room)
        return await self._channels.used(room, name)

    def note_channel(self, name: str, room: str, address: str) -> None:
        """Record that a channel of a room is in use, as a message in it does; does not wait.

        The record outlives its client, which need not be in the room. So it counts for the client's address, and there
        is none while the backend's memory is low. Raises `Refused`: `too_many_new_rooms` or `memory_low`.
        """
        if (room, name) in self._channels.noted:
            return
        quota = self._quotas.of(address)
        is_low = bool(self._headroom.level_of(room))
        if is_low or not quota.reserve():
            raise Refused("memory_low" if is_low else "too_many_new_rooms", room=room)
        quota.use_reserved()
        self._channels.note(room, name)

    async def _is_occupied(self, name: str, room: str) -> bool:
        """Whether a room of this name has members, besides one in the room itself."""
        try:
            named = escape_room(name)
        except Refused:
            return False
        self._check(named)
        roster = await self._presence.roster(named, 0)
        return roster.count > (named == room)
