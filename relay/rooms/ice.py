"""The STUN and TURN servers of this worker's clients, and the renewal of credentials before they end."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, Literal, Protocol

from relay.metrics import Metrics
from relay.model.ice import IceOffer, IceServer
from relay.tasks import guarded
from relay.turn import TurnServers

Way = Literal["welcome", "renewal", "http"]
"""The way in which a credential reaches its client."""

_LONGEST_SLEEP: Final = 60.0
"""Seconds: the times of credentials are those of the wall clock, which may be set while the worker sleeps."""

_TICK: Final = 0.1
_LEAST_BATCH: Final = 50
"""Seconds between two batches of clients whose credentials are renewed, and how many a batch has at least."""


class IceClient(Protocol):
    """A client that has credentials."""

    def renew_ice(self) -> None:
        """Send the client its servers with new credentials."""
        ...


class IceOffers:
    """Offers each client the servers `fixed`, and TURN servers with credentials of its own.

    All credentials last equally long. So the clients stand in one line, in the order in which they got their last
    credential, and one task serves its head: an idle client costs an entry, and no timer. A credential is renewed after
    half of its time; of many that are due at once, a batch every 0.1 s, and all of them within a quarter of the time.
    """

    def __init__(
        self,
        fixed: Sequence[IceServer],
        turn: TurnServers | None,
        *,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = IceOffer(tuple(fixed)) if fixed else None
        self._turn = turn
        self._half = turn.ttl / 2 if turn else math.inf
        self._metrics = metrics
        self._now = now
        # Client → when it got its last credential; the oldest first.
        self._clients: dict[IceClient, float] = {}

    def __len__(self) -> int:
        """How many clients have credentials that are renewed."""
        return len(self._clients)

    @property
    def has_turn(self) -> bool:
        """Whether there are TURN servers whose credentials end."""
        return self._turn is not None

    def offer(self, peer: str, way: Way) -> IceOffer | None:
        """Return the servers for the peer with this id (escaped), with a new credential; None if there are none."""
        if self._turn is None:
            return self._fixed
        self._metrics.turn_credentials.labels(way).inc()
        fixed = self._fixed.servers if self._fixed else ()
        return IceOffer((*fixed, self._turn.server(peer)), self._turn.ttl)

    def add(self, client: IceClient) -> None:
        """Renew the credentials of a client that has got some, until `remove`; again for a client is once."""
        if self._turn is not None and client not in self._clients:
            self._clients[client] = self._now()

    def remove(self, client: IceClient) -> None:
        """Renew no more credentials of a client."""
        self._clients.pop(client, None)

    async def run(self) -> None:
        """Renew credentials for ever; to be run as a task where `has_turn`."""
        while True:
            pause = self.renew()
            await asyncio.sleep(pause)

    def renew(self) -> float:
        """Renew the credentials of the clients that have waited longest, if they are due.

        Returns the seconds until the next call.
        """
        now, half = self._now(), self._half
        batch = max(_LEAST_BATCH, math.ceil(len(self._clients) * _TICK / (half / 2)))
        for client, since in list(islice(self._clients.items(), batch)):
            if since + half > now:
                return min(_LONGEST_SLEEP, since + half - now)
            # To the end of the line.
            del self._clients[client]
            self._clients[client] = now
            guarded(client.renew_ice, "the renewal of a TURN credential")
        return _TICK if self._clients else min(_LONGEST_SLEEP, half)
