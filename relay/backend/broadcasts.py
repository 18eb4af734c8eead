"""The interface between the rooms of a worker and the record of how a room's broadcast is relayed.

A broadcast is a tree: its initiator sends the streams to a few viewers, which relay them to a few more.
"""

from typing import Final, Protocol

from msgspec import Struct

BROADCAST_TTL: Final = 600.0
"""Seconds for which the tree of a room is remembered after the last call about it; its initiator calls more often."""

MOST_RECEIVERS: Final = 100
"""Viewers to which one member of a broadcast may send."""

MOST_LOOKS: Final = 500
"""Members of a broadcast of which one is looked for that can relay; beyond, the initiator sends to one more."""

MOST_LEVELS: Final = 64
"""Levels of a tree: a viewer further down gets its streams from the initiator."""


class BroadcastMember(Struct, frozen=True):
    """A member's place in the tree.

    `source` is the peer id of the member from which it receives, `initiator` that of the initiator; each is "" for one
    that is not in the room. `receivers` is the number of those that receive from it.
    """

    source: str = ""
    receivers: int = 0
    can_relay: bool = False
    initiator: str = ""


class Broadcasts(Protocol):
    """The trees of all rooms. Every method raises `Unavailable` or `OutcomeUnknown` when Redis does not answer."""

    async def enter(self, room: str, peer: str, initiator: str, most: int) -> BroadcastMember:
        """Give a member its place in the tree, or another place, and return it.

        The initiator is the one that the tree has, as long as it is in the room, else `initiator`. The source is, of
        the members that are in the room, the first of these that sends to fewer than `most`: the initiator, the member
        that was given a viewer last, any member that can relay. Without one, the initiator, if it is there. No member
        gets its streams from one that gets them from it.
        """
        ...

    async def set_relay(self, room: str, peer: str, *, can_relay: bool) -> None:
        """Note whether a member of the tree can relay."""
        ...

    async def rename(self, room: str, peer: str, new: str) -> None:
        """Note that a member of the tree has another peer id; it keeps its place, and its receivers their source.

        Does nothing if the tree has a member of the new id.
        """
        ...

    async def leave(self, room: str, peer: str) -> None:
        """Take a member out of the tree; those that receive from it have to enter anew.

        With an initiator that is not in the room any more, the tree ends.
        """
        ...

    async def find(self, room: str, peer: str) -> BroadcastMember | None:
        """Return a member's place in the tree; one without a place has that of a viewer without a source.

        If there is no such member in the room, that of the initiator; None if there is none either.
        """
        ...
