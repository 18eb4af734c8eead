"""Addresses in Redis: a key for each worker, which lives as long as its lease."""

from relay.backend.presence import LeaseName
from relay.backend.redis.client import RedisClient, ignore
from relay.backend.redis.connection import pack
from relay.backend.redis.keys import Keys
from relay.backend.settings import ForwardAddress

_MAX_LENGTH = 512
"""Bytes of a key's value that are read; a longer one is no address."""


class RedisAddresses:
    """The addresses under one prefix; `own` is that of this worker, None if it takes no requests of replicas.

    The value of a key is `ADDRESS LEASE`. It names the lease, so that the address of a worker that has retired, or lost
    its lease to another one, is not used until the key expires.
    """

    def __init__(self, client: RedisClient, keys: Keys, lease: LeaseName, own: ForwardAddress | None) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._own = own

    def announce(self, duration: int) -> None:
        """Record this worker's own address for the next `duration` ms; a failure is made good by the next call."""
        if self._own is not None:
            value = f"{self._own.address} {self._lease}"
            self._client.send(pack("SET", self._keys.address(self._own.owner), value, "PX", duration), ignore)

    def withdraw(self) -> None:
        """Delete this worker's own address."""
        if self._own is not None:
            self._client.send(pack("DEL", self._keys.address(self._own.owner)), ignore)

    async def find(self, owner: str) -> str:
        """Read the address, and ask for the lease that it names."""
        value: bytes | None = await self._client.call("GETRANGE", self._keys.address(owner), 0, _MAX_LENGTH)
        address, _, lease = (value or b"").decode("latin-1").partition(" ")
        if not lease:
            return ""
        deadline = await self._client.call("ZSCORE", self._keys.workers, lease)
        if deadline is None or float(deadline) < self._client.clock.now:
            return ""
        return address

    def now(self) -> int:
        """Return the time of Redis."""
        return self._client.clock.now
