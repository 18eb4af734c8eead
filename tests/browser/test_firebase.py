"""RTCMultiConnection 2.2.5 and DataChannel.js with their own signaling, Firebase, in Chromium, on two workers."""

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]


async def visit(open_tab: OpenTab, site: str, relay: Relay) -> Tab:
    """Open a page whose address of Firebase leads to this worker; Chromium resolves the name by itself."""
    address = f"http://demo.relay.localhost:{relay.port}"
    # The library's last line is for modules, and fails in a page.
    return await open_tab(f"{site}/pages/firebase.html", strict=False, relay=address)


async def talk(a: Tab, b: Tab) -> None:
    for tab in (a, b):
        await tab.until("opened.length === 1", timeout=40)
    await a.run("connection.send('from a: \\u2603')")
    await b.run("connection.send('from b')")
    assert await b.until("heard[0]") == "from a: \u2603"
    assert await a.until("heard[0]") == "from b"


async def test_rtcmulticonnection_opens_a_data_channel(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    a, b = [await visit(open_tab, site, relay) for relay in fleet]
    await a.run("void multi('firebase-multi').open('session')")
    await b.run("void multi('firebase-multi').connect('session')")
    await talk(a, b)


async def test_datachannel_finds_who_is_there_and_opens_a_data_channel(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    a, b = [await visit(open_tab, site, relay) for relay in fleet]
    await a.run("void channel('firebase-channel')")
    # The second page comes when the first one has announced its session.
    await a.until("connection.isInitiator === true && connection.socket")
    await b.run("void channel('firebase-channel')")
    await talk(a, b)
