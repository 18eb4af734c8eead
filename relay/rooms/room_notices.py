"""Room notices: decisions about a room or its members, told to the members here, and carried out."""

from collections.abc import Callable

from msgspec import structs

from relay.model.errors import KICKED, ROOM_CLOSED, CloseReason
from relay.model.events import Kicked, Moved, RoomClosed, RoomNotice, RulesChanged
from relay.rooms.member import Listener, Member, send_to_all
from relay.rooms.notices import PresenceNotices
from relay.rooms.registry import LocalRooms
from relay.rooms.room import LocalRoom


def is_for(event: RoomNotice, listener: Listener) -> bool:
    """Whether a listener is told of an event: only those are that a move is about, and of all others everybody is."""
    return not isinstance(event, Moved) or event.peers is None or listener.peer in event.peers


class RoomNotices:
    """Delivers room notices in their turn; the arguments are those of the hub."""

    def __init__(
        self,
        rooms: LocalRooms,
        notices: PresenceNotices,
        *,
        on_rules: Callable[[RulesChanged], bool],
        on_put_out: Callable[[str], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self._rooms = rooms
        self._notices = notices
        self._on_rules = on_rules
        self._on_put_out = on_put_out
        self._on_closed = on_closed

    def tell(self, event: RulesChanged) -> None:
        """Tell the members of a room here its rules, of which no event has told them."""
        room = self._rooms.get(event.room)
        if room is not None:
            send_to_all(list(room.members.values()), structs.replace(event, id=room.last))

    def deliver(self, room: LocalRoom, event: RoomNotice) -> None:
        """Tell the listeners of a room of a decision, and carry it out for the members here."""
        if isinstance(event, RulesChanged) and not self._on_rules(event):
            return
        if isinstance(event, RoomClosed):
            self._on_closed(room.name)
        # Joins and leaves come before the events that follow them.
        self._notices.flush(room)
        members = [member for member in room.members.values() if is_for(event, member)]
        observers = [] if room.observers is None or isinstance(event, Moved) else list(room.observers.listening)
        send_to_all([*members, *observers], event)
        for member in members:
            if isinstance(event, Moved):
                if member.host is not None:
                    member.host.moved(member, event.to)
            else:
                self.put_out_if_meant(member, event)

    def put_out_if_meant(self, member: Member, event: RoomNotice) -> None:
        """Put a member out of its room if the event says so; the backend has no entry of it any more."""
        if isinstance(event, RoomClosed):
            self._put_out(member, ROOM_CLOSED)
        elif isinstance(event, Kicked) and event.peer == member.peer and 0 < member.generation <= event.generation:
            self._put_out(member, KICKED)

    def _put_out(self, member: Member, reason: CloseReason) -> None:
        if self._rooms.remove(member):
            member.put_out(reason)
            self._on_put_out(member.room)
