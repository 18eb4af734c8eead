"""Trees of broadcasts in a process without Redis."""

from dataclasses import dataclass
from typing import Final, Self

from relay.backend.broadcasts import MOST_LEVELS, MOST_LOOKS, BroadcastMember
from relay.backend.memory.state import MemoryRooms

_MOST_GONE: Final = 64
"""Members that have left the room and are in its tree, beyond as many as are there; trees of rooms that have ended."""


@dataclass(slots=True, eq=False)
class _Place:
    """A member's place; `is_out` once the member was taken out."""

    source: Self | None = None
    peer: str = ""
    receivers: int = 0
    can_relay: bool = False
    is_out: bool = False

    def sender(self) -> Self | None:
        """Return the place from which this one receives, None if there is none or its member was taken out."""
        return self.source if self.source is not None and not self.source.is_out else None

    def receives_from(self, other: "_Place | None") -> bool:
        """Return whether it gets its streams from another place, or is too far down to tell."""
        place: _Place | None = self
        for _ in range(MOST_LEVELS):
            if place is other:
                return True
            place = place.sender() if place is not None else None
            if place is None:
                return False
        return True


class _Tree:
    """The tree of one room: its places, by peer id."""

    __slots__ = ("initiator", "last", "places")

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.initiator = ""
        self.last: _Place | None = None

    def place_of(self, peer: str) -> _Place:
        """Return the place of a member, which gets one if it has none."""
        return self.places.setdefault(peer, _Place(peer=peer))

    def release(self, place: _Place) -> None:
        """Give the place back that a member has with its source."""
        sender = place.sender()
        if sender is not None:
            sender.receivers = max(0, sender.receivers - 1)
        place.source = None

    def take_out(self, peer: str) -> None:
        """Take a member out, if it is in."""
        place = self.places.pop(peer, None)
        if place is not None:
            self.release(place)
            place.is_out = True


class MemoryBroadcasts:
    """Trees in dictionaries. Members that nobody takes out, and trees of rooms that have ended, stay for a while."""

    def __init__(self, rooms: MemoryRooms) -> None:
        self._rooms = rooms
        self._trees: dict[str, _Tree] = {}
        self._most = _MOST_GONE

    async def enter(self, room: str, peer: str, initiator: str, most: int) -> BroadcastMember:
        """Enter as broadcast.lua does."""
        tree = self._trees.setdefault(room, _Tree())
        self._forget_ended()
        self._take_out_gone(room, tree)
        initiator = self._initiator(room, tree) or initiator
        place = tree.places.get(peer)
        if place is not None:
            tree.release(place)
        sender = None if peer == initiator else self._choose_source(room, tree, peer, initiator, most)
        if sender is not None:
            sender.receivers += 1
            tree.last = sender
        place = tree.place_of(peer)
        place.source, place.can_relay = sender, False
        if self._is_there(room, initiator):
            tree.initiator = initiator
        return self._shown(room, tree, place)

    async def set_relay(self, room: str, peer: str, *, can_relay: bool) -> None:
        """Note it, if the member is in the tree."""
        tree = self._trees.get(room)
        if tree is not None and peer in tree.places:
            tree.places[peer].can_relay = can_relay

    async def rename(self, room: str, peer: str, new: str) -> None:
        """Move the place to the new peer id."""
        tree = self._trees.get(room)
        if tree is not None and peer in tree.places and new not in tree.places:
            place = tree.places[new] = tree.places.pop(peer)
            place.peer = new
            if tree.initiator == peer:
                tree.initiator = new

    async def leave(self, room: str, peer: str) -> None:
        """Take the member out."""
        tree = self._trees.get(room)
        if tree is not None:
            tree.take_out(peer)
            if not tree.places or (tree.initiator and not self._initiator(room, tree)):
                del self._trees[room]

    async def find(self, room: str, peer: str) -> BroadcastMember | None:
        """Look the member up."""
        tree = self._trees.get(room) or _Tree()
        found = peer if self._is_there(room, peer) else self._initiator(room, tree)
        return self._shown(room, tree, tree.places.get(found) or _Place()) if found else None

    def _shown(self, room: str, tree: _Tree, place: _Place) -> BroadcastMember:
        sender = place.sender()
        source = sender.peer if sender is not None and self._is_there(room, sender.peer) else ""
        return BroadcastMember(source, place.receivers, place.can_relay, self._initiator(room, tree))

    def _initiator(self, room: str, tree: _Tree) -> str:
        """Return the initiator, "" if it is not there."""
        return tree.initiator if self._is_there(room, tree.initiator) else ""

    def _forget_ended(self) -> None:
        """Forget the trees of rooms without members, when there are twice as many trees as after the last time."""
        if len(self._trees) > self._most:
            for room in [one for one in self._trees if not self._members(one)]:
                del self._trees[room]
            self._most = 2 * len(self._trees) + _MOST_GONE

    def _take_out_gone(self, room: str, tree: _Tree) -> None:
        """Take out the members that have gone, once they outnumber the present ones."""
        if len(tree.places) > 2 * self._members(room) + _MOST_GONE:
            for peer in [one for one in tree.places if not self._is_there(room, one)]:
                tree.take_out(peer)

    def _members(self, room: str) -> int:
        state = self._rooms.peek(room)
        return 0 if state is None else len(state.members)

    def _is_there(self, room: str, peer: str) -> bool:
        state = self._rooms.peek(room)
        return state is not None and peer in state.members

    def _choose_source(self, room: str, tree: _Tree, peer: str, initiator: str, most: int) -> _Place | None:
        own = tree.places.get(peer)

        def has_place(place: _Place) -> bool:
            return (
                place.peer != peer
                and not place.is_out
                and place.receivers < most
                and self._is_there(room, place.peer)
                and (own is None or not place.receives_from(own))
            )

        first = tree.place_of(initiator) if self._is_there(room, initiator) else None
        for place in (first, tree.last, *list(tree.places.values())[:MOST_LOOKS]):
            if place is not None and has_place(place) and (place in (first, tree.last) or place.can_relay):
                return place
        return first
