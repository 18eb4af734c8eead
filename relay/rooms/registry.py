"""The rooms that have members or observers on this worker."""

from collections.abc import Callable, Iterator

from relay.metrics import Metrics
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.rooms.member import Listener, Member
from relay.rooms.observer import Observer
from relay.rooms.room import LocalRoom
from relay.tasks import guarded


class LocalRooms:
    """This worker's rooms by name: those with members or observers here, joining ones included."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # The path of a message looks here itself, which costs no further call.
        self.by_name: dict[str, LocalRoom] = {}
        self.begun: dict[str, None] = {}
        """The rooms that have begun since the renewal has taken them from here, which keeps it from looking at all."""
        self.get: Callable[[str], LocalRoom | None] = self.by_name.get

    def __len__(self) -> int:
        """How many rooms there are on this worker."""
        return len(self.by_name)

    def __getitem__(self, name: str) -> LocalRoom:
        """The room of this name, which has members or observers."""
        return self.by_name[name]

    def names(self) -> list[str]:
        """The names of the rooms."""
        return list(self.by_name)

    def has_members(self, name: str) -> bool:
        """Whether the room has members here, joining ones included."""
        room = self.get(name)
        return room is not None and room.has_members

    def first_member(self, name: str) -> Member | None:
        """The member of a room here that was welcomed first, and that the room's events have reached since."""
        room = self.get(name)
        return None if room is None else next(iter(room.members.values()), None)

    def members(self) -> Iterator[Member]:
        """Every welcomed member of every room."""
        for room in self.by_name.values():
            yield from room.welcomed_members()

    def last(self, name: str) -> MessageId:
        """The newest id that was delivered in a room."""
        room = self.get(name)
        return room.last if room else BEFORE_ALL

    def has(self, member: Member) -> bool:
        """Whether the member was welcomed, and has neither left nor been replaced since."""
        room = self.get(member.room)
        return room is not None and room.has(member)

    def observers(self, name: str) -> int:
        """How many observers a room has here, joining ones included."""
        room = self.get(name)
        return room.observers.size if room and room.observers else 0

    def stage(self, listener: Listener) -> None:
        """Add a member or an observer that waits for its welcome: the room's events go into its backlog from now on."""
        room = self.get(listener.room)
        if room is None:
            room = self.by_name[listener.room] = LocalRoom(listener.room)
            self.begun[listener.room] = None
            self._metrics.rooms.set(len(self))
        room.stage(listener)
        if isinstance(listener, Observer):
            self._metrics.observers.inc()

    def remove(self, member: Member) -> bool:
        """Take a member out of its room; False if it was not welcomed, or has left before."""
        room = self.get(member.room)
        if room is None:
            return False
        was_member = room.remove(member)
        if was_member:
            self._metrics.members.dec()
        self._drop_if_empty(room)
        return was_member

    def remove_observer(self, observer: Observer) -> None:
        """Take an observer out of its room."""
        room = self.get(observer.room)
        if room is not None and room.remove_observer(observer):
            self._metrics.observers.dec()
            self._drop_if_empty(room)

    def hide_presence(self, listener: Listener) -> None:
        """Send a listener no joins and leaves any more."""
        listener.presence = False
        room = self.get(listener.room)
        if room is not None:
            room.watchers.pop(listener, None)

    def _drop_if_empty(self, room: LocalRoom) -> None:
        if room.empty:
            del self.by_name[room.name]
            self.begun.pop(room.name, None)
            self._metrics.rooms.set(len(self))
            # No further event is delivered here, so the callbacks would wait for ever. An early acknowledgement can
            # mislead no member, as none is left.
            for _, callback in room.on_delivered or ():
                guarded(callback, "the work after a message")
