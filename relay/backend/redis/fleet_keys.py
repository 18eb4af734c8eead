"""The fleet key in Redis: one key without a room, which every worker renews and restores.

On a cluster, each group of leases has a copy, so that a worker gets the fleet key from any shard.
"""

import re
import time
from collections.abc import Iterable, Sequence
from typing import Final

from relay.backend.fleet_keys import MOST_RECORDS
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis, RedisPlace
from relay.backend.redis.replies import ScriptFailed
from relay.backend.redis.scripts import FLEET_KEY, milliseconds
from relay.backend.redis.survey import Survey
from relay.limits import Clock
from relay.model.errors import RelayError, Unavailable

_RECORDS: Final = re.compile(rb"\d{17}-[0-9a-f]{64}(?: \d{17}-[0-9a-f]{64}){0,%d}" % (MOST_RECORDS - 1))

_PATIENCE: Final = 5.0
"""Seconds for which a worker that finds no key waits for the shard of the key, ahead of making one elsewhere.

That shard may come back, or a replica take its part; and workers of an earlier version have the key there alone.
"""

_FAILED = "Redis cannot store the fleet key; the log has its text"
_AWAY = "the shard of the fleet key is away, and no other one has a copy"
_NO_KEY = "the answer of Redis is no fleet key"


class RedisFleetKeys:
    """Calls fleet_key.lua. No text of Redis is logged here, because the reply has the secrets."""

    def __init__(self, client: Redis, keys: Keys, *, ttl: float, clock: Clock = time.monotonic) -> None:
        self._client = client
        self._name = keys.fleet_key
        self._copies = [group.fleet_key for group in keys.lease_groups if group.fleet_key != keys.fleet_key]
        self._ttl = milliseconds(ttl)
        self._survey = Survey(client)
        self._round = 0
        self._clock = clock
        self._missed_at: float | None = None

    async def agree(self, known: Sequence[str], suggestion: str) -> Sequence[str]:
        """Call fleet_key.lua, which does everything in one step: workers that begin together make one key."""
        if not self._copies:
            return await self._share(self._name, known, suggestion)
        return await (self._renew(known) if known else self._find(suggestion))

    async def _find(self, suggestion: str) -> Sequence[str]:
        """Return the records of all shards that answer, or make the first one; and give all shards the same.

        The first record is made at the first name of which the shard answers, and other workers that begin choose the
        same. If two do not, because they reach different shards, their next rounds bring both to the older record.
        """
        names = (self._name, *self._copies)
        answers = await self._ask(names, ())
        found = _merged(answers.values())
        if not found:
            first = next(iter(answers))
            if first != self._name:
                self._wait_for_the_key()
            found = await self._share(first, (), suggestion)
        others = [name for name in answers if answers[name] != found]
        return _merged((found, *(await self._ask(others, found)).values()))

    def _wait_for_the_key(self) -> None:
        """Raise `Unavailable` until the shard of the key has been away for some time."""
        now = self._clock()
        if self._missed_at is None:
            self._missed_at = now
        if now - self._missed_at < _PATIENCE:
            raise Unavailable(_AWAY).because(f"{_AWAY}: {self._client.report}")

    async def _renew(self, known: Sequence[str]) -> Sequence[str]:
        """Share what this worker knows with the shard of the key, and with that of one copy, of each in turn."""
        self._round += 1
        copy = self._copies[self._round % len(self._copies)]
        try:
            answers = await self._ask((self._name, copy), known)
        except RelayError:
            # They may be on one shard, and any other one will do.
            answers = await self._ask(self._copies, known)
        return _merged(answers.values())

    async def _ask(self, names: Sequence[str], known: Sequence[str]) -> dict[str, Sequence[str]]:
        """Return the records at each of these names whose shard answers; raises the error if none does."""
        answers = await self._survey.ask(names, self._place_of, lambda name: self._share(name, known, ""))
        found = {
            name: answer for name, answer in zip(names, answers, strict=True) if not isinstance(answer, RelayError)
        }
        errors = [answer for answer in answers if isinstance(answer, RelayError)]
        if errors and not found:
            raise errors[0]
        return found

    def _place_of(self, name: str) -> RedisPlace:
        return self._client.at_key(name)

    async def _share(self, name: str, known: Sequence[str], suggestion: str) -> Sequence[str]:
        """Return the records at one name; none only without a suggestion."""
        try:
            reply = await self._client.run(FLEET_KEY, (name,), self._ttl, MOST_RECORDS, suggestion, " ".join(known))
        except ScriptFailed:
            # Sharing the key again does no harm, so this counts as a refusal.
            raise Unavailable(_FAILED).because(_FAILED) from None
        if reply == b"" and not suggestion:
            return ()
        if not isinstance(reply, bytes) or not _RECORDS.fullmatch(reply):
            raise Unavailable(_NO_KEY).because(_NO_KEY)
        return reply.decode().split(" ")


def _merged(answers: Iterable[Sequence[str]]) -> Sequence[str]:
    """Do as fleet_key.lua does: the oldest record counts, and of the others the newest are kept."""
    records = sorted({record for records in answers for record in records})
    return [*records[:1], *records[1:][1 - MOST_RECORDS :]]
