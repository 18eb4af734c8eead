"""Observing: the order in which an observer uses the bus, presence and the hub."""

from relay.backend.presence import Presence
from relay.model.errors import Refused
from relay.model.events import Observing
from relay.rooms.hub import Hub
from relay.rooms.observer import Observer, Sight
from relay.rooms.subscriptions import RoomSubscriptions


class Observation:
    """Begins and ends the observation of rooms by one worker's observers.

    An observer is staged and the room subscribed before its members are read, so that every event after the list
    reaches the observer. The backend only notes that the room is watched: an observer does not keep a room alive. At
    most `limit` observers of one room are accepted.
    """

    def __init__(self, hub: Hub, presence: Presence, subscriptions: RoomSubscriptions, *, limit: int) -> None:
        self._hub = hub
        self._rooms = hub.rooms
        self._presence = presence
        self._subscriptions = subscriptions
        self._limit = limit

    async def begin(self, observer: Observer, *, key: str = "") -> None:
        """Let an observer watch its room, and welcome it; the errors are those of `Worker.observe`."""
        room = observer.room
        try:
            await self._subscriptions.stage(observer)
            # Counted when it is staged: many may wait for that at the same time.
            if self._rooms.observers(room) > self._limit:
                raise Refused("too_many_observers", f"{room} has {self._limit} observers on this worker", room=room)
            sees_names = observer.presence and observer.sight is not Sight.COUNTS
            roster = await self._presence.roster(room, None if sees_names else 0)
            self._hub.admit_observer(observer, Observing(room, roster, observer.presence, key))
        except BaseException:
            self.end(observer)
            raise

    def end(self, observer: Observer) -> None:
        """End an observation; a repeated call does nothing."""
        self._rooms.remove_observer(observer)
        self._subscriptions.note_idle(observer.room)
