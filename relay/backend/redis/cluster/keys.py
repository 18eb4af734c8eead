"""The keys of a fleet on a cluster: everything that is not one room's is where a cluster can hold it."""

from typing import Final

from relay.backend.redis.cluster.slots import SLOTS, find_tag, slot_of_key, slot_of_tag
from relay.backend.redis.keys import Keys

GROUPS: Final = 16
"""Groups of leases, each for as many slots that follow each other. A fixed number: workers of one fleet must agree."""

_PER_GROUP: Final = SLOTS // GROUPS


class ClusterKeys(Keys):
    """The names under one prefix.

    Leases, and the sets of rooms with members under them, are in groups. The group of a room is that of its slot, and
    is itself in a slot of the same range. So a lease is mostly on the same node as its rooms, however many nodes there
    are, and the loss of a node leaves the others their leases.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.lease_groups = [Keys(prefix, leases=_tag_of(number)) for number in range(GROUPS)]

    def leases_of_room(self, room: str) -> Keys:
        """Return the keys of the group of a room."""
        return self.lease_groups[group_of(slot_of_tag(room))]

    def leases_of_key(self, key: str) -> Keys:
        """Return the keys of the group of a key's slot."""
        return self.lease_groups[group_of(slot_of_key(key))]

    def node_run(self, tag: str) -> str:
        """Return the key in which the fleet has the run of the node that has the slot of this hash tag."""
        return f"{self._prefix}:node:{{{tag}}}:run"

    def node_probe(self, tag: str, worker: str) -> str:
        """Return the Redis channel to which a worker publishes its own probe at that node."""
        return f"{self._prefix}:node:{{{tag}}}:probe:{worker}"


def _tag_of(group: int) -> str:
    return find_tag(f"{group}.", lambda slot: group_of(slot) == group)


def group_of(slot: int) -> int:
    """Return the number of the group of leases of a slot."""
    return slot // _PER_GROUP
