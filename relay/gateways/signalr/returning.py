"""Finds the place to which a client comes back that names none: by its cookie, which the tabs of a browser share."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from relay.gateways.signalr.places import Proof
from relay.gateways.signalr.settings import SignalRSettings
from relay.logs import LogIntervals
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.model.standing import Standing
from relay.rooms.worker import Worker

log = logging.getLogger("relay.gateways.signalr")

_MOST_PLACES: Final = 16
_FIRST_LOOKS: Final = (0.25,) * 4
"""Seconds ahead of the first looks at places that are not held: other tabs are known by them, as leases are renewed."""

_LOOK: Final = 1.0
"""Seconds between the looks that follow: each asks Redis for all of these places, and for their leases."""

_TAKEOVER: Final = 3.0
"""Seconds that other workers may need, once the lease of a worker has ended, to hold its members."""

_LOG_EVERY: Final = 60.0


class LostPlaces:
    """Finds places of clients that come back, on one worker.

    A negotiation may have to wait until its place is held. Few wait at a time, of one address and in all; any further
    one takes a new place.
    """

    def __init__(self, worker: Worker, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._worker = worker
        self._sleep = sleep
        settings = worker.settings.of(SignalRSettings)
        self._most = settings.signalr_waiting
        self._most_of_address = settings.signalr_waiting_per_address
        self._waiting = Counter[str]()
        self._lines = LogIntervals(_LOG_EVERY)

    async def known_peer(self, proof: Proof, room: str, address: str) -> str:
        """Return the peer id of the one place in a room that a cookie proves; "" if there is none, or no single one.

        `address` is that of the client. A failure of Redis means that none is known: the client enters as a new member.
        """
        name = proof.found_by(room)
        if not name:
            return ""
        try:
            places = await self._worker.places.find(name, _MOST_PLACES)
            peers = [place.peer for place in places if place.room == room]
            return await self._held_one(room, peers, address) if proof.shared else _only(peers)
        except (Unavailable, OutcomeUnknown):
            return ""

    async def _held_one(self, room: str, peers: Sequence[str], address: str) -> str:
        """Return the one of these places that is held, "" if none is, or several are.

        A place is held only when its worker has noticed the loss, or when the lease of a worker that has died has
        ended. So this waits until one is held, or until the workers of all have renewed their leases: then other tabs
        are connected there.
        """
        first: dict[str, Standing] = {}
        found = await self._look(room, peers, first)
        if found is not None:
            return found
        with self._wait(address) as admitted:
            rest = round(self._worker.settings.worker_lease + _TAKEOVER - sum(_FIRST_LOOKS))
            for seconds in (*_FIRST_LOOKS, *[_LOOK] * rest) if admitted else ():
                await self._sleep(seconds)
                found = await self._look(room, peers, first)
                if found is not None:
                    return found
        return ""

    async def _look(self, room: str, peers: Sequence[str], first: dict[str, Standing]) -> str | None:
        """Look at places once; None if it is not known yet which one is held. `first` keeps the first standings."""
        found = await self._worker.standings(room, peers)
        held = [peer for peer, standing in found.items() if standing.held]
        if held:
            return _only(held)
        known = {peer: first.setdefault(peer, standing) for peer, standing in found.items()}
        return "" if all(found[peer].lease_end > known[peer].lease_end for peer in found) else None

    @contextmanager
    def _wait(self, address: str) -> Iterator[bool]:
        """Count a negotiation as waiting; yields whether it may wait."""
        if self._waiting[address] >= self._most_of_address:
            scope, limit = "address", "signalr-waiting-per-address"
        elif self._waiting.total() >= self._most:
            scope, limit = "worker", "signalr-waiting"
        else:
            self._waiting[address] += 1
            try:
                yield True
            finally:
                self._waiting[address] -= 1
                self._waiting += Counter()  # forgets addresses of which none waits
            return
        self._give_up(scope, limit, address)
        yield False

    def _give_up(self, scope: str, limit: str, address: str) -> None:
        self._worker.metrics.unawaited_places.labels(scope).inc()
        unlogged = self._lines.due(scope)
        if unlogged is not None:
            log.warning(
                "%d negotiations of SignalR took new places since the last such line, as others waited for places of "
                "lost clients; now of address %s (setting %s)", unlogged + 1, address or "unknown", limit,
            )  # fmt: skip


def _only(peers: Sequence[str]) -> str:
    return peers[0] if len(peers) == 1 else ""
