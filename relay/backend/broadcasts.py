"""The interface between the rooms of a worker and the record of how a room's broadcast is relayed.

A broadcast is a tree: its initiator sends the streams to a few viewers, which relay them to a few more.
"""

from typing import Final, Protocol

from msgspec import Struct

BROADCAST_TTL: Final = 86_400.0
"""Seconds for which the tree of a room is remembered after its last change."""

MOST_RECEIVERS: Final = 100
"""Viewers to which one member of a broadcast may send."""

MOST_LOOKS: Final = 500
"""Members of a broadcast of which one is looked for that can relay; beyond, the initiator sends to one more."""

MOST_LEVELS: Final = 64
"""Levels of a tree: a viewer further down gets its streams from the initiator."""


class BroadcastMember(Struct, frozen=True):
    """A member's place in the tree: its source ("" for none), the number of its receivers, and whether it can relay."""

    source: str = ""
    receivers: int = 0
    can_relay: bool = False


class Broadcasts(Protocol):
    """The trees of all rooms. Every method raises `Unavailable` or `OutcomeUnknown` when Redis does not answer."""

    async def enter(self, room: str, peer: str, initiator: str, most: int) -> str:
        """Give a member its place in the tree, or another place; returns its source, "" for none.

        Of the members that are in the room, the first of these that sends to fewer than `most`: the initiator, the
        member that was given a viewer last, any member that can relay. Without one, the initiator, if it is there. No
        member gets its streams from one that gets them from it.
        """
        ...

    async def set_relay(self, room: str, peer: str, *, can_relay: bool) -> None:
        """Note whether a member of the tree can relay."""
        ...

    async def leave(self, room: str, peer: str) -> None:
        """Take a member out of the tree; those that receive from it have to enter anew."""
        ...

    async def find(self, room: str, peer: str) -> BroadcastMember | None:
        """Return a member's place in the tree, that of one without a place if it has none; None if it is not there."""
        ...
