"""Pages with an `EventSource` and posts in place of a WebSocket, on different workers."""

import re

import httpx2 as httpx
import pytest

from tests.browser.conftest import HERE, OpenTab
from tests.documentation import snippet
from tests.fleet import Client, Proxy, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOM = "/rooms/over-http"


async def test_the_onmessage_of_the_page_is_that_of_the_seed() -> None:
    bodies = []
    for name in ("seed", "event-source"):
        found = re.search(r"^websocket\.onmessage = .*?^};", (HERE / f"pages/{name}.js").read_text(), re.M | re.S)
        assert found
        bodies.append(found[0])
    assert bodies[0] == bodies[1]


async def connect(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay], library: str, name: str, room: str) -> None:
    a, b = [
        await open_tab(f"{site}/pages/{library}.html?over=http", relay=relay.ws + room, strict=False) for relay in fleet
    ]
    for tab in (a, b):
        await tab.until("welcomes.length === 1")
        await tab.run(f"{name}.session = {{data: true}}")
    await a.run(f"void {name}.open('session')")
    await b.run(f"void {name}.connect('session')")
    await a.until("opened.length === 1")
    # Two pages that begin on a busy machine may need more than half a minute for their first offer.
    await b.until("opened.length === 1", timeout=60)
    await a.run(f"{name}.send('from a')")
    await b.run(f"{name}.send('from b')")
    assert (await b.until("heard[0]"))["message"] == "from a"
    assert (await a.until("heard[0]"))["message"] == "from b"


@pytest.mark.smoke
async def test_datachannel_connects(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    await connect(open_tab, site, fleet, "datachannel", "channel", f"{ROOM}-1")


async def test_rtcmulticonnection_connects(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    await connect(open_tab, site, fleet, "rtcmulticonnection", "connection", f"{ROOM}-2")


async def test_an_event_source_comes_back_by_itself_until_it_is_put_out(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]
) -> None:
    room = f"{ROOM}-3"
    async with Proxy(fleet[0].port) as proxy:
        relay = f"ws://127.0.0.1:{proxy.port}{room}"
        tab = await open_tab(f"{site}/pages/datachannel.html?over=http", relay=relay, strict=False)
        await tab.until("welcomes.length === 1")
        await tab.run("void (channels.chat = { onmessage: (message) => heard.push(message) })")
        bob = await Client.open(f"{fleet[1].ws}{room}?peer=bob&presence=1")
        await bob.ask({"channel": "chat", "message": 1})
        await tab.until("heard.length === 1")
        proxy.cut()
        await bob.ask({"channel": "chat", "message": 2})
        await tab.until("welcomes.length === 2 && welcomes[1].recovered")
        await bob.ask({"channel": "chat", "message": 3})
        assert await tab.until("heard.length === 3 && heard") == [1, 2, 3]
        assert not [event for event in await bob.all_up_to_now() if event.get("type") == "presence"]
        async with httpx.AsyncClient() as client:
            kick = {"peer": await tab.run("welcomes[0].peer")}
            await client.post(f"{fleet[1].http}{room}/kick", json=kick, headers=fleet[1].authorised)
        await tab.until("websocket.readyState === EventSource.CLOSED")
        assert await tab.run("welcomes.length") == 2
        await bob.close()


async def test_the_page_of_the_documentation(open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay]) -> None:
    script = re.sub(r"</?script>", "", snippet("http")).replace("http://localhost:8888", fleet[0].http)
    bob = await Client.open(f"{fleet[1].ws}/rooms/lobby?peer=bob&presence=1")
    tab = await open_tab(f"{site}/pages/blank.html", strict=False)
    await tab.run("(script) => (0, eval)(script)", script)
    [*_, heard] = await bob.until(lambda event: event.get("channel") == "chat")
    assert heard["message"] == "hello over HTTP"
    await tab.page.goto("about:blank")
    await bob.until(lambda event: heard["from"] in event.get("left", ()))
    await bob.close()
