"""Questions to several parts of Redis at the same time, of which some may be away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from relay.backend.redis.place import Redis, RedisPlace
from relay.limits import Clock
from relay.model.errors import RelayError, Unavailable

_BATCH: Final = 100
"""Questions that are under way at the same time: the worker, and Redis, serve others in between."""

_PATIENCE: Final = 0.5
"""Seconds for which a part that is not reached may still come back, once another one has answered."""

_REMEMBERED: Final = 10.0
"""Seconds after such a wait in vain during which parts that are not reached are not asked."""

_NO_NODE: Final = "a part of the Redis cluster has no node"

_T = TypeVar("_T")
_R = TypeVar("_R")


class Survey:
    """Asks all parts of a cluster, and goes on without those that are away.

    So the answers of the others come soon. One Redis is no such whole: its first error is raised.
    """

    def __init__(self, client: Redis, clock: Clock = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._in_vain_at = float("-inf")

    async def ask(
        self, items: Sequence[_T], place_of: Callable[[_T], RedisPlace], ask: Callable[[_T], Awaitable[_R]]
    ) -> list[_R | RelayError]:
        """Return the answer for each item, or the error: `Unavailable` for a part that is not reached.

        So many items are asked for at the same time that nobody waits for long.
        """
        answers: list[_R | RelayError] = []
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            if self._client.clustered:
                answers += await self._ask_parts(batch, place_of, ask)
            else:
                answers += await asyncio.gather(*[ask(item) for item in batch])
        return answers

    async def _ask_parts(
        self, items: Sequence[_T], place_of: Callable[[_T], RedisPlace], ask: Callable[[_T], Awaitable[_R]]
    ) -> list[_R | RelayError]:
        places = [place_of(item) for item in items]
        hasty = self._clock() - self._in_vain_at < _REMEMBERED and any(place.reachable for place in places)
        asked = {
            at: asyncio.ensure_future(ask(items[at])) for at, place in enumerate(places) if place.reachable or not hasty
        }
        try:
            await self._wait({task: places[at] for at, task in asked.items()})
            away = Unavailable().because(self._client.report or _NO_NODE)
            outcomes: list[_R | RelayError] = [away] * len(items)
            for at, task in asked.items():
                try:
                    if task.done():
                        outcomes[at] = task.result()
                except RelayError as error:
                    outcomes[at] = error
            return outcomes
        finally:
            for task in asked.values():
                task.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)

    async def _wait(self, asked: dict["asyncio.Future[_R]", RedisPlace]) -> None:
        """Wait until all have answered, or all that are reached."""
        pending = set(asked)
        while pending and not any(task.done() and task.exception() is None for task in asked):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            _, pending = await asyncio.wait(pending, timeout=_PATIENCE)
        if away := {task for task in pending if not asked[task].reachable}:
            self._in_vain_at = self._clock()
        if pending - away:
            await asyncio.wait(pending - away)


def words_of(error: RelayError) -> str:
    """Return the cause of an error, for operators."""
    return (error.report if isinstance(error, Unavailable) else "") or error.text
