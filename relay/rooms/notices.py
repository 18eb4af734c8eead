"""Presence notices: joins, leaves and new infos are gathered for a moment, and sent to a room's watchers together."""

from collections.abc import Callable
from functools import partial

from relay.model.envelope import MessageId
from relay.rooms.member import Listener, send_to_all
from relay.rooms.presence_batch import PresenceBatch, PresenceEvent
from relay.rooms.registry import LocalRooms
from relay.rooms.room import LocalRoom
from relay.tasks import guarded


class PresenceNotices:
    """Sends presence changes in batches: a hundred joins in a row are one frame for each watcher.

    `later` calls back after a short time. The hub flushes a room before it sends the members any other event, so that
    each member sees all events in the room's order: a join comes before the new member's first message.
    """

    def __init__(self, rooms: LocalRooms, later: Callable[[Callable[[], None]], object]) -> None:
        self._rooms = rooms
        self._later = later
        self._unsent: dict[str, None] = {}

    def add(self, room: LocalRoom, event: PresenceEvent) -> None:
        """Gather an event, if the room has watchers."""
        if not room.watchers:
            return
        if room.unsent is not None and not room.unsent.takes(event):
            self.flush(room)
        if room.unsent is None:
            room.unsent = PresenceBatch()
        room.unsent.add(event)
        if not self._unsent:
            self._later(self.flush_all)
        self._unsent[room.name] = None

    def flush(self, room: LocalRoom) -> None:
        """Send the watchers of a room the changes that were gathered."""
        if room.unsent is None:
            return
        change, room.unsent = room.unsent.as_change(room.name), None
        send_to_all(room.watchers, change)

    def newest_id(self, listener: Listener) -> MessageId:
        """Return the newest id of the listener's room; all events up to it have been written to the listener.

        Presence that waits to be sent together is sent first.
        """
        room = self._rooms.get(listener.room)
        if room is None:
            return listener.since
        if room.unsent is not None:
            self.flush_all()
        # Redis may have no state of a room that only has observers here.
        return max(listener.since, room.last) if room.last.epoch else listener.since

    def flush_all(self) -> None:
        """Send the changes that were gathered in all rooms."""
        unsent, self._unsent = self._unsent, {}
        for name in unsent:
            room = self._rooms.get(name)
            if room is not None:
                guarded(partial(self.flush, room), f"the presence of room {name}")
