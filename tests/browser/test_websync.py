"""WebSync: the snippets of the documentation in Chromium, with a stand-in for the client, which is in no registry."""

import re

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]


async def visit(open_tab: OpenTab, site: str, relay: Relay, name: str, room: str, page: str = "websync.html") -> Tab:
    """Open a page, and run a snippet in it, with the address of the relay."""
    tab = await open_tab(f"{site}/pages/{page}", strict=False)
    if page == "blank.html":
        await tab.page.add_script_tag(url=f"{site}/pages/websync.js")
    await tab.run(
        "void (window.logged = [], window.TOKEN = 'nonsense', console.log = (...said) => logged.push(said.join(' ')))"
    )
    script = re.sub(r"</?script>", "", snippet(name)).replace(
        "http://localhost:8888/rooms/lobby", f"{relay.http}{room}"
    )
    await tab.page.add_script_tag(content=script)
    return tab


async def talk(a: Tab, b: Tab) -> None:
    for tab in (a, b):
        await tab.until("client.sessionId")
    await a.run("void connection.open('websync')")
    await b.run("void connection.connect('websync')")
    for tab in (a, b):
        await tab.until("opened.length > 0", timeout=40)
    await a.run("connection.send('from a: \\u2603')")
    await b.run("connection.send({ deep: [1] })")
    assert await b.until("heard[0]") == "from a: \u2603"
    assert await a.until("heard[0]") == {"deep": [1]}
    assert await a.run("client.errors") == await b.run("client.errors") == []


@pytest.mark.smoke
async def test_pages_with_rtcmulticonnection_connect_on_different_workers(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    await talk(*[await visit(open_tab, site, relay, "websync", "/rooms/websync") for relay in fleet])


async def test_pages_with_datachannel_connect_on_different_workers(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    await talk(*[await visit(open_tab, site, relay, "websync", "", "websync.html#datachannel") for relay in fleet])


async def test_pages_and_plain_websockets_hear_each_other(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    native = await Client.open(f"{fleet[1].ws}/rooms/websync-bridge?presence=1")
    tab = await visit(open_tab, site, fleet[0], "websync", "/rooms/websync-bridge")
    await native.until(lambda event: any("/chat" in str(info) for info in event.get("info", {}).values()))
    await tab.run(
        "void (window.socket = connection.openSignalingChannel({ channel: 'c', onmessage: (x) => heard.push(x) }))"
    )
    await native.ask({"channel": "c", "message": {"from": "native"}, "sender": "native"})
    assert await tab.until("heard[0]") == {"from": "native"}
    await tab.run("socket.send({ from: 'page' })")
    [*_, heard] = await native.until(lambda event: event.get("channel") == "c")
    assert heard["message"] == {"from": "page"}
    assert heard["sender"] == await tab.run("username")
    await native.close()


async def test_the_page_of_the_documentation_sees_users(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    bob = await Client.open(f"{fleet[1].ws}/rooms/websync-users?peer=bob")
    tab = await visit(open_tab, site, fleet[0], "websync-users", "/rooms/websync-users", "blank.html")
    await tab.until("logged.includes('here: bob')")
    carol = await Client.open(f'{fleet[0].ws}/rooms/websync-users?info={{"name":"Carol"}}')
    await tab.until("logged.includes('joined: Carol')")
    await bob.ask({"channel": "/chat", "message": {"plain": 1}})
    await tab.until("""logged.includes('received: {"plain":1}')""")
    await bob.close()
    await tab.until("logged.includes('left: bob')")
    await carol.close()


async def test_the_page_of_the_documentation_sends_its_token(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    tab = await visit(open_tab, site, fleet[0], "websync-token", "/rooms/websync-token", "blank.html")
    # Without auth, no token is looked at; tests/integration/test_websync.py has the answers with auth.
    await tab.until("logged.includes('connected')")
