"""The presence of a room since its watchers were last sent something: joins, leaves, and changed infos."""

from relay.model.envelope import BEFORE_ALL
from relay.model.events import MemberChanged, MemberJoined, MemberLeft, PresenceChange

PresenceEvent = MemberJoined | MemberLeft | MemberChanged

_MOST_BYTES = 65_536
"""Bytes of peer ids and infos in one batch: a frame of all of them must leave most of a client's send buffer free."""


class PresenceBatch:
    """Gathers events, which one `PresenceChange` then reports; of several infos of one peer, it has the newest."""

    __slots__ = ("_bytes", "_id", "_info", "_joined", "_left")

    def __init__(self) -> None:
        self._id = BEFORE_ALL
        self._joined: dict[str, None] = {}
        self._left: dict[str, None] = {}
        self._info: dict[str, bytes] = {}
        self._bytes = 0

    def takes(self, event: PresenceEvent) -> bool:
        """Whether the event fits in; else the batch has to be sent first.

        A peer that left and joined within one batch is another client, which a single change could not express.
        """
        if self._bytes + _size(event) > _MOST_BYTES or event.peer in self._left:
            return False
        return isinstance(event, MemberChanged) or event.peer not in self._joined

    def add(self, event: PresenceEvent) -> None:
        """Add an event that fits in."""
        self._id = event.id
        self._bytes += _size(event)
        if isinstance(event, MemberChanged):
            self._info[event.peer] = event.info
        elif isinstance(event, MemberJoined):
            self._joined[event.peer] = None
        else:
            self._left[event.peer] = None
            self._info.pop(event.peer, None)

    def as_change(self, room: str) -> PresenceChange:
        """The event that reports the batch to the watchers of this room."""
        changed = tuple(peer for peer in self._info if peer not in self._joined)
        return PresenceChange(room, self._id, tuple(self._joined), tuple(self._left), changed, self._info)


def _size(event: PresenceEvent) -> int:
    return len(event.peer) + (len(event.info) if isinstance(event, MemberChanged) else 0)
