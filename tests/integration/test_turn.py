"""TURN credentials of real workers: which clients get them, when they are renewed, and that coturn takes them."""

import json
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest

from relay.client import join
from relay.model.names import escape_peer
from relay.turn import TurnServers
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Relay, eventually
from tests.gateways.drivers.plain_http import EventStream
from tests.integration.socketio import OverWebSocket
from tests.turn_client import TurnClient
from tests.turn_server import DEPLOYED, TurnServer

SECRET = "secret-of-a-turn-server"
TURN = {"turn_servers": "turn:127.0.0.1:3478", "turn_secret": SECRET, "ice_servers": "stun:127.0.0.1:3478"}


def user(servers: list[Any]) -> tuple[int, str]:
    """The end and the peer of the credential in a list of servers."""
    stun, turn = servers
    assert stun == {"urls": "stun:127.0.0.1:3478"}
    expected = TurnServers(
        ["turn:127.0.0.1:3478"], SECRET, ttl=0, now=lambda: float(turn["username"].partition(":")[0])
    )
    peer = turn["username"].partition(":")[2]
    assert turn["credential"] == expected.server(peer).credential
    return int(turn["username"].partition(":")[0]), peer


async def test_native_clients_get_credentials_when_they_join_and_new_ones_before_these_end(
    start: MakeRelay, enter: MakeClient
) -> None:
    relay = await start(turn_ttl=2, **TURN)
    ann, watching = await enter(relay, "/rooms/r?peer=a%3Ab"), await enter(relay, "/rooms/r?observe=presence")
    ends, peer = user(ann.welcome["iceServers"])
    assert peer == "a:b"
    (renewed,) = await ann.until(lambda event: event.get("type") == "ice")
    assert time.time() < ends + 1
    later, peer = user(renewed["iceServers"])
    assert (later > ends, peer, renewed["ttl"]) == (True, "a:b", 2)
    assert "iceServers" not in watching.welcome
    assert [event for event in await watching.all_up_to_now() if event["type"] == "ice"] == []
    assert await relay.metric("relay_turn_credentials_total", way="welcome") == 1
    assert await relay.metric("relay_turn_credentials_total", way="renewal") >= 1


async def test_the_python_client_has_the_newest_servers(start: MakeRelay) -> None:
    relay = await start(turn_ttl=2, **TURN)
    async with join(relay.ws, "r", peer="ann") as room:
        first = user(list(room.ice_servers))
        assert first[1] == "ann"
        await eventually(lambda: user(list(room.ice_servers))[0] > first[0])


async def test_socketio_clients_get_them_as_an_event(start: MakeRelay) -> None:
    relay = await start(turn_ttl=2, **TURN)
    client = await OverWebSocket.open(relay)
    await client.enter()
    ends = []
    for _ in range(2):
        name, servers = json.loads(str(await client.next()).removeprefix("42"))
        assert (name, servers["ttl"]) == ("relay:ice", 2)
        ends.append(user(servers["iceServers"])[0])
    assert ends == sorted(set(ends))
    client.lose()


async def test_a_reader_of_an_event_stream_gets_them_in_its_welcome_and_as_an_event(start: MakeRelay) -> None:
    relay = await start(turn_ttl=2, **TURN)
    stream = await EventStream.open(relay.port, "/rooms/r/events?peer=ann")
    seen = {}
    while "ice" not in seen:
        name, fields = await stream.next()
        seen[name] = fields
    assert user(seen["welcome"]["iceServers"])[1] == "ann"
    assert user(seen["ice"]["iceServers"])[0] > user(seen["welcome"]["iceServers"])[0]
    await stream.drop()


# coturn.


@pytest.fixture
async def turn_server() -> AsyncIterator[TurnServer]:
    server = TurnServer()
    try:
        yield await server.ready()
    finally:
        server.close()


@pytest.fixture
async def relay(start: MakeRelay, turn_server: TurnServer) -> Relay:
    return await start(turn_servers=turn_server.url, turn_secret=turn_server.secret)


async def server_for(relay: Relay, peer: str) -> dict[str, Any]:
    answer = (await relay.get(f"/turn?peer={quote(peer, safe='')}", headers=relay.authorised)).json()
    server: dict[str, Any]
    (server,) = answer["iceServers"]
    return server


async def credential(relay: Relay, peer: str) -> tuple[str, str]:
    server = await server_for(relay, peer)
    return server["username"], server["credential"]


@pytest.mark.gateways
async def test_coturn_takes_the_credentials_of_all_peer_ids(relay: Relay, turn_server: TurnServer) -> None:
    for peer in ("ann", "a:b:c", "7:8", "Zoë 'x' \\ \"y\"", "x" * 255, "☃" * 220, "union select", "100%"):
        username, password = await credential(relay, peer)
        with TurnClient(turn_server.port, username, password) as client:
            assert await client.allocate() == 0, peer
        assert username.endswith(f":{escape_peer(peer)}") or len(username.partition(":")[2]) == 64


@pytest.mark.gateways
async def test_coturn_refuses_other_credentials(relay: Relay, turn_server: TurnServer) -> None:
    username, password = await credential(relay, "ann")
    past = TurnServers([turn_server.url], turn_server.secret, ttl=60, now=lambda: time.time() - 120).server("ann")
    # One that says that it ends later, one with another password, one that has ended.
    for name, word in ((f"9{username}", password), (username, password[::-1]), (past.username, past.credential)):
        with TurnClient(turn_server.port, name, word) as client:
            assert await client.allocate() == 401


@pytest.mark.gateways
async def test_coturn_as_it_is_deployed_sends_to_public_addresses_alone(relay: Relay, turn_server: TurnServer) -> None:
    forbidden = 403
    with TurnClient(turn_server.port, *await credential(relay, "ann")) as client:
        assert await client.allocate() == 0
        for peer in ("8.8.8.8", "172.32.0.1", "100.128.0.1", "223.255.255.1"):
            assert await client.permit(peer) == 0, peer
        for peer in ("10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "224.0.0.1", "0.0.0.1"):
            assert await client.permit(peer) == forbidden, peer


@pytest.mark.gateways
async def test_coturn_bounds_the_connections_of_a_peer_id_whichever_credential_it_shows(
    turn_server: TurnServer,
) -> None:
    (most,) = map(int, re.findall(r"^user-quota=(\d+)$", (DEPLOYED / "turnserver.conf").read_text(), re.MULTILINE))
    codes = []
    with ExitStack() as stack:
        for number in range(most + 1):
            made = TurnServers([turn_server.url], turn_server.secret, ttl=60 + number).server("a:b")
            client = stack.enter_context(TurnClient(turn_server.port, made.username, made.credential))
            codes.append(await client.allocate())
    quota_reached = 486
    assert codes == [0] * most + [quota_reached]


@pytest.mark.gateways
async def test_coturn_takes_the_credentials_over_tls_as_well(start: MakeRelay) -> None:
    turn_server = TurnServer(tls=True)
    try:
        await turn_server.ready()
        urls = [turn_server.url, turn_server.tls_url]
        relay = await start(turn_servers=",".join(urls), turn_secret=turn_server.secret)
        server = await server_for(relay, "ann")
        assert server["urls"] == urls
        for password, expected in ((server["credential"], 0), (server["credential"][::-1], 401)):
            with TurnClient(turn_server.tls_port, server["username"], password, trust=turn_server.trust()) as client:
                assert await client.allocate() == expected
        with pytest.raises(ssl.SSLCertVerificationError):
            TurnClient(turn_server.tls_port, "", "", trust=ssl.create_default_context())
    finally:
        turn_server.close()
