"""Delivered positions in Redis: a hash for each room that has any."""

import asyncio
import logging
from collections.abc import Iterator, Sequence

from relay.backend.positions import DeliveredPosition
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.replies import ScriptFailed
from relay.backend.redis.scripts import NOTE, milliseconds
from relay.model.envelope import MessageId, read_id

log = logging.getLogger("relay.backend.redis")

_BATCH = 200
"""Positions of one room that one call notes."""


class RedisDeliveredPositions:
    """Calls note.lua for each room; all calls of a batch leave in one write."""

    def __init__(self, client: Redis, keys: Keys, *, ttl: float) -> None:
        self._client = client
        self._keys = keys
        self._ttl = milliseconds(ttl)

    async def note(self, positions: Sequence[DeliveredPosition]) -> None:
        """Call note.lua for each room, or several times for a room with many positions."""
        calls = [
            self._client.run(NOTE, self._keys.of_positions(room), self._ttl, *arguments)
            for room, arguments in _grouped(positions)
        ]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        for reply in replies:
            # A room in which the script fails must not keep the positions of the others from being noted.
            if isinstance(reply, BaseException) and not isinstance(reply, ScriptFailed):
                raise reply

    async def noted(self, room: str, peer: str) -> MessageId | None:
        """Read one field of the hash; a value that is no id counts as none."""
        text = await self._client.call("HGET", self._keys.positions(room), peer)
        try:
            return read_id(text) if text else None
        except ValueError:
            log.error("room %s: the delivered position of %s is no id; the member is not recovered", room, peer)
            return None

    async def renew(self, rooms: Sequence[str]) -> None:
        """Send all commands at once."""
        await asyncio.gather(*[self._client.call("PEXPIRE", self._keys.positions(room), self._ttl) for room in rooms])


def _grouped(positions: Sequence[DeliveredPosition]) -> Iterator[tuple[str, list[str | int]]]:
    """Yield each room with the arguments of note.lua for it: peer, generation and id of each position."""
    by_room: dict[str, list[DeliveredPosition]] = {}
    for position in positions:
        by_room.setdefault(position.room, []).append(position)
    for room, its in by_room.items():
        for start in range(0, len(its), _BATCH):
            part = its[start : start + _BATCH]
            yield room, [argument for one in part for argument in (one.peer, one.generation, str(one.id))]
