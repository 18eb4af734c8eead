"""Which rooms are watched: the clients in them are pinged more often."""

from functools import partial

from relay.backend.watches import WatchedRooms
from relay.rooms.member import Listener
from relay.rooms.registry import LocalRooms


class Watches:
    """Marks the local rooms whose presence a client has asked for, on this worker or on another one.

    A worker with a watcher records its room in the backend before the watcher joins. The other workers with members in
    the room get the join, and look then; a member's own join tells its worker as well. A mark stays until
    the room has no listeners here. An observer joins no room, so other workers find it with the next join only.
    """

    def __init__(self, rooms: LocalRooms, watched: WatchedRooms) -> None:
        self._rooms = rooms
        self._watched = watched

    def begin(self, listener: Listener) -> None:
        """Note a listener that is staged, before its presence entry is written; only watchers count."""
        room = self._rooms.get(listener.room)
        if listener.presence and room is not None and not room.watched:
            room.watched = True
            self._watched.note(room.name)

    def look(self, name: str) -> None:
        """Look whether a room that has a new member is watched."""
        room = self._rooms.get(name)
        if room is not None and not room.watched:
            self._watched.look(name, partial(self._mark, name))

    def _mark(self, name: str) -> None:
        room = self._rooms.get(name)
        if room is not None:
            room.watched = True
