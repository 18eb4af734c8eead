"""Trees of broadcasts in Redis: a hash for each room that has one."""

from typing import Final

from relay.backend.broadcasts import BROADCAST_TTL, BroadcastMember
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import BROADCAST, milliseconds

_NONE: Final = "$"
"""Stands for no peer in replies; a peer id has no `$`."""


class RedisBroadcasts:
    """Each method calls broadcast.lua; a tree about which nobody calls for `ttl` seconds is forgotten."""

    def __init__(self, client: Redis, keys: Keys, *, ttl: float = BROADCAST_TTL) -> None:
        self._client = client
        self._keys = keys
        self._ttl = milliseconds(ttl)

    async def enter(self, room: str, peer: str, initiator: str, most: int) -> BroadcastMember:
        """Call the script."""
        return _read(await self._call(room, "enter", peer, initiator, most)) or BroadcastMember()

    async def set_relay(self, room: str, peer: str, *, can_relay: bool) -> None:
        """Call the script."""
        await self._call(room, "relay", peer, int(can_relay))

    async def rename(self, room: str, peer: str, new: str) -> None:
        """Call the script."""
        await self._call(room, "rename", peer, new)

    async def leave(self, room: str, peer: str) -> None:
        """Call the script."""
        await self._call(room, "leave", peer)

    async def find(self, room: str, peer: str) -> BroadcastMember | None:
        """Call the script."""
        return _read(await self._call(room, "find", peer))

    async def _call(self, room: str, operation: str, peer: str, *more: str | int) -> str:
        keys = self._keys.of_room(room)[1], self._keys.broadcast(room)
        reply: bytes = await self._client.run(BROADCAST, keys, operation, peer, self._ttl, *more)
        return reply.decode()


def _read(text: str) -> BroadcastMember | None:
    if not text:
        return None
    source, receivers, relay, initiator = text.split(" ")
    return BroadcastMember(_peer(source), int(receivers), relay == "1", _peer(initiator))


def _peer(text: str) -> str:
    return "" if text == _NONE else text
