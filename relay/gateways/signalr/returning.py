"""Finds the place to which a client comes back that names none: by its cookie, which the tabs of a browser share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from relay.gateways.signalr.places import Proof
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.model.standing import Standing
from relay.rooms.worker import Worker

_MOST_PLACES: Final = 16
_LOOK: Final = 0.25
"""Seconds between two looks at places that are not held: each asks Redis for all of them, and for their leases."""

_TAKEOVER: Final = 3.0
"""Seconds that other workers may need, once the lease of a worker has ended, to hold its members."""

_MOST_WAITING: Final = 200
"""Negotiations that wait on one worker; any further one takes a new place."""


class LostPlaces:
    """Finds places of clients that come back, on one worker."""

    def __init__(self, worker: Worker, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._worker = worker
        self._sleep = sleep
        self._waiting = 0

    async def known_peer(self, proof: Proof, room: str) -> str:
        """Return the peer id of the one place in a room that a cookie proves; "" if there is none, or no single one.

        A failure of Redis means that none is known: the client enters as a new member.
        """
        name = proof.found_by(room)
        if not name:
            return ""
        try:
            places = await self._worker.places.find(name, _MOST_PLACES)
            peers = [place.peer for place in places if place.room == room]
            return await self._held_one(room, peers) if proof.shared else _only(peers)
        except (Unavailable, OutcomeUnknown):
            return ""

    async def _held_one(self, room: str, peers: Sequence[str]) -> str:
        """Return the one of these places that is held, "" if none is, or several are.

        A place is held only when its worker has noticed the loss, or when the lease of a worker that has died has
        ended. So this waits until one is held, or until the workers of all have renewed their leases: then other tabs
        are connected there.
        """
        first: dict[str, Standing] = {}
        for _ in range(round((self._worker.settings.worker_lease + _TAKEOVER) / _LOOK)):
            found = await self._worker.standings(room, peers)
            held = [peer for peer, standing in found.items() if standing.held]
            if held:
                return _only(held)
            known = {peer: first.setdefault(peer, standing) for peer, standing in found.items()}
            if all(found[peer].lease_end > known[peer].lease_end for peer in found):
                return ""
            if self._waiting >= _MOST_WAITING:
                return ""
            self._waiting += 1
            try:
                await self._sleep(_LOOK)
            finally:
                self._waiting -= 1
        return ""


def _only(peers: Sequence[str]) -> str:
    return peers[0] if len(peers) == 1 else ""
