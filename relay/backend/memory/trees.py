"""The trees of rooms in a process without Redis."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field

from relay.backend.headroom import Level
from relay.backend.memory.state import MemoryRooms
from relay.backend.trees import Ended, Writer, WriteReceipt
from relay.model.envelope import BEFORE_ALL, MessageId, seal, splice
from relay.model.errors import NotMember, Refused, Replaced
from relay.model.events import TreeMessage
from relay.model.names import TREE
from relay.model.tree import (
    MAX_BYTES,
    MAX_LEAVES,
    PRIORITY,
    TIMESTAMP,
    Leaves,
    contents_of,
    join,
    sorted_leaves,
)
from relay.model.tree_changes import Expected, Prepared, TreeChange, TreePart
from relay.model.tree_envelopes import removal

_MOST_EXPIRED = 64
"""Leaves that are taken out with one change, as in tree.lua."""

_MOST_TREES = 10_000
"""Rooms that have a tree; beyond, the one that ends first is forgotten."""


@dataclass(slots=True)
class _Tree:
    leaves: Leaves = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    version: MessageId = BEFORE_ALL
    ends: float = 0.0


class MemoryTrees:
    """Does the work of the scripts, with a dictionary of leaves for each room."""

    def __init__(self, rooms: MemoryRooms) -> None:
        self._rooms = rooms
        self._trees: dict[str, _Tree] = {}

    async def read(self, room: str, path: str, *, ttl: float) -> TreePart:
        """Read as tree_read.lua does."""
        tree, state = self._tree(room), self._rooms.peek(room)
        if tree is not None:
            tree.ends = self._rooms.clock() + ttl
        leaves = self._newer(tree, path, ttl) if tree else []
        version = tree.version if tree else BEFORE_ALL
        return TreePart(leaves, state.id if state else BEFORE_ALL, version, len(state.members) if state else 0)

    async def write(
        self,
        room: str,
        writer: Writer,
        change: TreeChange,
        *,
        ttl: float,
        expected: Expected | None = None,
        reads: str | None = None,
    ) -> WriteReceipt:
        """Write as tree_write.lua does."""
        if change.grows and not self._rooms.stores(change.size):
            raise Refused("memory_low")
        self._check_member(room, writer)
        tree = self._tree(room) or self._begin(room)
        if expected and expected.contents != contents_of(self._newer(tree, expected.path, ttl)):
            raise Refused("stale_value")
        self._expire(room, tree, writer.peer, ttl)
        plan = _Plan(tree, change)
        if plan.is_full:
            raise Refused("tree_full")
        written = self._make(room, tree, plan, writer.peer, ttl)
        part = None if reads is None else await self.read(room, reads, ttl=ttl)
        return WriteReceipt(str(written).encode(), part=part)

    async def prepare(self, room: str, writer: Writer, prepared: Prepared, *, ttl: float) -> bool:
        """Record as tree_prepare.lua does."""
        state = self._rooms.peek(room)
        entry = state.members.get(writer.peer) if state else None
        if entry is None or entry.generation != writer.generation:
            return False
        if prepared.changes and self._rooms.headroom.level is Level.FULL:
            raise Refused("memory_low")
        if prepared.changes:
            self._rooms.prepared[room, writer.peer] = prepared
        else:
            self._rooms.prepared.pop((room, writer.peer), None)
        return True

    def finish(self, room: str, ended: Sequence[Ended], *, seen: MessageId, ttl: float) -> Awaitable[int]:
        """Make the changes as tree_finish.lua does."""
        made: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        made.set_result(self._finish(room, ended, ttl))
        return made

    def _finish(self, room: str, ended: Sequence[Ended], ttl: float) -> int:
        made, state = 0, self._rooms.peek(room)
        for one in ended:
            entry = state.members.get(one.peer) if state and one.generation else None
            may = not one.generation or (one.left if entry is None else entry.generation == one.generation)
            # A newer membership has recorded changes of its own.
            recorded = self._rooms.prepared.pop((room, one.peer), None) if may or entry is None else None
            prepared = one.prepared or recorded
            if prepared is None or not may or 0 < prepared.until <= self._rooms.now_us() // 1000:
                continue
            tree = self._tree(room) or self._begin(room)
            for change in prepared.changes:
                plan = _Plan(tree, change)
                if not plan.is_full:
                    self._make(room, tree, plan, one.peer, ttl)
                    made += 1
        return made

    def _tree(self, room: str) -> _Tree | None:
        tree, now = self._trees.get(room), self._rooms.clock()
        if tree is not None and tree.ends and tree.ends <= now:
            del self._trees[room]
            return None
        return tree

    def _newer(self, tree: _Tree, path: str, ttl: float) -> list[tuple[str, bytes]]:
        oldest = self._rooms.clock() - ttl
        return [leaf for leaf in sorted_leaves(tree.leaves, path) if tree.ages[leaf[0]] > oldest]

    def _begin(self, room: str) -> _Tree:
        if len(self._trees) >= _MOST_TREES:
            del self._trees[min(self._trees, key=lambda name: self._trees[name].ends)]
        tree = self._trees[room] = _Tree()
        return tree

    def _check_member(self, room: str, writer: Writer) -> None:
        entry = self._rooms.room(room).members.get(writer.peer)
        if writer.generation and (entry is None or entry.generation < writer.generation):
            raise NotMember()
        if writer.generation and entry is not None and entry.generation > writer.generation:
            raise Replaced()

    def _make(self, room: str, tree: _Tree, plan: "_Plan", sender: str, ttl: float) -> MessageId:
        change, now = plan.change, self._rooms.clock()
        stamp = b"%d" % (time.time_ns() // 1_000_000)
        for path in plan.gone:
            del tree.leaves[path], tree.ages[path]
        for path, value in plan.added.items():
            tree.leaves[path], tree.ages[path] = value.replace(TIMESTAMP, stamp), now
        _prune(tree, [write.path for write in change.writes])
        to = () if change.shareable and plan.is_new else (TREE,)
        return self._publish(room, tree, change.envelope.replace(TIMESTAMP, stamp), sender, to, change.channel, ttl)

    def _expire(self, room: str, tree: _Tree, sender: str, ttl: float) -> None:
        # Leaves are in the order of their ages, but for those that were written again.
        oldest = self._rooms.clock() - ttl
        old = [path for path, age in tree.ages.items() if age <= oldest][:_MOST_EXPIRED]
        if old:
            for path in old:
                del tree.leaves[path], tree.ages[path]
            _prune(tree, old)
            self._publish(room, tree, removal(old), sender, (TREE,), "", ttl)

    def _publish(
        self, room: str, tree: _Tree, envelope: bytes, sender: str, to: tuple[str, ...], channel: str, ttl: float
    ) -> MessageId:
        tree.version = message_id = self._rooms.room(room).next_id()
        tree.ends = self._rooms.clock() + ttl
        body = seal(splice(envelope, sender), message_id)
        stored = self._rooms.stores(len(body))
        self._rooms.emit(TreeMessage(room, message_id, sender, to, channel, body), stored=stored)
        return message_id


class _Plan:
    """The leaves that a change adds and takes away."""

    def __init__(self, tree: _Tree, change: TreeChange) -> None:
        self.change = change
        self.gone: set[str] = set()
        self.added: Leaves = {}
        ordered = sorted(tree.leaves)
        self.is_new = not _held(tree, ordered, change.writes[0].path)
        for path, leaves in change.writes:
            self.gone.update(_held(tree, ordered, path))
            if leaves:
                node = path.removesuffix(PRIORITY).removesuffix("/")
                self.gone.update(above for above in _above(node) if above in tree.leaves)
            self.added.update(leaves)
        kept = {path: value for path, value in tree.leaves.items() if path not in self.gone}
        self._before, self._after = _size(tree.leaves), _size(kept) + _size(self.added)
        self._leaves, self._leaves_before = len(kept) + len(self.added), len(tree.leaves)

    @property
    def is_full(self) -> bool:
        if self._after <= self._before and self._leaves <= self._leaves_before:
            return False
        return self._after > MAX_BYTES or self._leaves > MAX_LEAVES


def _held(tree: _Tree, ordered: Sequence[str], path: str, most: int = MAX_LEAVES) -> Sequence[str]:
    """Return the leaves at a path and below it; `ordered` has the leaves of the tree, sorted.

    A change may have a thousand paths: for each, only the leaves that it holds are visited.
    """
    if not path:
        return ordered[:most]
    start = bisect_left(ordered, f"{path}/")
    end = min(bisect_left(ordered, f"{path}0", start), start + most)
    return [path, *ordered[start:end]] if path in tree.leaves else ordered[start:end]


def _above(path: str) -> Iterator[str]:
    """Yield the paths above a path."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _prune(tree: _Tree, paths: Sequence[str]) -> None:
    """Take out the priorities of nodes at these paths and above that have no value any more."""
    ordered, seen = sorted(tree.leaves), set[str]()
    for path in paths:
        node = path.removesuffix(PRIORITY).removesuffix("/")
        for one in (node, *_above(node)):
            mark = join(one, PRIORITY)
            held = _held(tree, ordered, one, most=2)
            if one in seen or (held and list(held) != [mark]):
                break
            seen.add(one)
            if held:
                del tree.leaves[mark], tree.ages[mark]
                ordered.remove(mark)


def _size(leaves: Leaves) -> int:
    return sum(len(path.encode()) + len(value) for path, value in leaves.items())
