"""Trees of broadcasts in a process without Redis."""

from typing import Final

from msgspec import structs

from relay.backend.broadcasts import MOST_LEVELS, MOST_LOOKS, BroadcastMember
from relay.backend.memory.state import MemoryRooms

_MOST_GONE: Final = 64
"""Members that have left the room and are in its tree, beyond as many as are there; trees of rooms that have ended."""


class MemoryBroadcasts:
    """Trees in dictionaries. Members that nobody takes out, and trees of rooms that have ended, stay for a while."""

    def __init__(self, rooms: MemoryRooms) -> None:
        self._rooms = rooms
        self._trees: dict[str, dict[str, BroadcastMember]] = {}
        self._last: dict[str, str] = {}
        self._most = _MOST_GONE

    async def enter(self, room: str, peer: str, initiator: str, most: int) -> str:
        """Enter as broadcast.lua does."""
        tree = self._trees.setdefault(room, {})
        self._forget_ended()
        self._forget_gone(room, tree)
        self._release(tree, peer)
        before = tree.get(peer, BroadcastMember())
        source = "" if peer == initiator else self._source(room, tree, peer, initiator, most)
        if source:
            chosen = tree.get(source, BroadcastMember())
            tree[source] = structs.replace(chosen, receivers=chosen.receivers + 1)
            self._last[room] = source
        tree[peer] = BroadcastMember(source, before.receivers)
        return source

    async def set_relay(self, room: str, peer: str, *, can_relay: bool) -> None:
        """Note it, if the member is in the tree."""
        tree = self._trees.get(room, {})
        if peer in tree:
            tree[peer] = structs.replace(tree[peer], can_relay=can_relay)

    async def leave(self, room: str, peer: str) -> None:
        """Take the member out."""
        tree = self._trees.get(room)
        if tree is not None:
            self._release(tree, peer)
            tree.pop(peer, None)
            if not tree:
                del self._trees[room]
                self._last.pop(room, None)

    async def find(self, room: str, peer: str) -> BroadcastMember | None:
        """Look the member up."""
        return self._trees.get(room, {}).get(peer, BroadcastMember()) if self._is_there(room, peer) else None

    def _forget_ended(self) -> None:
        """Forget the trees of rooms without members, when there are twice as many trees as after the last time."""
        if len(self._trees) > self._most:
            for room in [one for one in self._trees if not self._members(one)]:
                del self._trees[room]
                self._last.pop(room, None)
            self._most = 2 * len(self._trees) + _MOST_GONE

    def _forget_gone(self, room: str, tree: dict[str, BroadcastMember]) -> None:
        """Take those out who are not there any more, when they are more than those who are."""
        if len(tree) > 2 * self._members(room) + _MOST_GONE:
            for peer in [one for one in tree if not self._is_there(room, one)]:
                self._release(tree, peer)
                del tree[peer]

    def _members(self, room: str) -> int:
        state = self._rooms.peek(room)
        return 0 if state is None else len(state.members)

    def _is_there(self, room: str, peer: str) -> bool:
        state = self._rooms.peek(room)
        return state is not None and peer in state.members

    def _source(self, room: str, tree: dict[str, BroadcastMember], peer: str, initiator: str, most: int) -> str:
        def has_place(one: str) -> bool:
            place = tree.get(one) or (BroadcastMember() if one == initiator else None)
            return place is not None and one != peer and place.receivers < most and self._is_there(room, one)

        for one in (initiator, self._last.get(room, "")):
            if one and has_place(one) and not _receives_from(tree, one, peer):
                return one
        for one in list(tree)[:MOST_LOOKS]:
            if tree[one].can_relay and has_place(one) and not _receives_from(tree, one, peer):
                return one
        return initiator if self._is_there(room, initiator) else ""

    @staticmethod
    def _release(tree: dict[str, BroadcastMember], peer: str) -> None:
        source = tree[peer].source if peer in tree else ""
        if source in tree:
            tree[source] = structs.replace(tree[source], receivers=max(0, tree[source].receivers - 1))


def _receives_from(tree: dict[str, BroadcastMember], one: str, peer: str) -> bool:
    """Whether a member gets its streams from another one, or is too far down to tell."""
    for _ in range(MOST_LEVELS):
        if one == peer:
            return True
        if one not in tree or not tree[one].source:
            return False
        one = tree[one].source
    return True
