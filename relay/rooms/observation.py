"""Observing: the order in which an observer uses the bus, presence and the hub."""

from relay.backend.presence import Presence
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import Refused
from relay.model.events import Observing
from relay.rooms.hub import Hub
from relay.rooms.observer import Observer, Sight
from relay.rooms.openings import Openings
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.subscriptions import RoomSubscriptions


class Observation:
    """Begins and ends the observation of rooms by one worker's observers.

    An observer is staged and the room subscribed before its members are read, so that every event after the list
    reaches the observer. The backend only notes that the room is watched: an observer does not keep a room alive. At
    most `limit` observers of one room are accepted.
    """

    def __init__(
        self,
        hub: Hub,
        presence: Presence,
        subscriptions: RoomSubscriptions,
        openings: Openings,
        copies: RuleCopies,
        *,
        limit: int,
    ) -> None:
        self._hub = hub
        self._openings = openings
        self._rooms = hub.rooms
        self._presence = presence
        self._subscriptions = subscriptions
        self._copies = copies
        self._limit = limit

    async def begin(self, observer: Observer, *, key: str = "", address: str = "") -> None:
        """Let an observer watch its room, and welcome it; the arguments and errors are those of `Worker.observe`.

        A room that does not exist counts as one that the address opens: the backend notes that it is watched.
        """
        room, created = observer.room, False
        opening = await self._openings.begin(room, address)
        try:
            await self._subscriptions.stage(observer)
            # Counted when it is staged: many may wait for that at the same time.
            if self._rooms.observers(room) > self._limit:
                raise Refused("too_many_observers", f"{room} has {self._limit} observers on this worker", room=room)
            roster_limit = None if observer.presence and observer.sight is not Sight.COUNTS else 0
            roster = await self._presence.roster(room, roster_limit)
            created = roster.id == BEFORE_ALL
            self._hub.admit_observer(observer, Observing(room, roster, observer.presence, key))
            if self._copies.get(room) is None:
                # After a restart of Redis, a worker with observers may confirm the room before those with members do.
                self._copies.refresh([room])
        except BaseException:
            self.end(observer)
            raise
        finally:
            opening.end(created=created)

    def end(self, observer: Observer) -> None:
        """End an observation; a repeated call does nothing."""
        self._rooms.remove_observer(observer)
        self._subscriptions.note_idle(observer.room)
