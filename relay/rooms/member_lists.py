"""Member lists for a room's listeners: a list is ready when the listeners have all events that it knows of."""

import asyncio

from relay.awake import awake_limit
from relay.backend.presence import Presence
from relay.model.envelope import MessageId
from relay.model.errors import Unavailable
from relay.model.events import Roster
from relay.rooms.hub import Hub

_ATTEMPTS = 3
"""Readings of a list that is outdated when it arrives. In a room that changes all the time, each list is."""


class MemberLists:
    """Reads rosters in step with the events that this worker delivers.

    Redis answers over one connection, and delivers the room's events over another, so a roster may be ahead of the
    events. Its id then stands for events that the listeners have not got: a client that resumes from this id would miss
    them. So a roster is held back until this worker has delivered the room's events up to its id, for at most `timeout`
    seconds. A roster that is behind the events is read again: it would bring members back that have left.
    """

    def __init__(self, hub: Hub, presence: Presence, *, timeout: float) -> None:
        self._hub = hub
        self._presence = presence
        self._timeout = timeout

    async def read(self, room: str, limit: int | None = None) -> Roster:
        """Return a roster; frames that are written after this returns are newer than the events that the roster has.

        `limit` is as in `Presence.roster`. Raises `Unavailable` or `OutcomeUnknown`.
        """
        roster = await self._read(room, limit)
        for _ in range(_ATTEMPTS - 1):
            if not self._is_outdated(room, roster):
                break
            roster = await self._read(room, limit)
        return roster

    async def _read(self, room: str, limit: int | None) -> Roster:
        roster = await self._presence.roster(room, limit)
        try:
            async with awake_limit(self._timeout):
                await self._delivered(room, roster.id)
        except TimeoutError:
            raise Unavailable(
                "Redis has the members, but this worker did not receive the room's events in time"
            ) from None
        return roster

    async def _delivered(self, room: str, message_id: MessageId) -> None:
        delivered = asyncio.Event()
        self._hub.when_delivered(room, message_id, delivered.set)
        await delivered.wait()

    def _is_outdated(self, room: str, roster: Roster) -> bool:
        local = self._hub.rooms.get(room)
        return local is not None and roster.id < local.changed
