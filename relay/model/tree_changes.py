"""Changes of a room's tree, and values that are read of it; `relay.model.tree` describes trees."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from relay.model.envelope import MessageId, splice
from relay.model.tree import Leaves, size_of

MOST_PREPARED: Final = 32
"""Changes that one member may prepare for the end of its connection, in one room."""

MOST_PREPARED_BYTES: Final = 16_384
"""Bytes of these changes."""

_FREE: Final = 16
"""Paths and values of a change that cost no more than a message does."""

_BYTES_OF_ONE: Final = 1024
"""Bytes for which each further one counts: in Redis, it takes as long as a kilobyte of messages."""

_json = msgspec.json.Encoder()


class PathWrite(NamedTuple):
    """The values at a path afterwards, and below it: these leaves alone (by their paths from the room on)."""

    path: str
    leaves: Leaves


class TreeChange(Struct, frozen=True):
    """A change of one tree: its writes, of which none is above another, and the envelope that tells members of it.

    `channel` is that of the envelope. A `shareable` change is a message for all members, if there was nothing at its
    first path before.
    """

    writes: Sequence[PathWrite]
    envelope: bytes
    channel: str = ""
    shareable: bool = False

    @property
    def size(self) -> int:
        """The bytes of its envelope, for which it counts as a message."""
        return len(self.envelope)

    @property
    def work(self) -> int:
        """The bytes for which its paths and values count, beside those of its envelope: Redis works for each."""
        count = sum([1 + len(write.leaves) for write in self.writes])
        return max(0, count - _FREE) * _BYTES_OF_ONE

    @property
    def grows(self) -> bool:
        """Whether it writes values, and does not only remove some."""
        return any(write.leaves for write in self.writes)

    @property
    def written_size(self) -> int:
        """The bytes of the values that it writes, each with its whole path."""
        return sum([size_of(write.leaves) for write in self.writes])

    @property
    def prepared_size(self) -> int:
        """The bytes for which it counts while it is prepared: a leaf has its whole path, the envelope has it once."""
        return len(self.envelope) + self.written_size

    def packed(self, sender: str) -> bytes:
        """Return it as netstrings, as the scripts take it (see tree.lua), for the member that makes it."""
        parts = [_json.encode(self.channel), splice(self.envelope, sender), b"1" if self.shareable else b"0"]
        parts.append(b"%d" % len(self.writes))
        for write in self.writes:
            parts += write.path.encode(), b"%d" % len(write.leaves)
            for path, value in write.leaves.items():
                parts += path.encode(), value
        return netstrings(parts)


def netstrings(parts: Sequence[bytes]) -> bytes:
    """Return texts one after the other, each behind its length."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


class Expected(NamedTuple):
    """The values that a change needs at a path and below, as `relay.model.tree.contents_of` returns them."""

    path: str
    contents: bytes


class TreePart(Struct, frozen=True):
    """The leaves at a path and below, in the order of their paths' bytes, as of the room's newest id.

    `version` is the id of the last change of the tree, and `members` the number of the room's members.
    """

    leaves: Sequence[tuple[str, bytes]]
    id: MessageId
    version: MessageId
    members: int


class Prepared(Struct, frozen=True):
    """The changes that a member has prepared for the end of its connection.

    `until` is the end of its rights (Unix time in ms, 0 for never): later, nothing is changed.
    """

    changes: Sequence[TreeChange]
    until: int = 0
