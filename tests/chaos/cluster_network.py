"""One worker's view of a cluster: each node behind a network of its own."""

from contextlib import AsyncExitStack
from typing import Any, Self

from tests.chaos.network import Network
from tests.clusters import Cluster, Node


class ClusterView:
    """The networks of one worker, by node, the `url` for it, and the `settings` by which it finds the networks.

    The nodes reach each other without any. A node that joins the cluster later has none.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.networks: dict[Node, Network] = {}
        self.url = ""
        self.settings: dict[str, Any] = {}

    async def open(self, stack: AsyncExitStack) -> Self:
        """Open the networks; the stack closes them."""
        for node in self._cluster.nodes:
            self.networks[node] = await stack.enter_async_context(Network(node.port))
        self.url = self._cluster.url_by([self.networks[node].port for node in self._cluster.masters])
        pairs = [f"127.0.0.1:{node.port}=127.0.0.1:{network.port}" for node, network in self.networks.items()]
        self.settings = {"redis_addresses": ",".join(pairs)}
        return self
