"""Members send over relay.js in real pages while something fails: every message arrives once and in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.browser.conftest import OpenTab
from tests.browser.talk import FragileFleet, count, gather_members
from tests.chaos.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet() -> AsyncIterator[FragileFleet]:
    fleet = FragileFleet()
    try:
        await fleet.ready()
        yield fleet
    finally:
        fleet.close()


async def test_worker_killed_in_the_middle_of_a_call(open_tab: OpenTab, site: str, fleet: FragileFleet) -> None:
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


async def test_redis_restarted(open_tab: OpenTab, site: str, fleet: FragileFleet) -> None:
    tabs = await gather_members(open_tab, site, [fleet.urls(0), fleet.urls(1), fleet.urls(0)])

    async def restart() -> None:
        await asyncio.to_thread(fleet.redis.kill)
        await asyncio.sleep(0.5)  # the fault is the time without a connection
        await asyncio.to_thread(fleet.redis.start)

    await count(tabs, restart)


async def test_offline_for_five_seconds_and_another_tab_frozen(
    open_tab: OpenTab, site: str, fleet: FragileFleet
) -> None:
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
