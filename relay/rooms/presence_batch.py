"""The presence of a room since its watchers were last sent something: joins, leaves, and changed infos."""

from collections.abc import Iterable, Mapping, Sequence

from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import MemberChanged, MemberJoined, MemberLeft, PresenceChange
from relay.rooms.member import Listener

PresenceEvent = MemberJoined | MemberLeft | MemberChanged

_MOST_BYTES = 65_536
"""Bytes of peer ids and infos in one batch: a frame of all of them must leave most of a client's send buffer free."""


class PresenceBatch:
    """Gathers events, and reports the change from before the first to after the last.

    Of several infos of one peer, it reports the newest; of a peer that joins and leaves again, nothing. A peer that
    left and joined is another client: it is reported by two changes, which follow each other. `latecomers` began to
    watch meanwhile, each when the room had reached an id: their lists have all events up to it.
    """

    __slots__ = ("_bytes", "_gone", "_id", "_info", "_joined", "_left", "before", "delayed", "latecomers")

    def __init__(self) -> None:
        self._id = BEFORE_ALL
        # By peer: the id of the event. In `_gone` are the peers that have joined and left again, once or several times:
        # only a latecomer whose list was made between a join and its leave knows them.
        self._joined: dict[str, MessageId] = {}
        self._left: dict[str, MessageId] = {}
        self._gone: dict[str, list[tuple[MessageId, MessageId]]] = {}
        self._info: dict[str, tuple[MessageId, bytes]] = {}
        self._bytes = 0
        self.before = BEFORE_ALL
        """The id ahead of the first event: a watcher has been sent everything up to it."""
        self.delayed = False
        self.latecomers: dict[Listener, MessageId] = {}

    def takes(self, event: PresenceEvent) -> bool:
        """Whether the event fits in; else the batch has to be sent first."""
        return self._bytes + _size(event) <= _MOST_BYTES

    def add(self, event: PresenceEvent) -> None:
        """Add an event that fits in."""
        peer = event.peer
        if self._id == BEFORE_ALL:
            self.before = MessageId(event.id.epoch, event.id.seq - 1)
        self._id = event.id
        if isinstance(event, MemberChanged):
            known = self._info.get(peer)
            self._bytes += _size(event) - (len(peer) + len(known[1]) if known else 0)
            self._info[peer] = event.id, event.info
        elif isinstance(event, MemberJoined):
            self._joined[peer] = event.id
            self._bytes += _size(event)
        else:
            self._forget_info(peer)
            joined = self._joined.pop(peer, None)
            if joined is None:
                self._left[peer] = event.id
                self._bytes += _size(event)
            else:
                # The bytes of the join count for this from now on.
                self._gone.setdefault(peer, []).append((joined, event.id))

    def changes(self, room: str, since: MessageId | None = None) -> Sequence[PresenceChange]:
        """The events that report the batch to the watchers of this room; for a latecomer, the changes after an id."""
        left: Iterable[str] = self._left
        joined: Iterable[str] = self._joined
        info: Mapping[str, bytes] = {peer: text for peer, (_, text) in self._info.items()}
        if since is not None:
            left = [peer for peer in {**self._left, **self._gone} if self._was_present(peer, since)]
            joined = [peer for peer, at in self._joined.items() if at > since]
            info = {peer: text for peer, (at, text) in self._info.items() if at > since}
        returned = [peer for peer in left if peer in self._joined]
        first = PresenceChange(room, self.before if since is None else since, (), tuple(dict.fromkeys(returned)))
        gone = tuple(dict.fromkeys(peer for peer in left if peer not in self._joined))
        present = frozenset(joined)
        changed = tuple(peer for peer in info if peer not in present)
        last = PresenceChange(room, self._id, tuple(joined), gone, changed, info)
        return [one for one in (first, last) if one.joined or one.left or one.changed]

    def _was_present(self, peer: str, at: MessageId) -> bool:
        """Whether a peer that has left meanwhile was a member at this id."""
        left = self._left.get(peer)
        return (left is not None and at < left) or any(joined <= at < gone for joined, gone in self._gone.get(peer, ()))

    def _forget_info(self, peer: str) -> None:
        known = self._info.pop(peer, None)
        if known is not None:
            self._bytes -= len(peer) + len(known[1])


def _size(event: PresenceEvent) -> int:
    return len(event.peer) + (len(event.info) if isinstance(event, MemberChanged) else 0)
