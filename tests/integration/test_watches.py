"""Clients that fall silent without a close: how soon the watchers of their room miss them."""

import asyncio

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Json, RedisServer, Relay
from tests.unit.serving import UPGRADE

TIMING = {"ping_interval": 60, "ping_timeout": 60, "watched_ping_interval": 0.3, "reconnect_grace": 0.5}
SOON = 20
"""Seconds: far more than the second that it takes, and far less than the ping interval."""


class Silent:
    """A client that reads, and answers no ping."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def join(cls, relay: Relay, path: str) -> "Silent":
        reader, writer = await asyncio.open_connection("127.0.0.1", int(relay.http.rpartition(":")[2]))
        writer.write(UPGRADE % (path.encode(), b""))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        silent = cls(reader, writer)
        await silent._read()
        return silent

    async def control(self) -> int:
        """The opcode of the next ping or close frame; messages are skipped."""
        while (opcode := await self._read()) not in (8, 9):
            pass
        return opcode

    async def _read(self) -> int:
        first, size = await self.reader.readexactly(2)
        length = int.from_bytes(await self.reader.readexactly(2)) if size == 126 else size
        await self.reader.readexactly(length)
        return first & 0x0F


def left(event: Json) -> bool:
    return "silent" in event.get("left", ())


async def test_a_silent_member_is_missed_soon_by_a_watcher_on_another_worker(
    start: MakeRelay, enter: MakeClient, redis_server: RedisServer
) -> None:
    here, there = [await start(redis_url=redis_server.url, **TIMING) for _ in range(2)]
    before = await Silent.join(here, "/rooms/room?peer=silent")
    watcher = await enter(there, "/rooms/room?peer=watcher&presence=1")
    await watcher.until(left, timeout=SOON)
    # The room is known to be watched by a member that comes later, too.
    after = await Silent.join(here, "/rooms/room?peer=silent")
    await watcher.until(left, timeout=SOON)
    for silent in (before, after):
        silent.writer.close()


async def test_a_client_in_a_room_that_nobody_watches_is_left_alone(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(**TIMING)
    silent = await Silent.join(relay, "/rooms/other?peer=silent")
    watched = await Silent.join(relay, "/rooms/room?peer=silent")
    watcher = await enter(relay, "/rooms/room?peer=watcher&presence=1")
    await watcher.until(left, timeout=SOON)
    assert [await watched.control() for _ in range(2)] == [9, 8]
    # A timer of sixty seconds has not come round in the second that this has taken.
    listing = await relay.describe("other")
    assert listing["members"] == [{"peer": "silent"}]
    for one in (silent, watched):
        one.writer.close()
