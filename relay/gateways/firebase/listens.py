"""The paths at which one client listens, and the frames that it gets for them."""

from bisect import bisect_left
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from relay.gateways.firebase.codec import ChangeFrame, ForeignFrame, TreeEventFrame, data, merged
from relay.gateways.firebase.places import Places, TreePlace
from relay.gateways.firebase.push_ids import push_id
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.tree import holds, join, json_at, leaves_of, sorted_leaves

_decode = msgspec.json.Decoder().decode


class Listen:
    """One listen. The client has the value as of the id `since`; None while it is being read, and changes wait.

    It is `live` if the client has been told of all changes since then: it was a member when the value was read. It is
    `doubtful` if the client may have a value that has been lost since. It `began` at a time of the event loop.
    """

    __slots__ = ("began", "doubtful", "live", "place", "since", "waiting")

    def __init__(self, place: TreePlace, began: float) -> None:
        self.place = place
        self.began = began
        self.doubtful = False
        self.since: MessageId | None = None
        self.live = False
        self.waiting: list[TreeEventFrame] | None = None

    def keep(self, frame: TreeEventFrame) -> None:
        """Keep a frame until the value was read."""
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(frame)

    def has(self, frame: TreeEventFrame) -> bool:
        """Return whether the client has the change already."""
        return self.since is not None and frame.id <= self.since


class Listens:
    """All listens of one client, by their places."""

    __slots__ = ("_by_place", "_places")

    def __init__(self, places: Places) -> None:
        self._places = places
        self._by_place: dict[TreePlace, Listen] = {}

    def __len__(self) -> int:
        """Return how many listens there are."""
        return len(self._by_place)

    def add(self, place: TreePlace, now: float) -> Listen:
        """Begin to listen at a place, or begin anew; `now` is the time of the event loop."""
        listen = self._by_place[place] = Listen(place, now)
        return listen

    def remove(self, place: TreePlace) -> None:
        """End a listen."""
        self._by_place.pop(place, None)

    def has(self, listen: Listen) -> bool:
        """Return whether this listen has not ended."""
        return self._by_place.get(listen.place) is listen

    def rooms(self) -> set[str]:
        """Return the rooms with listens."""
        return {place.room for place in self._by_place}

    def began(self) -> dict[str, float]:
        """Return the rooms with listens, and when the oldest listen of each began."""
        found: dict[str, float] = {}
        for place, listen in self._by_place.items():
            found[place.room] = min(listen.began, found.get(place.room, listen.began))
        return found

    def of_room(self, room: str) -> list[Listen]:
        """Return the listens of a room."""
        return [listen for place, listen in self._by_place.items() if place.room == room]

    def frames(self, frame: TreeEventFrame) -> list[Frame]:
        """Return the frames that the client gets of an event; those listens whose value is being read keep it."""
        ready: list[str] = []
        for listen in self.of_room(frame.room):
            if listen.since is None:
                listen.keep(frame)
            elif not listen.has(frame):
                ready.append(listen.place.path)
        return self._frames(frame, ready) if ready else []

    def read(self, listen: Listen, since: MessageId) -> list[Frame]:
        """Note that the client has the value as of an id; return the frames of the events that came meanwhile."""
        waiting, listen.waiting, listen.since = listen.waiting, None, since
        path = listen.place.path
        return [one for frame in waiting or () if frame.id > since for one in self._frames(frame, [path])]

    def _frames(self, frame: TreeEventFrame, paths: list[str]) -> list[Frame]:
        if isinstance(frame, ForeignFrame):
            return self._foreign(frame, paths)
        if not isinstance(frame, ChangeFrame):
            return []
        key = (self._places, *sorted(paths))
        made = frame.made.get(key)
        if made is None:
            made = frame.made[key] = tuple(self._changed(frame, paths))
        return [*made]

    def _changed(self, frame: ChangeFrame, paths: list[str]) -> list[Frame]:
        change, room = frame.change, frame.room
        covered = any(holds(path, change.path) for path in paths)
        if change.value is not None:
            return self._set(room, change.path, change.value, paths)
        if covered:
            children = {key: Raw(value) for key, value in change.children.items()}
            return [merged(self._places.text(room, change.path), children)]
        found: list[Frame] = []
        for key, value in change.children.items():
            found += self._set(room, join(change.path, key), value, paths)
        return found

    def _set(self, room: str, path: str, value: bytes, paths: list[str]) -> list[Frame]:
        if any(holds(one, path) for one in paths):
            return [data(self._places.text(room, path), value)]
        below = [one for one in paths if holds(path, one)]
        if not below:
            return []
        leaves = sorted_leaves(leaves_of(_decode(value), path))
        order = [leaf.encode() for leaf, _ in leaves]
        # One at which the client listens further up has the whole.
        return [data(self._places.text(room, one), json_at(_near(leaves, order, one), one)) for one in below]

    def _foreign(self, frame: ForeignFrame, paths: list[str]) -> list[Frame]:
        node = self._places.node(frame.room, frame.channel)
        if not any(holds(path, node) for path in paths):
            return []
        path = join(node, push_id(frame.id, frame.arrived))
        return [data(self._places.text(frame.room, path), frame.value)]


def _near(leaves: Sequence[tuple[str, bytes]], order: Sequence[bytes], path: str) -> Sequence[tuple[str, bytes]]:
    """Return the leaves at a path and below, and perhaps a few beside it; `order` has the paths of all leaves.

    A client may listen at hundreds of paths below one that has thousands of leaves.
    """
    # "0" follows "/": the paths below are between.
    return leaves[bisect_left(order, path.encode()) : bisect_left(order, f"{path}0".encode())]
