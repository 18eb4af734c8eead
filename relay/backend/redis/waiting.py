"""Messages that wait for absent members, in Redis: a hash for each room that has any."""

from collections.abc import Sequence
from operator import itemgetter

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import WAIT, WAIT_OVER, WAITING, milliseconds
from relay.backend.waiting import MOST_WAITING, MOST_WAITING_BYTES, WAITING_TTL
from relay.model.waiting import WaitingMessage


class RedisWaitingMessages:
    """Calls one script for each call."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def keep(self, room: str, message: WaitingMessage) -> bool:
        """Call wait.lua."""
        reply = await self._client.run(
            WAIT,
            (self._keys.waiting(room),),
            f"{message.sender} {message.key}",
            message.receiver,
            message.envelope,
            milliseconds(message.seconds),
            milliseconds(WAITING_TTL),
            MOST_WAITING,
            MOST_WAITING_BYTES,
        )
        return bool(reply)

    async def of(self, room: str, peer: str) -> Sequence[WaitingMessage]:
        """Call waiting.lua."""
        now, *stored = await self._client.run(WAITING, (self._keys.waiting(room),), peer)
        found = sorted(filter(None, map(_read, stored[::2], stored[1::2])), key=itemgetter(0))
        return [
            WaitingMessage(sender, receiver, key, envelope, (ends - now) / 1000)
            for _, ends, sender, receiver, key, envelope in found
        ]

    async def drop(self, room: str, sender: str, keys: Sequence[str] | None = None) -> None:
        """Call wait_over.lua."""
        if keys is None or keys:
            await self._client.run(WAIT_OVER, (self._keys.waiting(room),), sender, *(keys or ()))


def _read(field: bytes, value: bytes) -> tuple[int, int, str, str, str, bytes] | None:
    """Read a message as wait.lua stores it; None for the field of another program."""
    try:
        sender, key = field.decode().split(" ")
        recorded, ends, receiver, envelope = value.split(b" ", 3)
        return int(recorded), int(ends), sender, receiver.decode(), key, envelope
    except ValueError:
        return None
