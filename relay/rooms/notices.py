"""Presence notices: joins, leaves and new infos are gathered for a moment, and sent to a room's watchers together."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.envelope import MessageId
from relay.rooms.member import Listener, send_to_all
from relay.rooms.presence_batch import PresenceBatch, PresenceEvent
from relay.rooms.registry import LocalRooms
from relay.rooms.room import LocalRoom
from relay.tasks import guarded

_LONGEST: Final = 2.0
"""Seconds for which the changes of a room are gathered at most, however many watchers it has."""


class PresenceNotices:
    """Sends presence changes in batches: a hundred joins in a row are one frame for each watcher.

    `later` calls back after a short time. The hub flushes a room before it sends the members a message, so that each
    member sees all events in the room's order: a join comes before the new member's first message. Without messages,
    the watchers of a room are sent at most `rate` frames a second in all; beyond that, changes are gathered for longer.
    """

    def __init__(
        self,
        rooms: LocalRooms,
        later: Callable[[Callable[[], None]], object],
        *,
        rate: float = math.inf,
        clock: Clock = time.monotonic,
        metrics: Metrics | None = None,
    ) -> None:
        self._rooms = rooms
        self._later = later
        self._rate = rate
        self._clock = clock
        self._metrics = metrics
        self._unsent: dict[str, None] = {}
        # Whether `later` is to call back.
        self._awaited = False

    def add(self, room: LocalRoom, event: PresenceEvent) -> None:
        """Gather an event, if the room has watchers."""
        if not room.watchers:
            return
        if room.unsent is not None and not room.unsent.takes(event):
            self.flush(room)
        if room.unsent is None:
            room.unsent = PresenceBatch()
        room.unsent.add(event)
        self._unsent[room.name] = None
        self._await()

    def flush(self, room: LocalRoom) -> None:
        """Send the watchers of a room the changes that were gathered."""
        batch, room.unsent = room.unsent, None
        if batch is None:
            return
        late = batch.latecomers
        watchers = [one for one in room.watchers if one not in late] if late else list(room.watchers)
        for change in batch.changes(room.name):
            send_to_all(watchers, change)
        for listener, since in late.items():
            if listener in room.watchers:
                for change in batch.changes(room.name, since):
                    listener.send(change)
        room.presence_due = self._clock() + min(_LONGEST, len(room.watchers) / self._rate)

    def newest_id(self, listener: Listener) -> MessageId:
        """Return an id of the listener's room; all events up to it have been written to the listener.

        It is the newest id, unless changes of the presence wait that the room's watchers may not be sent yet.
        """
        room = self._rooms.get(listener.room)
        if room is None:
            return listener.since
        if room.unsent is not None and room.presence_due <= self._clock():
            self.flush(room)
        if room.unsent is not None and listener.presence:
            return max(listener.since, room.unsent.before)
        # Redis may have no state of a room that only has observers here.
        return max(listener.since, room.last) if room.last.epoch else listener.since

    def flush_all(self) -> None:
        """Send the changes that were gathered in all rooms, in those whose watchers may be sent some now."""
        self._awaited = False
        unsent, self._unsent = self._unsent, {}
        now = self._clock()
        for name in unsent:
            room = self._rooms.get(name)
            if room is None or room.unsent is None:
                continue
            if room.presence_due > now:
                self._delay(name, room.unsent)
            else:
                guarded(partial(self.flush, room), f"the presence of room {name}")

    def _delay(self, name: str, batch: PresenceBatch) -> None:
        self._unsent[name] = None
        if not batch.delayed and self._metrics is not None:
            self._metrics.presence_delays.inc()
        batch.delayed = True
        self._await()

    def _await(self) -> None:
        if not self._awaited:
            self._awaited = True
            self._later(self.flush_all)
