"""SimpleWebRTC pages that join again after each loss: in the end each has a call with each other one, and no ghost."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.fleet import RedisServer, Relay, eventually
from tests.integration import signalmaster

GONE = Exception
"""The errors that a page may get when its worker or connection has ended."""

ROOMS = 5
PAGES = 4
SETTINGS: dict[str, Any] = {"worker_lease": 8, "probe_timeout": 3, "publish_timeout": 5, "reconnect_grace": 4}
"""A busy machine must not make a worker lose its lease."""


class Page:
    """One page: it calls those that were in the room before it, and ends a call when the relay says `remove`."""

    def __init__(self, relays: list[Relay], room: str, number: int) -> None:
        self._relays = relays
        self._turn = itertools.count(number)
        self.room = room
        self.sid = ""
        self.connection: signalmaster.Page | None = None
        self.calls: set[str] = set()
        self.removed: list[str] = []
        self.joins = 0

    async def live(self) -> None:
        while True:
            with suppress(GONE):
                await self._stay(self._relays[next(self._turn) % len(self._relays)])
            await self.lose()
            await asyncio.sleep(0.05)

    async def lose(self) -> None:
        """Go without a word."""
        connection, self.connection = self.connection, None
        self.sid, self.calls = "", set()
        if connection is not None:
            with suppress(GONE):
                await connection.wire.drop()

    async def _stay(self, relay: Relay) -> None:
        self.connection = connection = await signalmaster.Page.over_websocket(relay)
        await connection.emit("join", self.room, number="0")
        while True:
            # A page that hears nothing for some seconds is as well as before.
            with suppress(TimeoutError):
                packet = await connection.next()
                if packet.startswith("430"):
                    await self._join(connection, *json.loads(packet[3:]))
                elif packet.startswith("42"):
                    self._take(*json.loads(packet[2:]))

    async def _join(self, connection: signalmaster.Page, error: str | None, described: Any = None) -> None:
        if error is not None:
            await asyncio.sleep(0.2)
            await connection.emit("join", self.room, number="0")
            return
        self.joins += 1
        self.sid = connection.sid
        self.calls.update(described["clients"])
        for other in described["clients"]:
            await connection.emit("message", {"to": other, "type": "offer"})

    def _take(self, event: str, value: Any) -> None:
        if event == "message":
            self.calls.add(value["from"])
        elif event == "remove":
            self.removed.append(value["id"])
            self.calls.discard(value["id"])


async def kill_a_worker(relays: list[Relay], redis: RedisServer, pages: list[Page]) -> None:
    relays[0].process.kill()
    relays[0].close()
    relays[0] = Relay(redis_url=redis.url, port=relays[0].port, **SETTINGS)
    await relays[0].ready()


async def restart_redis(relays: list[Relay], redis: RedisServer, pages: list[Page]) -> None:
    redis.kill()
    redis.start()
    for relay in relays:
        await relay.ready()


async def lose_the_data_of_redis(relays: list[Relay], redis: RedisServer, pages: list[Page]) -> None:
    redis.kill()
    redis.forget()
    redis.start()
    for relay in relays:
        await relay.ready()


async def break_half_of_the_connections(relays: list[Relay], redis: RedisServer, pages: list[Page]) -> None:
    for page in pages[::2]:
        if page.connection is not None:
            await page.connection.wire.drop()


Fault = Callable[[list[Relay], RedisServer, list[Page]], Awaitable[None]]


@pytest.mark.parametrize("fault", [kill_a_worker, restart_redis, lose_the_data_of_redis, break_half_of_the_connections])
async def test_each_page_has_a_call_with_each_other_page_and_no_ghost(fault: Fault) -> None:
    redis = RedisServer(persistent=True).start()
    relays = [Relay(redis_url=redis.url, **SETTINGS) for _ in range(2)]
    pages = [Page(relays, f"room-{room}", number) for room in range(ROOMS) for number in range(PAGES)]
    # One page of each room goes for good at the moment of the fault.
    gone, stay = pages[::PAGES], [page for number, page in enumerate(pages) if number % PAGES]
    tasks: list[asyncio.Task[None]] = []
    try:
        for relay in relays:
            await relay.ready()
        tasks += [asyncio.create_task(page.live()) for page in pages]
        await eventually(lambda: not disagreements(pages), 30)
        before = {page: (page.sid, page.joins) for page in stay}
        for task, page in zip(tasks, pages, strict=True):
            if page in gone:
                task.cancel()
                await page.lose()
        await fault(relays, redis, stay)
        await eventually(lambda: not disagreements(stay), 60)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or [asyncio.create_task(asyncio.sleep(0))])
        for relay in relays:
            relay.close()
        redis.close()
    stayed = {sid for page, (sid, joins) in before.items() if page.joins == joins}
    counted = Counter(pages=len(stay), stayed=len(stayed), gone=len(gone))
    counted["back"] = sum(page.joins - joins for page, (_, joins) in before.items())
    counted["removed"] = sum(len(page.removed) for page in stay)
    counted["removed in error"] = sum(sid in stayed for page in stay for sid in page.removed)
    print(f"{fault.__name__}: {dict(counted)}")
    assert counted["removed in error"] == 0
    assert counted["back"] or fault in (restart_redis, lose_the_data_of_redis)


def disagreements(pages: list[Page]) -> list[str]:
    """The pages whose calls are not those with all other pages of their room."""
    return [
        f"{page.sid or 'a page'} in {page.room} has {page.calls}"
        for page in pages
        if not page.sid or page.calls != {other.sid for other in pages if other.room == page.room and other is not page}
    ]
