"""Addresses in Redis: a key for each worker, which lives as long as its lease."""

from relay.backend.presence import LeaseName
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.settings import ForwardAddress

_MAX_LENGTH = 512
"""Bytes of a key's value that are read; a longer one is no address."""


class RedisAddresses:
    """The addresses under one prefix; `own` is that of this worker, None if it takes no requests of replicas.

    The value of a key is `ADDRESS LEASE`. It names the lease, so that the address of a worker that has retired, or lost
    its lease to another one, is not used until the key expires.
    """

    def __init__(self, client: Redis, keys: Keys, lease: LeaseName, own: ForwardAddress | None) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._own = own
        self.group = keys.leases_of_key(keys.address(own.owner)) if own else keys
        """The leases by which others tell whether this worker's own address may be used."""

    def announce(self, duration: int) -> None:
        """Record this worker's own address for the next `duration` ms; a failure is made good by the next call."""
        if self._own is not None:
            value = f"{self._own.address} {self._lease}"
            self._client.tell("SET", self._keys.address(self._own.owner), value, "PX", duration)

    def withdraw(self) -> None:
        """Delete this worker's own address."""
        if self._own is not None:
            self._client.tell("DEL", self._keys.address(self._own.owner))

    async def find(self, owner: str) -> str:
        """Read the address, and ask for the lease that it names."""
        key = self._keys.address(owner)
        workers = self._keys.leases_of_key(key).workers
        value: bytes | None = await self._client.call("GETRANGE", key, 0, _MAX_LENGTH)
        address, _, lease = (value or b"").decode("latin-1").partition(" ")
        if not lease:
            return ""
        deadline = await self._client.call("ZSCORE", workers, lease)
        if deadline is None or float(deadline) < self._client.at_key(workers).clock.now:
            return ""
        return address

    def now(self) -> int:
        """Return the time of Redis."""
        return self._client.clock.now
