"""relay.js in pages whose network lets no WebSocket through, and others in which one does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.blocking_network import BlockingNetwork
from tests.browser.conftest import OpenTab, Tab
from tests.browser.talk import FragileFleet, count, gather_members
from tests.fleet import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

Networks = Sequence[BlockingNetwork]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet() -> AsyncIterator[FragileFleet]:
    fleet = FragileFleet()
    try:
        await fleet.ready()
        yield fleet
    finally:
        fleet.close()


@pytest_asyncio.fixture(loop_scope="session")
async def networks(fleet: FragileFleet) -> AsyncIterator[Networks]:
    """A network for each of three pages; the one in the middle leads to the second worker."""
    async with AsyncExitStack() as stack:
        ports = [fleet.relays[number % 2].port for number in range(3)]
        yield [await stack.enter_async_context(BlockingNetwork(port)) for port in ports]


async def all_over(transport: str, tabs: dict[str, Tab]) -> None:
    waits = [tab.until("name => room.transport === name", transport, timeout=60) for tab in tabs.values()]
    await asyncio.gather(*waits)


async def test_three_pages_talk_while_websockets_are_blocked_let_through_and_blocked(
    networks: Networks, open_tab: OpenTab, site: str, fleet: FragileFleet
) -> None:
    """The worker of two of them is killed while all are over HTTP."""
    tabs = await gather_members(open_tab, site, [[network.ws] for network in networks])
    await all_over("http", tabs)

    async def switch() -> None:
        for network in networks:
            network.open()
        await all_over("websocket", tabs)
        for network in networks:
            network.block()
        await all_over("http", tabs)
        fleet.relays[0].signal(9)
        for network in networks:
            network.ports = [fleet.relays[1].port]
        for name in ("ann", "cem"):
            await tabs[name].until("told.filter(([type]) => type === 'resumed').length >= 3", timeout=60)
        await all_over("http", tabs)
        for network in networks:
            network.open()
        await all_over("websocket", tabs)

    await count(tabs, switch)
    await fleet.replace(0)


async def test_a_page_over_http_says_goodbye_and_is_reloaded(
    networks: Networks, open_tab: OpenTab, site: str, fleet: FragileFleet
) -> None:
    """The grace time of a lost connection is longer than this test waits."""
    bob = await Client.open(f"{fleet.relays[1].ws}/rooms/goodbye?peer=bob&presence=1")
    tab = await open_tab(f"{site}/pages/talk.html", relay=[networks[0].ws], strict=False)
    await tab.run("come('goodbye', 'ann')")
    assert await tab.run("room.transport") == "http"
    await bob.until(lambda event: event.get("joined") == ["ann"])
    await tab.page.reload()
    await tab.run("come('goodbye', 'ann')")
    await bob.until(lambda event: event.get("joined") == ["ann"])
    assert (await bob.ask({"type": "presence"}))["count"] == 2
    await tab.page.goto("about:blank")
    await bob.until(lambda event: event.get("left") == ["ann"])
    assert (await bob.ask({"type": "presence"}))["count"] == 1
    await bob.close()


async def test_all_that_a_room_offers_works_over_http(
    networks: Networks, open_tab: OpenTab, site: str, fleet: FragileFleet
) -> None:
    tab = await open_tab(f"{site}/pages/talk.html", relay=[networks[0].ws], strict=False)
    await tab.run("come('offers', 'ann')")
    bob = await Client.open(f"{fleet.relays[1].ws}/rooms/offers?peer=bob&presence=1&info=%7B%22n%22%3A1%7D")
    await tab.until("room.infos.get('bob')?.n === 1")
    await tab.run("room.setInfo({ n: 2 })")
    await bob.until(lambda event: event.get("info", {}).get("ann") == {"n": 2})
    assert await tab.run("room.kick('bob').catch(({ code }) => code)") == "forbidden"
    assert await tab.run("room.rules().then(({ locked }) => locked)") is False
    await tab.run(
        "void (window.others = [relay.join('offers-2', { peer: 'ann' }), relay.observe('offers', { messages: false })])"
    )
    await tab.run("Promise.all(others.map(({ ready }) => ready)).then(() => 0)")
    assert await tab.run("others.map(({ transport }) => transport)") == ["http", "http"]
    # Rooms share one stream; the observer has another one.
    assert sum("/connect?" in url for url in tab.requests) == 2
    assert not [url for url in tab.requests if "resume" in url]
    await tab.until("others[1].count === 2")
    await bob.close()
