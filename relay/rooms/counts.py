"""Count notices: the number of members of a room, for observers that may not see names."""

import asyncio
import logging

from relay.backend.presence import Presence
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import RelayError
from relay.model.events import PresenceList, Roster
from relay.rooms.member import send_to_all
from relay.rooms.observer import Observer
from relay.rooms.registry import LocalRooms
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.counts")

_INTERVAL = 1.0
"""Seconds between two notices of one room: however many clients join and leave, an observer gets one frame a second."""

_BATCH = 100
"""Rooms whose members are counted at the same time."""


class CountNotices:
    """Sends the number of members to the counting observers of a room, at most once a second.

    The number is read from the backend, and not kept here: so it is right again by itself after any loss of events.
    """

    def __init__(self, rooms: LocalRooms, presence: Presence, tasks: BackgroundTasks) -> None:
        self._rooms = rooms
        self._presence = presence
        self._tasks = tasks
        self._changed: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, room: str) -> None:
        """Note that the number of members may have changed."""
        self._changed[room] = None
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._run(), "count notices")

    async def _run(self) -> None:
        while self._changed:
            await asyncio.sleep(_INTERVAL)
            changed, self._changed = list(self._changed), {}
            for start in range(0, len(changed), _BATCH):
                await asyncio.gather(*map(self._send, changed[start : start + _BATCH]))

    async def _send(self, name: str) -> None:
        if not self._counting(name):
            return
        try:
            roster = await self._presence.roster(name, 0)
        except RelayError as error:
            log.debug("the members of %s cannot be counted (%s); retrying", name, error)
            self._changed[name] = None
            return
        # The roster may be ahead of the events on their way here, and no id may stand for those.
        send_to_all(self._counting(name), PresenceList(name, Roster(roster.count, (), self._heard(name, roster.id))))

    def _heard(self, name: str, message_id: MessageId) -> MessageId:
        last = self._rooms.last(name)
        return min(message_id, last) if last.epoch else BEFORE_ALL

    def _counting(self, name: str) -> list[Observer]:
        room = self._rooms.get(name)
        return list(room.observers.counting) if room and room.observers else []
