"""PeerJS pages in Chromium, of three versions and unmodified, whose peers are on two workers."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.conftest import PATIENT, OpenTab, Tab
from tests.conformance.sio import require_packages
from tests.documentation import snippet
from tests.fleet import Client, RedisServer, Relay, eventually
from tests.gateways.driver import Heard
from tests.gateways.drivers.plain_http import EventsDriver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def visit(open_tab: OpenTab, site: str, relay: Relay, version: str, name: str, room: str = "") -> Tab:
    """Open a page, and a `Peer` in it."""
    require_packages("peerjs", "peerjs-1.0", "peerjs-0.3")
    address = f"{site}/browser/pages/peerjs.html?version={version}&room={room or f'peerjs-{version}'}"
    tab = await open_tab(address, relay=relay.http, strict=False)
    await tab.run("name => open(name)", name)
    await tab.until("name => happened.includes('open ' + name)", name)
    return tab


async def talk(caller: Tab, called: Tab, name: str, options: object) -> None:
    """Open a data channel, and say something in both directions."""
    await caller.run("([to, options]) => connect(to, options)", [name, options])
    for tab in (caller, called):
        await tab.until("happened.includes('connected')")
    await caller.run("connection.send({ text: '\\u2603', list: [1, null] })")
    assert await called.until("heard.pop()") == {"text": "\u2603", "list": [1, None]}
    await called.run("connection.send('back')")
    assert await caller.until("heard.pop()") == "back"


@pytest.mark.smoke
async def test_a_data_channel(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    a, b = [
        await visit(open_tab, tests_site, relay, "1.5", name, "smoke")
        for relay, name in zip(fleet, ("a", "b c"), strict=True)
    ]
    await talk(a, b, "b c", {"metadata": {"x": 1}})
    assert await b.run("connection.metadata") == {"x": 1}


@pytest.mark.parametrize(("version", "other"), [("1.5", "1.5"), ("1.0", "1.0"), ("0.3", "0.3"), ("0.3", "1.5")])
async def test_each_version(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay], version: str, other: str
) -> None:
    room = f"each-{version}-{other}"
    a = await visit(open_tab, tests_site, fleet[0], version, "a", room)
    b = await visit(open_tab, tests_site, fleet[1], other, "b", room)
    await talk(a, b, "b", {"reliable": True})
    await a.run("callUp('b')")
    for tab in (a, b):
        await tab.until("happened.includes('stream')")
    assert await b.run("stream.getTracks().length") == 2
    await a.run("call.close()")
    if version == other == "1.5":
        await b.until("happened.includes('hung up')")
    # The peer leaves, and its id is free at once.
    await a.run("peer.destroy()")
    await a.until("happened.includes('destroyed')")
    await visit(open_tab, tests_site, fleet[1], version, "a", room)


@pytest.mark.parametrize(("version", "form"), [("1.0", "none"), ("0.3", "none"), ("0.3", "binary-utf8")])
async def test_serializations_of_old_versions(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay], version: str, form: str
) -> None:
    a, b = [
        await visit(open_tab, tests_site, relay, version, name, f"{form}-{version}")
        for relay, name in zip(fleet, "ab", strict=True)
    ]
    await a.run("form => connect('b', { serialization: form, reliable: true })", form)
    await asyncio.gather(*[tab.until("happened.includes('connected')") for tab in (a, b)])
    await a.run("connection.send('text \\u2603')")
    assert await b.until("heard.pop()") == "text \u2603"


async def test_all_serializations(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    a, b = [
        await visit(open_tab, tests_site, relay, "1.5", name, "forms")
        for relay, name in zip(fleet, "ab", strict=True)
    ]  # fmt: skip
    for form, sent, expected in (
        ("binary", "new Uint8Array([1, 2, 3]).buffer", [1, 2, 3]),
        ("binary-utf8", "'text \\u2603'", "text \u2603"),
        ("json", "({ a: [1, { b: null }] })", {"a": [1, {"b": None}]}),
        ("raw", "'raw'", "raw"),
        ("default", "({ a: [1, null] })", {"a": [1, None]}),
    ):
        for tab in (a, b):
            await tab.run("happened.length = 0")
        await a.run("form => connect('b', { serialization: form })", form)
        await asyncio.gather(*[tab.until("happened.includes('connected')") for tab in (a, b)])
        await a.run(f"connection.send({sent})")
        assert await b.until("heard.pop()") == expected
        await a.run("connection.close()")
        await b.until("happened.includes('closed')")


async def test_an_id_is_taken_and_a_server_is_away(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    first = await visit(open_tab, tests_site, fleet[0], "1.5", "taken", "ids")
    second = await visit(open_tab, tests_site, fleet[1], "1.5", "second", "ids")
    await second.run("happened.length = 0; open('taken')")
    await second.until("happened.includes('error unavailable-id')")
    await second.until("happened.includes('destroyed')")
    await first.run("peer.disconnect()")
    await first.until("happened.includes('disconnected')")
    await first.run("happened.length = 0; peer.reconnect()")
    await first.until("happened.includes('open taken')")
    await first.run("happened.length = 0; peer.connect('nobody')")
    await first.until("happened.includes('error peer-unavailable')")
    assert await first.run("peer.open")
    await second.run("happened.length = 0; open('x', { port: 1 })")
    await second.until("happened.includes('error network')")


async def test_a_page_that_is_loaded_anew_has_its_id(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    tab = await visit(open_tab, tests_site, fleet[0], "1.5", "anew", "anew")
    await tab.page.reload()
    await tab.run("open('anew')")
    await tab.until("happened.includes('open anew')")


async def test_the_snippets_of_the_page(open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]) -> None:
    require_packages("peerjs")
    printed: list[str] = []
    relayed = snippet("peerjs-relay")
    bob = await visit(open_tab, tests_site, fleet[1], "1.5", "bob", "lobby")
    native = await Client.open(f"{fleet[1].ws}/rooms/lobby?peer=nat")
    tab = await open_tab(f"{tests_site}/browser/pages/blank.html", strict=False)
    tab.page.on("console", lambda message: printed.append(message.text))
    page = snippet("peerjs").replace("'localhost', port: 8888", f"'127.0.0.1', port: {fleet[0].port}")
    page = page.replace('src="peerjs.min.js"', f'src="{tests_site}/conformance/node_modules/peerjs/dist/peerjs.min.js"')
    await tab.page.set_content(f"<!doctype html><body>{page}<script>{relayed}</script></body>")
    message = await native.next()
    assert (message["from"], message["channel"], message["message"]) == ("alice", "chat", "hello")
    assert await bob.until("heard[0]") == "hello"
    await native.send({"message": "hello, alice"})
    await eventually(lambda: any("nat" in line for line in printed))
    await native.close()


async def native_page(open_tab: OpenTab, site: str, relay: Relay, room: str) -> Tab:
    """Open the native client of the documentation, the peer "nat", which answers PeerJS pages."""
    page = snippet("peerjs-native").replace("ws://localhost:8888/rooms/lobby", f"{relay.ws}/rooms/{room}")
    tab = await open_tab(f"{site}/browser/pages/blank.html", strict=False)
    collecting = "const heard = []; socket.addEventListener('message', (event) => heard.push(JSON.parse(event.data)));"
    await tab.page.set_content(f"<!doctype html><body>{page}<script>{collecting}</script></body>")
    await tab.until("heard[0]?.type === 'welcome'")
    return tab


async def socketio_page(open_tab: OpenTab, site: str, relay: Relay, room: str) -> Tab:
    require_packages("socket.io-client-4")
    address = f"{site}/browser/pages/socketio.html?version=4&library=datachannel&transports=websocket"
    tab = await open_tab(address, relay=f"{relay.http}/rooms/{room}", strict=False)
    await tab.run("void socketio.on('message', ({ message }) => heard.push(message))")
    await tab.until("isConnected()")
    return tab


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[EventsDriver]:
    """A client with an event stream and posts."""
    driver = EventsDriver()
    yield driver
    await driver.drop()


async def test_clients_of_four_protocols_in_one_room(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay], http: EventsDriver
) -> None:
    here, there = fleet
    room = "four-protocols"
    page = await visit(open_tab, tests_site, here, "1.5", "page", room)
    await page.run(
        "void peer.socket.on('message', ({ type, payload }) => type === 'RELAY' && heard.push(payload.message))"
    )
    native = await native_page(open_tab, tests_site, there, room)
    socketio = await socketio_page(open_tab, tests_site, here, room)
    await http.open(there, room)
    await page.run("peer.socket.send({ type: 'RELAY', payload: { message: 'of PeerJS' } })")
    await native.run("socket.send(JSON.stringify({ message: 'of the native protocol' }))")
    await socketio.run("void socketio.emit('message', { message: 'of Socket.IO' })")
    await http.send("of plain HTTP")
    names = {"of PeerJS", "of the native protocol", "of Socket.IO", "of plain HTTP"}
    said = "heard.filter((one) => one.message).map((one) => one.message)"
    for tab, own, list_ in ((page, "of PeerJS", "heard"), (native, "of the native protocol", said),
                            (socketio, "of Socket.IO", "heard")):  # fmt: skip
        assert set(await tab.until(f"{list_}.length >= 3 && {list_}")) == names - {own}
    events = [await http.next() for _ in range(3)]
    assert {event.data for event in events if isinstance(event, Heard)} == names - {"of plain HTTP"}
    # And the native client is called.
    await page.run("heard.length = 0; connect('nat', { serialization: 'raw' })")
    await page.until("happened.includes('connected')")
    await page.run("connection.send('\u2603')")
    assert await page.until("heard.pop()") == "nat has heard: \u2603"


@pytest_asyncio.fixture(loop_scope="session")
async def listing(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    """Two workers that list the peers of a room."""
    common: dict[str, Any] = {"redis_url": redis_server.url, "redis_prefix": f"relay:listing{os.getpid()}", **PATIENT}
    relays = Relay(peerjs_discovery="on", **common), Relay(peerjs_discovery="on", **common)
    for relay in relays:
        await relay.ready()
    yield relays
    for relay in relays:
        relay.close()


@pytest.mark.parametrize("version", ["1.5", "1.0", "0.3"])
async def test_the_list_of_peers(
    listing: tuple[Relay, Relay], open_tab: OpenTab, tests_site: str, version: str
) -> None:
    a, b = [
        await visit(open_tab, tests_site, relay, version, name, f"list-{version}")
        for relay, name in zip(listing, ("a", "b c"), strict=True)
    ]
    await a.run("peer.listAllPeers((ids) => heard.push(ids.sort()))")
    assert await a.until("heard[0]") == ["a", "b c"]
    assert await b.run("peer.open !== false && !peer.destroyed")


async def test_a_page_that_may_not_list_the_peers_is_told_so(
    open_tab: OpenTab, tests_site: str, fleet: tuple[Relay, Relay]
) -> None:
    tab = await visit(open_tab, tests_site, fleet[0], "1.5", "curious", "no-list")
    await tab.run("peer.listAllPeers((ids) => heard.push(ids))")
    await tab.until("happened.includes('error server-error')")
    assert await tab.run("heard") == []
