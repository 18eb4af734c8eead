"""Calls of two pages through a real TURN server, also over TLS, and a credential that has ended."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from relay.turn import TurnServers
from tests.browser.conftest import PATIENT, OpenTab, Tab, launch, tabs_of, trusting
from tests.fleet import RedisServer, Relay
from tests.turn_server import TurnServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def turn_server() -> AsyncIterator[TurnServer]:
    server = TurnServer()
    try:
        yield await server.ready()
    finally:
        server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def couple(redis_server: RedisServer, turn_server: TurnServer) -> AsyncIterator[tuple[Relay, Relay]]:
    """Two workers that make credentials of the TURN server; they renew them each second."""
    relays = workers(redis_server, turn_server, turn_ttl=2)
    try:
        for relay in relays:
            await relay.ready()
        yield relays
    finally:
        for relay in relays:
            relay.close()


def workers(redis_server: RedisServer, turn_server: TurnServer, **settings: Any) -> tuple[Relay, Relay]:
    """Start two workers that make credentials of the TURN server."""
    turn = {"turn_servers": turn_server.url, "turn_secret": turn_server.secret} | settings
    common = {"redis_url": redis_server.url, "redis_prefix": f"relay:turn-{turn_server.port}", **PATIENT}
    return Relay(**common, **turn), Relay(**common, **turn)


MEET = """async ([name, peer]) => {
    await come(name, peer);
    window.renewed = 0;
    room.on('ice', () => renewed++);
    window.said = [];
    mesh = relay.mesh(room, { iceTransportPolicy: 'relay' });
    mesh.on('state', ({ connection }) => {
        if (window.channel) return;
        window.connection = connection;
        window.channel = connection.createDataChannel('talk', { negotiated: true, id: 7 });
        channel.onmessage = ({ data }) => window.said.push(data);
    });
}"""

ROUTE = """async () => {
    const stats = [...(await connection.getStats()).values()];
    const pair = stats.find(({ type, nominated }) => type === 'candidate-pair' && nominated);
    const find = (id) => stats.find((one) => one.id === id);
    const kind = (id) => find(id).candidateType;
    const name = (id) => find(id).relayProtocol;
    return pair && [kind(pair.localCandidateId), kind(pair.remoteCandidateId), name(pair.localCandidateId)];
}"""
"""The kinds of both ends of the route in use, and the protocol between this page and its TURN server."""


async def meet(open_tab: OpenTab, site: str, relays: tuple[Relay, Relay]) -> tuple[Tab, Tab]:
    """Open two pages, on both workers, between which a message has come through the TURN server."""
    ann, ben = [await open_tab(f"{site}/pages/talk.html", relay=[relay.ws]) for relay in relays]
    await asyncio.gather(ann.run(MEET, ["relayed", "ann"]), ben.run(MEET, ["relayed", "ben"]))
    for tab in (ann, ben):
        await tab.until("window.channel?.readyState === 'open'")
    await ann.run("channel.send('by TURN')")
    assert await ben.until("window.said[0]") == "by TURN"
    return ann, ben


async def test_two_pages_talk_through_the_turn_server_alone(
    open_tab: OpenTab, site: str, couple: tuple[Relay, Relay]
) -> None:
    ann, ben = await meet(open_tab, site, couple)
    assert await ann.until(f"({ROUTE})()") == ["relay", "relay", "udp"]
    # New credentials come over the connection, and the call has them for a restart of ICE.
    await ann.until("renewed > 0")
    assert await ann.run("connection.getConfiguration().iceServers[0].username") == await ann.run(
        "room.iceServers[0].username"
    )
    await ann.run("connection.restartIce()")
    await ben.run("channel.send('and again')")
    assert await ann.until("window.said[0]") == "and again"


async def test_two_pages_talk_through_the_turn_server_over_tls(site: str, redis_server: RedisServer) -> None:
    turn_server = TurnServer(tls=True)
    async with AsyncExitStack() as stack:
        stack.callback(turn_server.close)
        await turn_server.ready()
        relays = workers(redis_server, turn_server, turn_servers=turn_server.tls_url)
        for relay in relays:
            stack.callback(relay.close)
            await relay.ready()
        playwright = await stack.enter_async_context(async_playwright())
        browser = await launch(playwright, trusting(turn_server.issued))
        stack.push_async_callback(browser.close)
        open_tab = await stack.enter_async_context(tabs_of(browser))
        ann, _ = await meet(open_tab, site, relays)
        assert await ann.until(f"({ROUTE})()") == ["relay", "relay", "tls"]


GATHER = """async (iceServers) => {
    const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' });
    const [found, errors] = [[], []];
    connection.createDataChannel('x');
    connection.onicecandidateerror = ({ errorCode }) => errors.push(errorCode);
    const done = new Promise((resolve) => {
        connection.onicecandidate = ({ candidate }) => {
            if (candidate?.candidate) found.push(candidate.type);
            if (!candidate) resolve();
        };
    });
    await connection.setLocalDescription();
    await done;
    connection.close();
    return [[...new Set(found)], [...new Set(errors)]];
}"""


async def test_a_credential_that_has_ended_is_refused(open_tab: OpenTab, site: str, turn_server: TurnServer) -> None:
    tab = await open_tab(f"{site}/pages/blank.html")
    for age, expected in ((0, [["relay"], []]), (120, [[], [401]])):
        servers = TurnServers([turn_server.url], turn_server.secret, ttl=60, now=lambda age=age: time.time() - age)
        assert await tab.run(GATHER, [msgspec.to_builtins(servers.server("ann"))]) == expected
