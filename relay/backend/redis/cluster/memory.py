"""The memory of a cluster: the node that has least left decides for the whole relay."""

from relay.backend.headroom import Headroom, Level
from relay.config.redis_url import Address


class FullestNode:
    """Passes the reports of the fullest node on to one headroom.

    A room is at one node, but a worker stores the messages of all rooms by the same level.
    """

    def __init__(self, headroom: Headroom) -> None:
        self._headroom = headroom
        self._used: dict[Address, tuple[int, int]] = {}
        self._refusing = set[Address]()

    def of(self, address: Address) -> "NodeHeadroom":
        """Return the headroom of a node."""
        return NodeHeadroom(self, self._headroom, address)

    def note(self, address: Address, used: int, limit: int) -> None:
        """Take a report of a node."""
        self._used[address] = used, limit
        self._headroom.report(*max(self._used.values(), key=lambda one: one[0] / one[1] if one[1] else 0))

    def note_refusal(self, address: Address, *, refuses: bool) -> None:
        """Take a report of a node on whether it refuses writes."""
        if refuses:
            self._refusing.add(address)
        else:
            self._refusing.discard(address)
        self._headroom.report_refusal(refuses=bool(self._refusing))

    def forget(self, address: Address) -> None:
        """Forget a node that is given up."""
        self._used.pop(address, None)
        self.note_refusal(address, refuses=False)


class NodeHeadroom(Headroom):
    """Takes the reports of one node, and has the level of the cluster."""

    def __init__(self, fullest: FullestNode, shared: Headroom, address: Address) -> None:
        super().__init__()
        self._fullest = fullest
        self._address = address
        shared.watch(self._follow)

    def report(self, used: int, limit: int) -> None:
        """Note the bytes that are used, and how many there may be."""
        self._fullest.note(self._address, used, limit)

    def report_refusal(self, *, refuses: bool) -> None:
        """Note whether the memory refuses writes."""
        self._fullest.note_refusal(self._address, refuses=refuses)

    def _follow(self, level: Level) -> None:
        self.level = level
