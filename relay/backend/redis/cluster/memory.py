"""The memory of a cluster: each node has its own, which decides about the rooms of its slots."""

from collections.abc import Callable
from typing import Final

from relay.backend.headroom import Headroom, Level
from relay.backend.redis.replies import shown
from relay.config.redis_url import Address

_SCOPE: Final = "in the rooms of this shard, "


class ClusterHeadroom(Headroom):
    """The memory of all nodes: the share and the level are those of the fullest one, and a room has its node's level.

    Each node logs its own changes. `headroom_at` returns the headroom of the node that has a room; it is set before the
    first node is made.
    """

    def __init__(self, share: float = 0.8, on_share: Callable[[float], object] = lambda _: None) -> None:
        super().__init__(share, "Redis's maxmemory", on_share)
        self._low = share
        self._nodes: dict[Address, Headroom] = {}
        self.headroom_at: Callable[[str], Headroom] = lambda room: self

    def of(self, address: Address) -> Headroom:
        """Return the headroom of a node."""
        memory = f"the maxmemory of shard {shown(address)}"
        node = self._nodes[address] = Headroom(self._low, memory, lambda _: self._compare(), scope=_SCOPE)
        node.watch(lambda _: self._compare())
        return node

    def forget(self, address: Address) -> None:
        """Forget a node that is given up."""
        if self._nodes.pop(address, None) is not None:
            self._compare()

    def level_of(self, room: str) -> Level:
        """Return the level of the node that has a room."""
        return self.headroom_at(room).level if self.level else Level.AMPLE

    def report(self, used: int, limit: int) -> None:
        """Ignore a report of a node that is not known any more."""

    def report_refusal(self, *, refuses: bool) -> None:
        """Ignore a report of a node that is not known any more."""

    @property
    def text(self) -> str:
        """The state of all nodes that are short of memory, in words, or that of the fullest one."""
        short = [node.text for node in self._nodes.values() if node.level]
        fullest = max(self._nodes.values(), key=_fullness, default=None)
        return "; ".join(short) or (super().text if fullest is None or fullest.share is None else fullest.text)

    def _compare(self) -> None:
        """Take the share and the level of the fullest node."""
        shares = [node.share for node in self._nodes.values() if node.share is not None]
        self.share = max(shares, default=None)
        self._on_share(float("nan") if self.share is None else self.share)
        self._pass_on(max((node.level for node in self._nodes.values()), default=Level.AMPLE))


def _fullness(node: Headroom) -> float:
    return -1.0 if node.share is None else node.share
