"""Openings: the right of clients to open a room that does not exist."""

from relay.backend.headroom import Headroom
from relay.backend.presence import Presence
from relay.backend.rules import RoomRulesStore
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import Refused
from relay.rooms.quotas import Quota, Quotas
from relay.rooms.registry import LocalRooms


class Opening:
    """The right of one client to open a room while it joins, or the code of the error if it has none (`barred`)."""

    __slots__ = ("_quota", "barred")

    def __init__(self, barred: str, quota: Quota | None) -> None:
        self.barred = barred
        self._quota = quota

    def end(self, *, created: bool) -> None:
        """Count the room if the client has created it; the first call counts."""
        quota, self._quota = self._quota, None
        if quota is not None:
            if created:
                quota.use_reserved()
            else:
                quota.give_back()


class Openings:
    """Allows each address so many new rooms a minute, and none while the backend's memory is low.

    Rooms that exist do not count.
    """

    def __init__(
        self, rooms: LocalRooms, presence: Presence, rules: RoomRulesStore, quotas: Quotas, headroom: Headroom
    ) -> None:
        self._rooms = rooms
        self._presence = presence
        self._rules = rules
        self._quotas = quotas
        self._headroom = headroom

    async def begin(
        self, room: str, address: str, *, may_open: bool = True, comes_back: bool = False, joins: bool = True
    ) -> Opening:
        """Return the right of a client of this address to open this room; without `may_open`, it has none.

        A client that `comes_back` is not refused here for that: Redis may have lost the room for a moment.

        A client that may not open a room, and joins one that this worker does not know, is refused before anything is
        written for it. Of a room that this worker knows, the step that makes the client a member decides; without
        `joins`, there is no such step. Raises `Refused`: `no_such_room`, `too_many_new_rooms` or `memory_low`; and the
        errors of `Presence.roster`.
        """
        quota = self._quotas.of(address)
        barred = "no_such_room" if not may_open else "memory_low" if self._headroom.level_of(room) else ""
        if not barred and not quota.reserve():
            barred = "too_many_new_rooms"
        if not barred:
            return Opening("", quota)
        decided_later = joins and (self._rooms.get(room) is not None or (comes_back and not may_open))
        if not decided_later and not await self._exists(room, made=not may_open):
            raise Refused(barred, room=room)
        return Opening(barred, None)

    async def count(self, room: str, address: str) -> None:
        """Count a room for which a client of this address is about to store rules, unless it exists.

        Raises `Refused`: `too_many_new_rooms` or `memory_low`; and the errors of `Presence.roster`.
        """
        if await self._exists(room, made=True):
            return
        quota = self._quotas.of(address)
        is_low = bool(self._headroom.level_of(room))
        if is_low or not quota.reserve():
            raise Refused("memory_low" if is_low else "too_many_new_rooms", room=room)
        quota.use_reserved()

    async def _exists(self, room: str, *, made: bool) -> bool:
        """Whether a room exists; with `made`, one without members counts only if it was made, and so has rules."""
        roster = await self._presence.roster(room, 0)
        if not made or roster.count > 0:
            return roster.id > BEFORE_ALL
        rules = await self._rules.read(room)
        return rules is not None and rules.keep_room
