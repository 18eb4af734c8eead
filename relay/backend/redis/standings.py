"""How members of a room stand: whether they are held, and until when the leases of their workers last."""

import asyncio
from collections.abc import Mapping, Sequence

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.model.standing import Standing


async def standings(client: Redis, keys: Keys, room: str, peers: Sequence[str]) -> Mapping[str, Standing]:
    """Read the entries of these peers, and the leases that they name: O(peers)."""
    presence = keys.of_room(room)[1]
    entries = await asyncio.gather(*[client.call("HGET", presence, peer) for peer in peers])
    # An entry is "generation lease held-until …"; see shared.lua.
    parts = {peer: entry.split(b" ", 3) for peer, entry in zip(peers, entries, strict=True) if entry}
    if not parts:
        return {}
    ends = await client.call("ZMSCORE", keys.leases_of_room(room).workers, *[lease for _, lease, *_ in parts.values()])
    return {
        peer: Standing(held != b"0", float(end or 0))
        for (peer, (_, _, held, *_)), end in zip(parts.items(), ends, strict=True)
    }
