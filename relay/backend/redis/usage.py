"""The use of each address, in Redis: a number for each address, kind and period."""

import hashlib
from collections.abc import Callable
from typing import Any, Final

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.usage import MINUTE_MS

_MARGIN_MS: Final = MINUTE_MS
"""How much longer than its period a number is kept, as the clocks of workers differ a little."""

_NAME_BYTES: Final = 8


class RedisAddressUsage:
    """Two commands for each call, sent together. A key has a hash of the address, so that all have the same length."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def now(self) -> int:
        """Return the time of Redis."""
        return self._client.clock.now

    def add(
        self,
        kind: str,
        address: str,
        period: int,
        amount: int,
        told: Callable[[int], None],
        *,
        length: int = MINUTE_MS,
    ) -> None:
        """Send INCRBY and PEXPIRE; a failure is ignored."""
        name = hashlib.blake2b(address.encode(), digest_size=_NAME_BYTES).hexdigest()
        key = self._keys.usage(kind, name, period)

        def answered(reply: Any) -> None:
            if isinstance(reply, int):
                told(reply)

        self._client.tell("INCRBY", key, amount, done=answered)
        self._client.tell("PEXPIRE", key, length + _MARGIN_MS)
