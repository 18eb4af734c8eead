"""XHR-Signaling: its page with RTCMultiConnection 2.2.5 in Chromium, on different workers."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, Route

from tests.browser.conftest import HERE, OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = "/demo-of-xhr/pages"
"""The pages, below the origin of the relay, where a reverse proxy would serve them."""


async def serve_files(page: Page, relay: Relay) -> None:
    """Have the browser find the files of the tests at the relay's origin; all other requests reach the relay."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(path=HERE / route.request.url.partition("/demo-of-xhr/")[2])

    await page.route(f"{relay.http}/demo-of-xhr/**", fulfill)


async def at_home(open_tab: OpenTab, site: str, relay: Relay, home: str = "", name: str = "xhr-signaling") -> Tab:
    """Open a page at the relay's own origin."""
    tab = await open_tab(f"{site}/pages/blank.html", strict=False, relay={"home": home})
    await serve_files(tab.page, relay)
    await tab.page.goto(f"{relay.http}{PAGES}/{name}.html")
    return tab


async def another_tab(tab: Tab, relay: Relay) -> Tab:
    """Open the page once more in the same browser, which has the same cookies."""
    page = await tab.context.new_page()
    await serve_files(page, relay)
    await page.goto(f"{relay.http}{PAGES}/xhr-signaling.html")
    return Tab(page, tab.context)


async def talk(a: Tab, b: Tab, session: str) -> None:
    """Connect two pages over WebRTC; if the second shares the place of the first, its poll waits for a message."""
    await a.until("polls.length > 0")
    await a.run("session => void connection.open(session)", session)
    await b.run("session => void connection.connect(session)", session)
    for tab in (a, b):
        await tab.until("opened.length === 1", timeout=40)
    await a.run("connection.send('from a: \\u2603')")
    await b.run("connection.send({ deep: [1] })")
    assert await b.until("heard[0]") == "from a: \u2603"
    assert await a.until("heard[0]") == {"deep": [1]}


def ids(rows: list[Any]) -> list[str]:
    return [row for row in rows if row]


@pytest.mark.smoke
async def test_pages_connect_on_different_workers(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    a, b = [await at_home(open_tab, site, relay) for relay in fleet]
    await talk(a, b, "xhr")
    for tab in (a, b):
        rows = ids(await tab.run("polls"))
        # Each page has a cursor of its own, and gets no row twice.
        assert len(rows) == len(set(rows)) > 4
        assert len(await tab.context.cookies()) == 1


async def test_pages_and_clients_of_other_protocols_hear_each_other(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    native = await Client.open(f"{fleet[1].ws}/rooms/xhr-bridge?presence=1")
    tab = await at_home(open_tab, site, fleet[0], "/rooms/xhr-bridge")
    await native.until(lambda event: bool(event.get("joined")))
    await tab.run(
        "void (window.socket = connection.openSignalingChannel({ channel: 'c', onmessage: (x) => heard.push(x) }))"
    )
    await native.ask({"channel": "c", "message": {"from": "native"}, "sender": "native"})
    assert await tab.until("heard[0]") == {"from": "native"}
    await tab.run("socket.send({ from: 'page' })")
    [*_, heard] = await native.until(lambda event: event.get("channel") == "c")
    assert heard["message"] == {"from": "page"}
    # A page that is closed says nothing; its place is held, as after any loss.
    await tab.page.goto("about:blank")
    await native.close()


async def test_two_tabs_of_one_browser_connect(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    a = await at_home(open_tab, site, fleet[0])
    await a.until("polls.length > 0")
    b = await another_tab(a, fleet[0])
    await talk(a, b, "tabs")


async def test_pages_of_another_origin_connect_without_cookies(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    """With an address of their own on any worker; without one, all pages of a browser share a place on each worker."""
    room = "/rooms/xhr-elsewhere"
    places = [f"?peer=page-{number}&resume={'0123456789abcdef'}-{number}" for number in range(2)]
    elsewhere = [
        await open_tab(
            f"{site}/pages/xhr-signaling.html", strict=False, relay={"home": relay.http + room, "place": place}
        )
        for relay, place in zip(fleet, places, strict=True)
    ]
    nowhere = [
        await open_tab(f"{site}/pages/xhr-signaling.html", strict=False, relay={"home": fleet[0].http + room + "-2"})
        for _ in range(2)
    ]
    await asyncio.gather(talk(*elsewhere, "elsewhere"), talk(*nowhere, "nowhere"))
    assert not [cookie for tab in (*elsewhere, *nowhere) for cookie in await tab.context.cookies()]


async def test_the_page_of_the_documentation(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    script = re.sub(r"</?script>", "", snippet("xhr-signaling"))
    bob = await Client.open(f"{fleet[1].ws}/rooms/lobby")
    tab = await at_home(open_tab, site, fleet[0], name="blank")
    await tab.run("void (window.logged = [], console.log = (...said) => logged.push(said))")
    await tab.run("(script) => (0, eval)(script)", script)
    [*_, heard] = await bob.until(lambda event: event.get("message") == "hello by XHR")
    assert heard["channel"] == "chat"
    await bob.ask({"channel": "chat", "message": "hello, page"})
    await tab.until("logged.some(([channel, message]) => channel === 'chat' && message === 'hello, page')")
    await bob.close()
