"""Renewing the time to live that rooms have in Redis."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from itertools import islice

from relay.backend.presence import Leases
from relay.metrics import Metrics
from relay.model.errors import RelayError
from relay.rooms.departures import Departures
from relay.rooms.member import Member
from relay.rooms.registry import LocalRooms

_LOOKS = 3
"""Rounds one after the other in which the entry of a connected member must be missing: in between, a heartbeat may find
that the worker's lease had lapsed, and announce the member, or the event may arrive that the member has moved."""

_LEAST_AGAIN = 16
"""Rooms that one round renews again at least, if so many are waiting; else as many as are due in it."""


@dataclass(slots=True)
class _Missing:
    """A member whose entry was missing in so many rounds."""

    member: Member
    looks: int = 0


class RoomRenewal:
    """Renews a share of the rooms each round, so that no round has thousands of them to renew, or to look at.

    `rounds` is the number of rounds in a room's time to live. A room is renewed in every half of it. Rooms of a round
    that fails, and those that failed alone, are renewed with the next ones.
    A room is not given up while it is one of the `unmoved`: they have events that are not in the webhook's queue yet.
    One that is to be given up in a round that fails is given up in the next one.
    `on_lost` is called with a room of which the backend has lost the entry of a member that is connected here. Only the
    member that was welcomed first is looked for: its entry is the one that no later join can have written again.
    """

    def __init__(
        self,
        rooms: LocalRooms,
        departures: Departures,
        leases: Leases,
        *,
        rounds: float,
        metrics: Metrics,
        unmoved: Container[str] = (),
        on_lost: Callable[[str], None] = lambda room: None,
    ) -> None:
        self._rooms = rooms
        self._departures = departures
        self._leases = leases
        self._share = 2 / rounds
        self._metrics = metrics
        self._unmoved = unmoved
        self._on_lost = on_lost
        # In the order in which they were renewed, or have begun. Some have ended meanwhile. Others only have observers
        # here, which must not keep a room's state in Redis for ever. They stay, as a member may join.
        self._queue: dict[str, None] = {}
        self._owed = 0.0
        self._missing: dict[str, _Missing] = {}
        # Rooms of rounds that failed, and rooms that the backend wants to renew again.
        self._again: dict[str, None] = {}
        # Rooms that are to be given up in the next round, unless somebody needs them by then.
        self._idle: dict[str, None] = {}

    async def renew(self, idle: list[str], rounds: int = 1) -> None:
        """Renew a share of the rooms: that of one round, or of several `rounds` since the last renewal began.

        `idle` are the rooms that may have lost their last member here.
        """
        due = self._next(rounds)
        rooms = dict.fromkeys([*due, *self._missing, *self._repeated(max(len(due), _LEAST_AGAIN))])
        self._idle.update(dict.fromkeys(idle))
        left = [room for room in self._idle if not self._is_needed(room)]
        # Those that are needed are noted again when they fall idle.
        self._idle.clear()
        members = {room: self._rooms.first_member(room) for room in rooms}
        peers = {room: member.peer if member else "" for room, member in members.items()}
        try:
            # Also without any: the backend may know of rooms that are to be given up.
            touched = await self._leases.touch(peers, left)
        except RelayError:
            self._again.update(rooms)
            self._idle.update(dict.fromkeys(left))
            raise
        self._again.update(dict.fromkeys((*touched.again, *touched.failed)))
        self._idle.update(dict.fromkeys(touched.vacant))
        lost, failed = set(touched.lost), set(touched.failed)
        self._metrics.room_ttl_renewals.inc(len(rooms) - len(failed))
        for room, member in members.items():
            # Whether the entry of a member is missing was not asked in a room that failed.
            if room not in failed:
                self._note(room, member, lost=room in lost)

    def _repeated(self, most: int) -> list[str]:
        """Return rooms that are to be renewed again, but for those that nobody needs any more."""
        taken = list(islice(self._again, most))
        for room in taken:
            del self._again[room]
        return [room for room in taken if self._is_occupied(room)]

    def _is_occupied(self, room: str) -> bool:
        return self._rooms.has_members(room) or room in self._departures

    def _is_needed(self, room: str) -> bool:
        return self._is_occupied(room) or room in self._unmoved

    def _note(self, room: str, member: Member | None, *, lost: bool) -> None:
        """Note whether the backend lacked the entry of a member that was connected when it was asked."""
        missing = self._missing.pop(room, None)
        if member is None or not lost or not self._rooms.has(member):
            return
        if missing is None or missing.member is not member:
            missing = _Missing(member)
        missing.looks += 1
        if missing.looks < _LOOKS:
            self._missing[room] = missing
        else:
            self._on_lost(room)

    def _next(self, rounds: int) -> list[str]:
        """Return the rooms that have waited longest, as many as are due after so many rounds.

        A room waits for half of its time to live at most, from its beginning on, also while others begin or end.
        """
        for begun in (self._rooms.begun, self._departures.begun):
            self._queue.update(begun)
            begun.clear()
        self._owed += len(self._queue) * self._share * rounds
        count = min(int(self._owed), len(self._queue))
        self._owed -= count
        taken, stay = list[str](), list[str]()
        for room in self._queue:
            if len(stay) >= count:
                break
            taken.append(room)
            if self._is_occupied(room) or self._rooms.get(room) is not None:
                stay.append(room)
        for room in taken:
            del self._queue[room]
        self._queue.update(dict.fromkeys(stay))
        return [room for room in stay if self._is_occupied(room)]
