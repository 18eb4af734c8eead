"""Makes the changes of a room's tree that a client asks for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from relay.gateways.firebase.errors import FirebaseRefused
from relay.gateways.firebase.places import Places, TreePlace
from relay.model.errors import Refused
from relay.model.tree import MAX_BYTES, PRIORITY, holds, join, leaves_of, read_path, size_of
from relay.model.tree_changes import MOST_PREPARED, MOST_PREPARED_BYTES, PathWrite, TreeChange
from relay.model.tree_envelopes import merge_envelope, set_envelope

_MOST_CHILDREN: Final = 1024
"""Paths that one update names."""


def set_change(places: Places, place: TreePlace, value: Any, *, shareable: bool) -> TreeChange:
    """Return the change that gives a path this value.

    If it may be a message for members of other protocols (`shareable`), the channel is the path of the parent.
    """
    parent, _, key = place.path.rpartition("/")
    writes = [PathWrite(place.path, leaves_of(value, place.path))]
    if not (shareable and key and key != PRIORITY and writes[0].leaves):
        return TreeChange(writes, set_envelope(place.path, value))
    channel = places.channel(place.room, parent)
    return TreeChange(writes, set_envelope(place.path, value, channel), channel, shareable=True)


def merge_change(place: TreePlace, children: Any) -> TreeChange:
    """Return the change that gives paths below a path these values; raises `Refused` for paths that overlap."""
    if not isinstance(children, dict) or len(children) > _MOST_CHILDREN:
        raise Refused("bad_value", f"an update is an object with at most {_MOST_CHILDREN} paths")
    below = {read_path(text): value for text, value in children.items()}
    # Sorted by their keys, a path follows the one that is above it, or others that are below that one.
    ordered = sorted(below)
    if len(below) < len(children) or any(b[: len(a)] == a for a, b in pairwise(ordered)):
        raise Refused("bad_path", "of the paths of an update, none is above another")
    values = {"/".join(keys): value for keys, value in below.items()}
    places = {join(place.path, path): value for path, value in values.items()}
    writes: list[PathWrite] = []
    left = MAX_BYTES
    for path, value in places.items():
        leaves = leaves_of(value, path)
        writes.append(PathWrite(path, leaves))
        left -= size_of(leaves)
        if left < 0:
            raise Refused("tree_full")
    return TreeChange(writes, merge_envelope(place.path, values))


class Disconnects:
    """The changes that a client has prepared for the end of its connection, by room and path.

    `until` is the end of its rights (Unix time in ms, 0 for never).
    """

    __slots__ = ("_counted", "_rooms", "until")

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, TreeChange]] = {}
        # The bytes of values in the changes of each room that have counted for the client's address.
        self._counted: dict[str, int] = {}
        self.until = 0

    def changes(self, room: str) -> list[TreeChange]:
        """Return the changes of a room, in the order in which they were prepared."""
        return [*self._rooms.get(room, {}).values()]

    def rooms(self) -> list[str]:
        """Return the rooms with changes."""
        return [room for room, prepared in self._rooms.items() if prepared]

    def copy(self) -> "Disconnects":
        """Return a copy, to go back to if the changes cannot be recorded."""
        found = Disconnects()
        found.take_from(self)
        return found

    def take_from(self, other: "Disconnects") -> None:
        """Have the changes of another one, in place of the own ones."""
        self._rooms = {room: dict(prepared) for room, prepared in other._rooms.items()}

    def uncounted(self, room: str) -> int:
        """Return the bytes of values in the changes of a room beyond those that have counted."""
        written = sum([change.written_size for change in self._rooms.get(room, {}).values()])
        return max(0, written - self._counted.get(room, 0))

    def count(self, room: str, size: int) -> None:
        """Note that so many bytes more have counted."""
        if size:
            self._counted[room] = self._counted.get(room, 0) + size

    def put(self, changes: Sequence[tuple[TreePlace, TreeChange]]) -> None:
        """Prepare changes, instead of those at their paths and below; raises `Refused` (`too_many_disconnects`)."""
        before = {room: dict(prepared) for room, prepared in self._rooms.items()}
        for place, change in changes:
            self.cancel(place)
            self._rooms.setdefault(place.room, {})[place.path] = change
        sizes = [one.prepared_size for prepared in self._rooms.values() for one in prepared.values()]
        if len(sizes) > MOST_PREPARED or sum(sizes) > MOST_PREPARED_BYTES:
            self._rooms = before
            raise FirebaseRefused("too_many_disconnects")

    def cancel(self, place: TreePlace) -> None:
        """Forget the changes at a path and below."""
        prepared = self._rooms.get(place.room, {})
        for path in [path for path in prepared if holds(place.path, path)]:
            del prepared[path]

    def take(self, room: str) -> list[TreeChange]:
        """Return the changes of a room, and forget them."""
        self._counted.pop(room, None)
        return [*self._rooms.pop(room, {}).values()]
