"""The clients of one worker, and how they are closed when it stops."""

import asyncio
import math
from itertools import islice
from typing import Protocol

from relay.model.errors import CloseReason

_TICK = 0.1
"""Seconds between two batches of clients that are closed."""

_SHARE = 0.5
"""Part of the drain timeout in which all clients are asked to close; of the rest, the same part is for closing."""


class Client(Protocol):
    """A connected client."""

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """Close the connection: at once with `now`, else after all commands that the client has sent are served."""
        ...


class Clients:
    """All connected clients.

    When the worker stops, at least `rate` of them a second are closed, and all of them in `timeout` seconds.
    """

    def __init__(self, *, rate: int, timeout: float) -> None:
        self._rate = rate
        self._timeout = timeout
        # A dictionary, for its order: the clients that came first are closed first.
        self._clients: dict[Client, None] = {}
        self._all_gone = asyncio.Event()

    def __len__(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def add(self, client: Client) -> None:
        """Add a client that has connected."""
        self._clients[client] = None

    def remove(self, client: Client) -> None:
        """Remove a client whose connection has ended."""
        del self._clients[client]
        if not self._clients:
            self._all_gone.set()

    def close_all(self, reason: CloseReason, *, now: bool = False) -> None:
        """Close all clients at once."""
        for client in list(self._clients):
            client.close_gracefully(reason, now=now)

    async def drain(self, reason: CloseReason) -> int:
        """Close the clients step by step, so that they do not all reconnect to other workers in the same moment.

        To be called when no more clients are accepted. Returns how many are still connected at the end.
        """
        end = asyncio.get_running_loop().time() + self._timeout
        ticks = max(1, math.floor(self._timeout * _SHARE / _TICK))
        batch = max(math.ceil(len(self) / ticks), math.ceil(self._rate * _TICK))
        clients = list(self._clients)
        for start in range(0, len(clients), batch):
            if start:
                await asyncio.sleep(_TICK)
            for client in islice(clients, start, start + batch):
                # The client may have disconnected meanwhile.
                if client in self._clients:
                    client.close_gracefully(reason)
        await self._wait_until_gone(end - self._timeout * (1 - _SHARE) * _SHARE)
        self.close_all(reason, now=True)
        await self._wait_until_gone(end)
        return len(self)

    async def _wait_until_gone(self, end: float) -> None:
        self._all_gone.clear()
        if self._clients:
            try:
                async with asyncio.timeout_at(end):
                    await self._all_gone.wait()
            except TimeoutError:
                return
