"""One timer for all pings; time is the event loop's, with short intervals, and every wait is for an event."""

import asyncio

from relay.rooms.keepalive import Keepalive


class Client:
    def __init__(self) -> None:
        self.keepalive_slot = 0
        self.calls: asyncio.Queue[str] = asyncio.Queue()

    def ping(self) -> None:
        self.calls.put_nowait("ping")

    def check(self) -> None:
        self.calls.put_nowait("check")

    async def next(self) -> str:
        async with asyncio.timeout(5):
            return await self.calls.get()


async def test_every_ping_is_followed_by_a_check_again_and_again() -> None:
    keepalive, client = Keepalive(0.04, 0.02), Client()
    keepalive.add(client)
    assert [await client.next() for _ in range(5)] == ["ping", "check", "ping", "check", "ping"]
    keepalive.remove(client)


async def test_a_timeout_longer_than_the_interval_is_waited_for() -> None:
    keepalive, client = Keepalive(0.02, 0.1), Client()
    keepalive.add(client)
    calls = [await client.next() for _ in range(12)]
    assert calls[:3] == ["ping"] * 3
    assert "check" in calls
    keepalive.remove(client)


async def test_the_first_ping_comes_after_a_whole_interval() -> None:
    loop = asyncio.get_running_loop()
    keepalive, client = Keepalive(0.2, 0.2), Client()
    begun = loop.time()
    keepalive.add(client)
    assert await client.next() == "ping"
    assert loop.time() - begun >= 0.2 * 7 / 8
    keepalive.remove(client)


async def test_a_removed_connection_is_neither_pinged_nor_checked_and_the_timer_rests() -> None:
    keepalive, gone, here = Keepalive(0.02, 0.02), Client(), Client()
    keepalive.add(gone)
    keepalive.add(here)
    assert await gone.next() == "ping"
    keepalive.remove(gone)
    keepalive.remove(gone)
    assert [await here.next() for _ in range(4)] == ["ping", "check", "ping", "check"]
    assert gone.calls.empty()
    keepalive.remove(here)
    async with asyncio.timeout(5):
        while keepalive._timer is not None:
            await asyncio.sleep(0.005)
    keepalive.add(here)
    assert await here.next() == "ping"
    keepalive.remove(here)
