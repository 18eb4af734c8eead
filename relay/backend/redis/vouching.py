"""Whether all workers that have members in a room have renewed their leases since Redis came back."""

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis

_MOST = 64
"""Members up to which the leases of a room are read; a larger room is not confirmed this way."""


async def has_living_workers(client: Redis, keys: Keys, lease: int, room: str) -> bool:
    """Tell whether every member of a room is under the lease of a worker that is alive in the present run of Redis.

    `lease` is the duration of a lease (ms). Reads nothing from larger rooms, and returns False for them.
    """
    presence = keys.of_room(room)[1]
    if await client.call("HLEN", presence) > _MOST:
        return False
    # An entry is "generation lease held-until …"; see shared.lua.
    leases = {entry.split(b" ", 2)[1] for entry in await client.call("HVALS", presence)}
    if not leases:
        return True
    workers = keys.leases_of_room(room).workers
    deadlines = await client.call("ZMSCORE", workers, *leases)
    place = client.at_room(room)
    # By the clock of the Redis that has the leases, as the deadlines are.
    era = place.era // 1000 + client.at_key(workers).clock.ahead_of(place.clock)
    return all(deadline is not None and float(deadline) - lease >= era for deadline in deadlines)
