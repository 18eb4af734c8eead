"""The index of subjects in Redis: for each subject, a sorted set of places, by the time at which each record ends."""

import hashlib
from collections.abc import Sequence
from typing import Final

from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import milliseconds
from relay.backend.subjects import MOST_PLACES, SUBJECT_TTL, Place

_NAME_BYTES: Final = 16


class RedisSubjects:
    """Sends three commands for each record, of constant cost but for a logarithm, and ignores their errors.

    A record has the name of its worker: when a client goes on over another worker, the worker that it left removes its
    own record only. A key has a hash of the subject, which may be somebody's address, and is the same on all workers.
    """

    def __init__(self, client: Redis, keys: Keys, worker: str, *, ttl: float = SUBJECT_TTL) -> None:
        self._client = client
        self._keys = keys
        self._worker = worker
        self._ttl = milliseconds(ttl)

    def note(self, subject: str, place: Place) -> None:
        """Add the record with its end; beyond `MOST_PLACES`, drop those that end first."""
        key, ends = self._key(subject), self._now(subject) + self._ttl
        self._client.tell("ZADD", key, ends, self._record(place))
        self._client.tell("ZREMRANGEBYRANK", key, 0, -MOST_PLACES - 1)
        self._client.tell("PEXPIRE", key, self._ttl)

    def forget(self, subject: str, place: Place) -> None:
        """Remove the record."""
        self._client.tell("ZREM", self._key(subject), self._record(place))

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        """Read all records that have not ended: O(log(records) + records), of which there are at most `MOST_PLACES`."""
        key, now = self._key(subject), self._now(subject)
        records = await self._client.call("ZRANGEBYSCORE", key, now, "+inf", "LIMIT", 0, MOST_PLACES)
        return sorted({Place(*record.decode().split(" ", 2)[:2]) for record in records})[:limit]

    def _key(self, subject: str) -> str:
        digest = hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=_NAME_BYTES)
        return self._keys.subject(digest.hexdigest())

    def _now(self, subject: str) -> int:
        return self._client.at_key(self._key(subject)).clock.now

    def _record(self, place: Place) -> str:
        # Names are escaped: they have no space.
        return f"{place.room} {place.peer} {self._worker}"
