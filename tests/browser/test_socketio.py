"""Socket.IO clients in Chromium, from another origin than the relay's, and WebRTC libraries over them."""

import asyncio
from contextlib import closing
from urllib.parse import quote_plus

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

POLLING = {"0.9": "xhr-polling"}
LIBRARIES = ("datachannel", "rtcmulticonnection")


async def visit(open_tab: OpenTab, site: str, relay: Relay, version: str, transports: str, library: str) -> Tab:
    address = f"{relay.http}/?room={library}-{version}" if version != "4" else relay.http
    query = f"version={version}&library={library}&transports={quote_plus(transports)}"
    tab = await open_tab(f"{site}/browser/pages/socketio.html?{query}", relay=address, strict=False)
    await tab.until("isConnected()")
    return tab


async def test_the_libraries_over_each_version(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    # All at the same time: the libraries mostly wait.
    await asyncio.gather(
        *[
            _talk(open_tab, tests_site, fleet, version, transports, library)
            for version in ("4", "3", "2", "1", "0.9")
            for library, transports in zip(LIBRARIES, ("websocket", POLLING.get(version, "polling")), strict=True)
        ]
    )


async def _talk(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay], version: str, transports: str, library: str
) -> None:
    a, b = [await visit(open_tab, site, relay, version, transports, library) for relay in fleet]
    assert await a.run("transport()") == transports
    room = f"{library}-{version}"
    assert not await b.run("room => testChannelPresence(room + '!')", room)
    await a.run("room => void connection.open(room)", room)
    await b.run("room => void connection.connect(room)", room)
    for tab in (a, b):
        await tab.until("opened.length === 1", timeout=25)
    await a.run("connection.send('from a: \\u2603')")
    assert await b.until("heard[0]") == "from a: \u2603"


async def test_the_default_transports_end_on_a_websocket(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    for version in ("4", "2"):
        tab = await visit(open_tab, tests_site, fleet[0], version, "polling websocket", "datachannel")
        await tab.until("transport() === 'websocket'")


async def test_a_page_that_has_the_client_of_its_server(open_tab: OpenTab, tests_site: str) -> None:
    script = f"{tests_site}/conformance/node_modules/socket.io-client-4/dist/socket.io.js"
    with closing(Relay(socketio_client_url=script)) as relay:
        await relay.ready()
        ann, ben = [
            await open_tab(f"{tests_site}/browser/pages/moved.html", relay=relay.http, strict=False) for _ in range(2)
        ]
        for tab in (ann, ben):
            await tab.until("socket.connected")
        await ann.run("void socket.emit('message', 'from ann')")
        await ben.until("heard[0] === 'from ann'")
