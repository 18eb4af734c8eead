"""Members send over relay.js in real pages while something fails: every message arrives once and in order."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.chaos.network import Network
from tests.fleet import RedisServer, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

_NAMES = ("ann", "ben", "cem")
_numbers = itertools.count()


class Fleet:
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    try:
        await fleet.ready()
        yield fleet
    finally:
        fleet.close()


async def gather_members(open_tab: OpenTab, site: str, urls: Sequence[list[str]]) -> dict[str, Tab]:
    """Open three pages in a room, each with the workers in a different order."""
    room = f"fault-{next(_numbers)}"
    tabs = {}
    for name, places in zip(_NAMES, urls, strict=True):
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
        for other in _NAMES:
            if other != name:
                await tab.until("([who, many]) => heard[who].length >= many", [other, said[other]])
                assert await tab.run("who => heard[who]", other) == list(range(said[other]))
        assert await tab.run("room.duplicates") == 0
        # No page got an event about a loss or about a member that left.
        assert not [event for event in await tab.run("told") if event[0] in {"leave", "error", "close"}]


async def test_worker_killed_in_the_middle_of_a_call(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tabs = await gather_members(open_tab, site, [fleet.urls(0), fleet.urls(1), fleet.urls(0)])
    ann, ben, cem = tabs.values()
    for tab in (ann, ben):
        await tab.run("call()")
    await ann.until("frames('ben') > 5")
    await ben.until("frames('ann') > 5")

    async def kill() -> None:
        fleet.relays[0].signal(9)
        for tab in (ann, cem):
            await tab.until("told.some(([type, recovered]) => type === 'resumed' && recovered)")

    await count(tabs, kill)
    # The call went on, and a member that joins it over the other worker is shown.
    shown = await ann.run("frames('ben')")
    await cem.run("call()")
    await ann.until("shown => frames('ben') > shown + 5", shown)
    for tab in (ann, ben):
        await tab.until("frames('cem') > 5")
    await fleet.replace(0)


async def test_redis_restarted(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tabs = await gather_members(open_tab, site, [fleet.urls(0), fleet.urls(1), fleet.urls(0)])

    async def restart() -> None:
        await asyncio.to_thread(fleet.redis.kill)
        await asyncio.sleep(0.5)  # the fault is the time without a connection
        await asyncio.to_thread(fleet.redis.start)

    await count(tabs, restart)


async def test_offline_for_five_seconds_and_another_tab_frozen(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    async def offline() -> None:
        async with Network(fleet.relays[0].port) as network:
            far = [f"ws://127.0.0.1:{network.port}"]
            tabs = await gather_members(open_tab, site, [far, fleet.urls(1), fleet.urls(0)])
            ann = tabs["ann"]

            async def unplug() -> None:
                await ann.context.set_offline(True)
                network.blacken()
                await asyncio.sleep(5)
                network.lighten()
                await ann.context.set_offline(False)
                await ann.until("told.some(([type, recovered]) => type === 'resumed' && recovered)")

            await count(tabs, unplug)
            for tab in tabs.values():
                with suppress(Exception):
                    await tab.context.close()

    async def frozen() -> None:
        tabs = await gather_members(open_tab, site, [fleet.urls(0), fleet.urls(1), fleet.urls(0)])
        session = await tabs["ben"].context.new_cdp_session(tabs["ben"].page)

        async def freeze() -> None:
            # A visible page cannot be frozen by its life cycle state; this stops its scripts in the same way.
            paused = asyncio.get_running_loop().create_future()
            session.once("Debugger.paused", lambda event: paused.set_result(event))
            await session.send("Debugger.enable")
            await session.send("Debugger.pause")
            asked = {"callFrameId": (await paused)["callFrames"][0]["callFrameId"], "expression": "said"}
            said = await session.send("Debugger.evaluateOnCallFrame", asked)
            await asyncio.sleep(5)
            assert await session.send("Debugger.evaluateOnCallFrame", asked) == said, "the tab was not frozen"
            assert said["result"]["value"] > 0
            await session.send("Debugger.resume")
            await session.send("Debugger.disable")

        await count(tabs, freeze)

    await asyncio.gather(offline(), frozen())
