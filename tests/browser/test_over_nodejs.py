"""Demos for the servers websocket-over-nodejs and socketio-over-nodejs, with the address of the relay."""

import random
from urllib.parse import quote

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATER = ("socketio-1", "socketio-2")
"""Versions whose clients open a new connection for each `io.connect` of an address that they are connected to."""


async def visit(open_tab: OpenTab, site: str, relay: Relay, server: str, demo: str) -> Tab:
    """Open a demo for `websocket` or `socketio-VERSION`; pages of one demo have the same channel."""
    address = f"{relay.http}/" if server.startswith("socketio") else relay.ws
    return await open_tab(f"{site}/browser/pages/over-nodejs.html#{server}-{demo}", relay=address, strict=False)


async def meet(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay], server: str, opens: str = "either") -> None:
    """Two pages meet in a channel, and talk in one of their own, which the page that is named `opens` first."""
    a, b = [await visit(open_tab, site, relay, server, f"{opens}-opens") for relay in fleet]
    if opens in ("first", "second"):
        for tab, is_lower in ((a, opens == "first"), (b, opens == "second")):
            await tab.run("number => { me = number; }", random.randrange(10**9) + (1 if is_lower else 2) * 10**9)
    assert not await a.run("testChannelPresence()")
    await a.run("meet()")
    await b.run("void testChannelPresence()")
    await b.until("present", timeout=40)
    await b.run("meet()")
    for tab in (a, b):
        await tab.until("opened.length === 1", timeout=40)
    await a.run("Object.values(pairs)[0].send('from a')")
    assert await b.until("heard[0]") == "from a"
    assert [await tab.run("strange") for tab in (a, b)] == [[], []]
    if server.startswith("socketio"):
        me = await a.run("me")
        await a.page.goto("about:blank")
        await b.until("me => left.includes(me)", me)


@pytest.mark.smoke
async def test_a_demo_for_websocket_over_nodejs(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    await meet(open_tab, tests_site, fleet, "websocket")


@pytest.mark.smoke
async def test_a_demo_for_socketio_over_nodejs(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    await meet(open_tab, tests_site, fleet, "socketio-0.9")


@pytest.mark.parametrize("opens", ["first", "second"])
@pytest.mark.parametrize("server", LATER)
async def test_later_versions_of_socketio(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay], server: str, opens: str
) -> None:
    await meet(open_tab, tests_site, fleet, server, opens)


async def test_demos_and_native_clients_are_in_one_room(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    for server in ("websocket", "socketio-0.9"):
        tab = await visit(open_tab, tests_site, fleet[0], server, f"bridge-{server}")
        channel = await tab.run("defaultChannel")
        native = await Client.open(f"{fleet[1].ws}/rooms/{quote(channel, safe='')}?presence=1")
        await tab.run("void openSocket({ onmessage: (data) => heard.push(data), callback: (s) => { hall = s; } })")
        await native.until(lambda event: bool(event.get("joined")))
        await native.ask({"channel": channel, "message": {"from": "native"}})
        await tab.until("heard.some((data) => data.from === 'native')")
        await tab.run("hall.send({ sender: 1, from: 'page' })")
        [*_, heard] = await native.until(lambda event: event.get("message", {}).get("from") == "page")
        assert heard["channel"] == channel
        await native.close()


RUN = """script => {
  const documented = new Function(`${script}; return openSocket`)();
  documented({ onmessage: (data) => heard.push(data), callback: (socket) => { hall = socket; } });
  setInterval(() => hall && hall.send({ sender: me }), 500);
}"""


async def test_the_snippets_of_the_documentation(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    for name, server, address in (
        ("websocket-over-nodejs", "websocket", "ws://localhost:8888"),
        ("socketio-over-nodejs", "socketio-0.9", "http://localhost:8888"),
    ):
        tabs = [await visit(open_tab, tests_site, relay, server, "documented") for relay in fleet]
        for tab, relay in zip(tabs, fleet, strict=True):
            own = relay.ws if server == "websocket" else relay.http
            await tab.run(RUN, snippet(name).replace(address, own))
        others = [await tab.run("me") for tab in reversed(tabs)]
        for tab, other in zip(tabs, others, strict=True):
            await tab.until("other => heard.some((data) => data.sender === other)", other)
