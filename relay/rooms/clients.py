"""The clients of one worker, and how they are sent elsewhere when it stops."""

import asyncio
import math
from itertools import islice
from typing import Protocol

from relay.model.errors import CloseReason

_TICK = 0.1
_SHARE = 0.5
"""Of the time there is, in which everybody has been asked to go; and again of the rest, in which they may finish."""


class Client(Protocol):
    """Somebody with a connection to this worker."""

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """Close the connection: once what the client has sent is done with, or `now`."""
        ...


class Clients:
    """Everybody who is connected.

    When the worker stops, at least `rate` a second are sent away, and all of them in `timeout` seconds.
    """

    def __init__(self, *, rate: int, timeout: float) -> None:
        self._rate = rate
        self._timeout = timeout
        self._clients: dict[Client, None] = {}
        self._left = asyncio.Event()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._clients)

    def add(self, client: Client) -> None:
        """Somebody has come."""
        self._clients[client] = None

    def remove(self, client: Client) -> None:
        """The end of `add`."""
        del self._clients[client]
        if not self._clients:
            self._left.set()

    def close_all(self, reason: CloseReason, *, now: bool = False) -> None:
        """Ask everybody to go, at once."""
        for client in list(self._clients):
            client.close_gracefully(reason, now=now)

    async def drain(self, reason: CloseReason) -> int:
        """Send everybody away a few at a time, so that they do not all come to the others in the same moment.

        Nobody comes any more. Returns how many did not go.
        """
        end = asyncio.get_running_loop().time() + self._timeout
        ticks = max(1, math.floor(self._timeout * _SHARE / _TICK))
        batch = max(math.ceil(len(self) / ticks), math.ceil(self._rate * _TICK))
        asked = list(self._clients)
        for start in range(0, len(asked), batch):
            if start:
                await asyncio.sleep(_TICK)
            for client in islice(asked, start, start + batch):
                if client in self._clients:
                    client.close_gracefully(reason)
        await self._until_gone(end - self._timeout * (1 - _SHARE) * _SHARE)
        self.close_all(reason, now=True)
        await self._until_gone(end)
        return len(self)

    async def _until_gone(self, end: float) -> None:
        self._left.clear()
        if self._clients:
            try:
                async with asyncio.timeout_at(end):
                    await self._left.wait()
            except TimeoutError:
                return
