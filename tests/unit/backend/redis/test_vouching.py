"""The contract tests have the rest, over a real Redis."""

import time

from relay.backend.redis.clock import RedisClock
from relay.backend.redis.keys import Keys
from relay.backend.redis.vouching import has_living_workers


class FewReplies:
    """A client that answers in turn."""

    era = 5_000_000
    clock = RedisClock(time.monotonic, 5)

    def __init__(self, *replies: object) -> None:
        self.replies = list(replies)

    def at_key(self, key: str) -> "FewReplies":
        return self

    at_room = at_key

    async def call(self, *_: object) -> object:
        return self.replies.pop(0)


async def vouched(*replies: object) -> bool:
    client = FewReplies(*replies)
    living = await has_living_workers(client, Keys("relay"), 1000, "room")  # type: ignore[arg-type]
    assert not client.replies
    return living


async def test_leases_that_were_renewed_in_the_era_are_alive() -> None:
    entries = [b"1 w/1 0 - - 1-1", b"2 w/1 0 - - 1-1"]
    assert await vouched(2, entries, [b"6000"])
    assert not await vouched(2, entries, [b"5999"])
    assert not await vouched(2, entries, [None])
    assert await vouched(0, [])
    assert not await vouched(65)
