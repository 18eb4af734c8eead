"""Locked rooms while Redis loses its data, and comes back with older data: no stranger is ever admitted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx2 as httpx
from websockets.exceptions import WebSocketException

from tests.chaos.arena import Arena, Post
from tests.chaos.fault import SHORT, wait
from tests.fleet import ADMIN_TOKEN, Client

_NAMES = tuple(f"vault{number}" for number in range(6))
_TRIES = 3
"""Rooms that are locked, and how many strangers knock at the same time."""


@dataclass
class _Vaults:
    """Rooms with one member each, which stays, and strangers that try to come in over all workers."""

    arena: Arena
    members: dict[str, Client] = field(default_factory=dict)
    refused: int = 0

    async def open(self, name: str) -> None:
        """Make a room with a member."""
        self.members[name] = await Client.open(f"{self.arena.url(self.arena.post)}/rooms/{name}?peer=keeper")

    async def lock(self, name: str) -> None:
        """Lock a room over another worker than its member's, perhaps."""
        relay = self.arena.post.relay
        async with httpx.AsyncClient(timeout=5) as http:
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
            answer = await http.put(f"{relay.http}/rooms/{name}", json={"locked": True}, headers=headers)
            answer.raise_for_status()
        await self.members[name].until(lambda event: event.get("type") == "rules" and event["rules"]["locked"])

    async def knock(self) -> None:
        """Try to come in until cancelled; a member without an answer tries again."""
        while True:
            name, post = self.arena.draw.choice(sorted(self.members)), self.arena.draw.choice(self.arena.posts)
            with suppress(OSError, TimeoutError, WebSocketException, EOFError):
                await self._knock(name, post)
            await asyncio.sleep(0.01)

    async def _knock(self, name: str, post: Post) -> None:
        stranger = await Client.open(f"{self.arena.url(post)}/rooms/{name}")
        if stranger.welcome.get("type") == "welcome":
            self.arena.intruders.append(f"{name} of {post.relay.http}")
        self.refused += stranger.welcome.get("code") == "room_locked"
        stranger.lose()

    async def until_refused(self) -> None:
        """Wait until the lock holds again, and has been seen to."""
        before = self.refused
        await self.arena.show("nobody was refused", lambda: self.refused > before + _TRIES)

    async def close(self) -> None:
        """End the rooms; a member that is not connected any more was put out by mistake."""
        for name, member in self.members.items():
            try:
                await member.ask({"type": "ping"})
            except (OSError, TimeoutError, WebSocketException, EOFError):
                self.arena.locked_out.append(f"{name}: its member")
            member.lose()


@asynccontextmanager
async def _knocking(arena: Arena, vaults: _Vaults) -> AsyncIterator[None]:
    """Let strangers knock until the lock holds again after the fault."""
    knocking = [asyncio.create_task(vaults.knock()) for _ in range(_TRIES)]
    try:
        await vaults.until_refused()
        arena.excused |= arena.members.keys()
        yield
        arena.over()
        await vaults.until_refused()
    finally:
        for task in knocking:
            task.cancel()
        await asyncio.gather(*knocking, return_exceptions=True)
        await vaults.close()


async def flush_locked_rooms(arena: Arena) -> None:
    """FLUSHALL, while strangers knock at locked rooms."""
    vaults = _Vaults(arena)
    await asyncio.gather(*map(vaults.open, _NAMES))
    await asyncio.gather(*map(vaults.lock, _NAMES))
    async with _knocking(arena, vaults):
        await asyncio.to_thread(arena.redis.client.flushall)


async def unlock_by_older_data(arena: Arena) -> None:
    """kill -9 of Redis, which starts with data from before some rooms were locked, and others were opened."""
    vaults = _Vaults(arena)
    early, late = _NAMES[::2], _NAMES[1::2]
    await asyncio.gather(*map(vaults.open, early))
    await asyncio.to_thread(arena.redis.remember)
    await asyncio.gather(*map(vaults.open, late))
    await asyncio.gather(*map(vaults.lock, _NAMES))
    async with _knocking(arena, vaults):
        arena.redis.kill()
        await asyncio.to_thread(arena.redis.go_back)
        await wait(arena, SHORT)
        await asyncio.to_thread(arena.redis.start)
