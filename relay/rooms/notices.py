"""Presence notices: joins and leaves are gathered for a moment, and sent to the watchers of a room together."""

from collections.abc import Callable

from relay.model.codec import Frame
from relay.model.events import MemberJoined, MemberLeft
from relay.rooms.registry import LocalRooms
from relay.rooms.room import LocalRoom


class PresenceNotices:
    """Sends presence changes in batches: a hundred joins in a row are one frame for each watcher.

    `later` calls back after a short time. The hub flushes a room before it sends the members any other event, so that
    each member sees all events in the room's order: a join comes before the new member's first message.
    """

    def __init__(self, rooms: LocalRooms, later: Callable[[Callable[[], None]], object]) -> None:
        self._rooms = rooms
        self._later = later
        self._unsent: dict[str, None] = {}

    def add(self, room: LocalRoom, event: MemberJoined | MemberLeft) -> None:
        """Gather a join or a leave, if the room has watchers."""
        if not room.watchers:
            return
        # A peer that left and joined within one batch is another client, which a single change could not express.
        if event.peer in room.joined or event.peer in room.left:
            self.flush(room)
        room.add_presence(event)
        if not self._unsent:
            self._later(self.flush_all)
        self._unsent[room.name] = None

    def flush(self, room: LocalRoom) -> None:
        """Send the watchers of a room the changes that were gathered."""
        change = room.take_presence()
        if change.joined or change.left:
            frames: dict[str, Frame] = {}
            for member in room.watchers:
                frame = frames.get(member.codec.key)
                if frame is None:
                    frame = frames[member.codec.key] = member.codec.encode(change)
                member.connection.write(frame)

    def flush_all(self) -> None:
        """Send the changes that were gathered in all rooms."""
        unsent, self._unsent = self._unsent, {}
        for name in unsent:
            room = self._rooms.get(name)
            if room is not None:
                self.flush(room)
