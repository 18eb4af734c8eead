"""A watch on the master: a worker leaves one that the sentinels have replaced, also if it goes on to serve."""

import asyncio
from collections.abc import Callable
from typing import Final

from relay.backend.redis.connection import Dialer
from relay.config.redis_url import Address

_INTERVAL: Final = 1.0
"""Seconds between two questions: so long may a worker write to a master of the past."""


class MasterWatch:
    """Asks the sentinels each second which Redis is the master, and tells `follow` if a majority has answered.

    A master that was cut off from the sentinels, or stood still, does not know that another one has taken its part. It
    goes on to take writes, which are lost, or refuses them as it has no replicas; the sentinels may take ten seconds to
    make a replica of it. Connections that work show nothing of that.
    """

    def __init__(self, dialer: Dialer, follow: Callable[[Address], None]) -> None:
        self._dialer = dialer
        self._follow = follow

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            master = await self._dialer.agreed_master()
            if master is not None:
                self._follow(master)
