"""The rooms that have members on this worker."""

from collections.abc import Callable, Iterator

from relay.metrics import Metrics
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.rooms.member import Member
from relay.rooms.room import LocalRoom


class LocalRooms:
    """This worker's rooms by name; it has a room as long as the room has members here, joining ones included."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._by_name: dict[str, LocalRoom] = {}
        # Asked for each message and each delivery: the dictionary's own method costs no further call.
        self.get: Callable[[str], LocalRoom | None] = self._by_name.get

    def __len__(self) -> int:
        """How many rooms there are on this worker."""
        return len(self._by_name)

    def __getitem__(self, name: str) -> LocalRoom:
        """The room of this name, which has members."""
        return self._by_name[name]

    def names(self) -> list[str]:
        """The names of the rooms."""
        return list(self._by_name)

    def members(self) -> Iterator[Member]:
        """Every welcomed member of every room."""
        for room in self._by_name.values():
            yield from room.welcomed()

    def last(self, name: str) -> MessageId:
        """The newest id that was delivered in a room."""
        room = self.get(name)
        return room.last if room else BEFORE_ALL

    def has(self, member: Member) -> bool:
        """Whether the member was welcomed, and has neither left nor been replaced since."""
        room = self.get(member.room)
        return room is not None and room.has(member)

    def stage(self, member: Member) -> None:
        """Add a member that is about to join: from now on, the room's events go into its backlog."""
        room = self.get(member.room)
        if room is None:
            room = self._by_name[member.room] = LocalRoom(member.room)
            self._metrics.rooms.set(len(self))
        room.joining[member] = None

    def remove(self, member: Member) -> bool:
        """Take a member out of its room; False if it was not welcomed, or has left before."""
        room = self.get(member.room)
        if room is None:
            return False
        was_member = room.remove(member)
        if was_member:
            self._metrics.members.dec()
        if room.empty:
            del self._by_name[member.room]
            self._metrics.rooms.set(len(self))
            # No further event is delivered here, so the callbacks would wait for ever. An early acknowledgement can
            # mislead no member, as none is left.
            for _, callback in room.on_delivered:
                callback()
        return was_member
