"""Calls of RTCMultiConnection through blinks, worker kills and Redis restarts, counted.

`RELAY_STRIKES` is the number of strikes of each kind (1 in the suite; 100 take some minutes). Every page talks with
every other page of its call, over the relay: while it is struck, and after it. Each signal is counted: it was
delivered, or the relay told its sender or its receiver, or its sender lost the connection. No other one may be missing.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from relay.client import Left
from tests.chaos.calls import Calls, fates_of
from tests.chaos.rmc3_members import RmcMember
from tests.fleet import RedisServer, Relay, eventually

STRIKES = int(os.environ.get("RELAY_STRIKES", "1"))
"""Strikes of each kind."""

ROOMS = 4
PAGES = ("p0", "p1", "p2")
SIGNALS = 2 * ROOMS * len(PAGES) * (len(PAGES) - 1)
"""Signals of one talk: each one has a receipt."""

SLOW = 5.0
"""Seconds after which a page sends a signal again that has no receipt."""

START = 300.0
"""Seconds in which a worker starts, also on a machine that has many others to serve."""

ON_ITS_WAY = 60.0
"""Seconds in which a signal arrives that is on its way at the end."""

SETTINGS = {"worker_lease": 8, "probe_timeout": 3, "publish_timeout": 10, "reconnect_grace": 60}
"""A busy machine must not make a worker lose its lease, or a page come back too late."""

Members = dict[tuple[str, str], RmcMember]


class Fleet:
    """Two workers and their Redis; strikes hit each worker in turn."""

    def __init__(self) -> None:
        self.redis = RedisServer(persistent=True).start()
        self.relays = [Relay(redis_url=self.redis.url, **SETTINGS) for _ in range(2)]
        self._turn = 0

    async def ready(self) -> None:
        for relay in self.relays:
            await eventually(relay.healthy, START)

    async def blink(self, members: Members) -> None:
        """All pages lose their connections."""
        for member in members.values():
            member.drop()

    async def kill_worker(self, members: Members) -> None:
        at, self._turn = self._turn, 1 - self._turn
        old = self.relays[at]
        old.process.kill()
        old.close()
        self.relays[at] = Relay(redis_url=self.redis.url, port=old.port, **SETTINGS)
        await self.ready()

    async def restart_redis(self, members: Members) -> None:
        self.redis.kill()
        self.redis.start()
        await self.ready()

    def close(self) -> None:
        for relay in self.relays:
            relay.close()
        self.redis.close()


@pytest.fixture
async def arena() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    try:
        await fleet.ready()
        yield fleet
    finally:
        fleet.close()


async def talk(members: Members, number: int) -> None:
    """Each page sends a signal to each other one of its room, and gets its receipt."""
    await asyncio.gather(*[member.send({"number": number}, timeout=120) for member in members.values()])


async def heard_more(members: Members, signals: int, talking: asyncio.Task[None]) -> None:
    """Return when pages have heard so many signals from now on: a strike then hits all others on their way."""

    def heard() -> int:
        return sum(member.signals.received for member in members.values())

    before = heard()
    while heard() < before + signals and not talking.done():
        await asyncio.sleep(0)


STRIKES_OF: dict[str, Callable[[Fleet, Members], Awaitable[None]]] = {
    "blink": Fleet.blink,
    "worker killed": Fleet.kill_worker,
    "Redis restarted": Fleet.restart_redis,
}


@pytest.mark.timeout(120 + 60 * STRIKES)
@pytest.mark.parametrize("kind", STRIKES_OF)
async def test_no_call_is_lost_and_no_room_is_gone(arena: Fleet, kind: str) -> None:
    urls = [relay.ws for relay in arena.relays]
    members: Members = {}
    async with AsyncExitStack() as stack:
        for room in (f"room-{number}" for number in range(ROOMS)):
            for at, peer in enumerate(PAGES):
                own = urls if at % 2 else urls[::-1]
                # Pages of both kinds: with a private id, and recognised by their address.
                member = RmcMember(own, room, peer, slow=SLOW, brings_pid=len(members) % 2 == 0)
                members[room, peer] = await stack.enter_async_context(member)
        await talk(members, 0)
        before = {place: member.reconnects for place, member in members.items()}
        for number in range(STRIKES):
            talking = asyncio.create_task(talk(members, 2 * number + 1))
            await heard_more(members, number % SIGNALS, talking)
            await STRIKES_OF[kind](arena, members)
            await talking
            await talk(members, 2 * number + 2)
        with suppress(TimeoutError):
            await eventually(lambda: not fates_of(members.values()).silent, ON_ITS_WAY)
        calls = await Calls.count(members)
        assert calls is not None
        left = [event for member in members.values() for event in member.heard() if isinstance(event, Left)]
        again = sum(member.reconnects - before[place] for place, member in members.items())
        print(
            f"{kind}: {STRIKES} strikes, {calls.pages} pages in {ROOMS} calls, connected again {again:,} times, "
            f"{calls.signals_sent:,} signals; {len(left)} pages gone for others, {calls.fates}, "
            f"{len(calls.errors)} errors told to pages, "
            f"{len(calls.rooms_gone)} rooms gone, {len(calls.owners_lost)} owners lost, {len(calls.not_back)} not back"
        )
        # If a machine is so busy that Redis answers after `publish_timeout`, pages are told, and send signals again.
        assert (calls.rooms_gone, calls.owners_lost, calls.not_back) == ([], [], [])
        assert calls.fates.silent == []
        assert left == []
        assert kind == "Redis restarted" or again >= STRIKES
