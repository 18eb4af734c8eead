"""The interface between a worker and the backend's trees of rooms; `relay.model.tree` describes trees.

A change is written and published in one step. So a listener that has read the tree as of an id, and applies the changes
with later ids, has the tree as it is.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from relay.model.envelope import BEFORE_ALL, MembershipVersion, MessageId
from relay.model.publication import Receipt
from relay.model.tree_changes import Expected, Prepared, TreeChange, TreePart


class Writer(Struct, frozen=True):
    """The member that writes: its peer id, its generation, and the newest id that its worker has seen in the room.

    With the generation 0, it need not be a member.
    """

    peer: str
    generation: int = 0
    seen: MessageId = BEFORE_ALL


class WriteReceipt(Receipt):
    """The id of a change; `part` is the part of the tree that was asked for, as of that id, None if none was."""

    __slots__ = ("part",)

    def __init__(self, text: bytes, version: MembershipVersion | None = None, part: TreePart | None = None) -> None:
        super().__init__(text, version=version)
        self.part = part


class Ended(NamedTuple):
    """A member whose connection has ended.

    `prepared` is None for the changes that the backend has recorded. With the generation 0, its presence entry is not
    looked at; otherwise only a member that was not put out of the room makes its changes. `left` says that its entry
    may have ended since: only a newer membership keeps it from making them.
    """

    peer: str
    generation: int
    prepared: Prepared | None = None
    left: bool = False


class Trees(Protocol):
    """The trees of rooms; `ttl` is for how many seconds a tree outlives its last use, and a leaf its last change.

    Every method raises `Unavailable` or `OutcomeUnknown` without Redis's answer.
    """

    async def read(self, room: str, path: str, *, ttl: float) -> TreePart:
        """Return a part of a tree, without leaves that are too old."""
        ...

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
        """Change a tree, and publish the change; with a path in `reads`, read that part of the tree in the same step.

        Raises `Refused`: `stale_value` if something else is at the path than is `expected`, `tree_full` if the tree
        would have too many bytes or leaves, `memory_low` (at LOW for large values, at FULL for all); `NotMember`,
        `Replaced`.
        """
        ...

    async def prepare(self, room: str, writer: Writer, prepared: Prepared, *, ttl: float) -> bool:
        """Record the changes for the end of a member's connection, instead of those recorded before.

        Returns False if the writer is no member. Raises `Refused` (`memory_low`).
        """
        ...

    def finish(self, room: str, ended: Sequence[Ended], *, seen: MessageId, ttl: float) -> Awaitable[int]:
        """Make the changes that these members have prepared, as far as the tree has room; return their number.

        The request is sent when this returns: a leave of such a member that is sent later follows it.
        """
        ...
