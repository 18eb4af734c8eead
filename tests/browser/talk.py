"""Members that talk over relay.js in real pages, on two workers of which tests make something fail."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.fleet import RedisServer, Relay

NAMES = ("ann", "ben", "cem")
_numbers = itertools.count()


class FragileFleet:
    """Two workers and a Redis for this module, all of which a test may kill and start again."""

    def __init__(self) -> None:
        self.redis = RedisServer(persistent=True).start()
        self.relays = [self._relay(), self._relay()]

    def _relay(self, port: int = 0) -> Relay:
        return Relay(redis_url=self.redis.url, port=port, **PATIENT)

    async def ready(self) -> None:
        for relay in self.relays:
            await relay.ready()

    def urls(self, first: int) -> list[str]:
        """The addresses of the workers, beginning with the one of this index."""
        return [self.relays[(first + number) % 2].ws for number in range(2)]

    async def replace(self, index: int) -> None:
        """Start a worker again on the port of one that was killed."""
        port = self.relays[index].port
        self.relays[index].close()
        self.relays[index] = await self._relay(port).ready()

    def close(self) -> None:
        for relay in self.relays:
            relay.close()
        self.redis.close()


async def gather_members(open_tab: OpenTab, site: str, urls: Sequence[list[str]]) -> dict[str, Tab]:
    """Open three pages in a room, each with the workers in a different order."""
    room = f"fault-{next(_numbers)}"
    tabs = {}
    for name, places in zip(NAMES, urls, strict=True):
        # Browsers log every connection that fails, and here they are meant to fail.
        tabs[name] = await open_tab(f"{site}/pages/talk.html", relay=places, strict=False)
        await tabs[name].run("([room, name]) => come(room, name)", [room, name])
    for tab in tabs.values():
        await tab.until("room.members.length === 3")
    return tabs


async def count(tabs: dict[str, Tab], fault: Callable[[], Awaitable[None]], *, seconds: float = 1.0) -> None:
    """Let all talk before, while and after the fault strikes; then nothing may be missing, repeated or out of order."""
    for tab in tabs.values():
        await tab.run("talk()")
    await tabs["ann"].until("said > 10")
    await fault()
    whole = max([await tab.run("said") for tab in tabs.values()]) + seconds * 10
    await asyncio.gather(*[tab.until("many => said > many", whole) for tab in tabs.values()])
    said = {name: await tab.run("hush()") for name, tab in tabs.items()}
    for tab in tabs.values():
        await tab.until("acknowledged.length + failed.length === said", timeout=20)
        assert await tab.run("failed") == []
    print(f"{fault.__name__}: {sum(said.values())} said, {2 * sum(said.values())} to be heard")
    for name, tab in tabs.items():
        for other in NAMES:
            if other != name:
                await tab.until("([who, many]) => heard[who].length >= many", [other, said[other]])
                assert await tab.run("who => heard[who]", other) == list(range(said[other]))
        assert await tab.run("room.duplicates") == 0
        # No page got an event about a loss or about a member that left.
        assert not [event for event in await tab.run("told") if event[0] in {"leave", "error", "close"}]
