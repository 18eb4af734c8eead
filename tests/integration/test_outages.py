"""Redis cannot be reached for a time: members that were lost meanwhile can still return when it is back."""

import asyncio
import signal

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import RedisServer, eventually

GRACE = 3.0


@pytest.mark.parametrize("lost", ["before", "meanwhile"])
async def test_the_time_of_an_outage_does_not_count_against_the_grace_time(
    start: MakeRelay, own_redis: RedisServer, enter: MakeClient, lost: str
) -> None:
    relays = await asyncio.gather(*[start(redis_url=own_redis.url, reconnect_grace=GRACE) for _ in range(2)])
    watcher = await enter(relays[1], "/rooms/room?peer=watcher&presence=1")
    member = await enter(relays[0], "/rooms/room?peer=member")
    await watcher.until(lambda event: "member" in event.get("joined", ()))
    if lost == "before":
        member.lose()
        await eventually(lambda: relays[0].metric("relay_held_members"))
    own_redis.signal(signal.SIGSTOP)
    try:
        member.lose()
        # Not an event to wait for: the grace time ends while nobody can return.
        await asyncio.sleep(GRACE + 1)
    finally:
        own_redis.signal(signal.SIGCONT)
    await asyncio.gather(*[relay.ready() for relay in relays])
    await enter(relays[1], "/rooms/room?peer=member", resume=member.welcome["resume"])
    assert [event for event in await watcher.all_up_to_now() if event.get("left") or event.get("joined")] == []
