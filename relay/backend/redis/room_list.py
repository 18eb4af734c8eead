"""The list of all rooms in Redis, read from the sets of rooms of all leases."""

import asyncio

from relay.backend.redis.client import RedisClient
from relay.backend.redis.keys import Keys

_BATCH = 500
"""Rooms whose members are counted at the same time."""


async def occupied_rooms(client: RedisClient, keys: Keys) -> list[tuple[str, int]]:
    """Return every room that has members, with their number, sorted by name: O(rooms), in batches."""
    leases = await client.call("ZRANGE", keys.workers, 0, -1)
    sets = await asyncio.gather(*[client.call("SMEMBERS", keys.worker_rooms(lease.decode())) for lease in leases])
    names = sorted({room.decode() for rooms in sets for room in rooms})
    counts: list[int] = []
    for start in range(0, len(names), _BATCH):
        counts += await asyncio.gather(
            *[client.call("HLEN", keys.of_room(room)[1]) for room in names[start : start + _BATCH]]
        )
    return [(room, count) for room, count in zip(names, counts, strict=True) if count]
