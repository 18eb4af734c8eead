"""A client without a token, or with one that is not enough: each cell of the table in docs/tokens.md is a test."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.documentation import marked, rows
from tests.fleet import Client, Json, Relay, eventually
from tests.gateways.driver import ClientDriver, NotAdmitted, Refused
from tests.gateways.drivers.bosh import BoshDriver
from tests.gateways.drivers.firebase import FirebaseDriver
from tests.gateways.drivers.native_http import NativeHttpDriver
from tests.gateways.drivers.plain_http import EventsDriver, PollDriver
from tests.gateways.drivers.rmc3 import Rmc3Driver
from tests.gateways.drivers.signalr import SignalRDriver
from tests.gateways.drivers.signalr_classic import ClassicPollDriver
from tests.gateways.drivers.sip import SipDriver
from tests.gateways.drivers.websync import WebSyncDriver
from tests.gateways.drivers.xhr_signaling import XhrDriver
from tests.gateways.drivers.xmpp import XmppDriver
from tests.integration.socketio import OverWebSocket
from tests.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "docs/tokens.md"
ROOM = "demo"
TOKENS = {
    "without": "",
    "wrong": token("x" * 32, rooms=[ROOM]),
    "expired": token(ttl=-60, rooms=[ROOM]),
    "another room": token(rooms=["other"]),
    "silent": token(rooms=[{"room": f"{ROOM}*", "can": ["join", "observe", "presence"]}]),
    "good": token(rooms=[{"room": f"{ROOM}*", "can": ["join", "observe", "presence", "publish"]}]),
}
"""The tokens of the columns, in their order; the last one is in none."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay() -> AsyncIterator[Relay]:
    relay = Relay(auth="required", auth_secret=SECRET, url_tokens="on")
    yield await relay.ready()
    relay.close()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"} if text else {}


async def _native(url: str, *first: Json, message: Json | None = None, **options: Any) -> str:
    """Connect and send; return the code of the first error, with the close code that follows, or "" for none."""
    client = Client(await connect(url, compression=None, proxy=None, **options))
    errors: list[str] = []

    def is_last(event: Json) -> bool:
        errors.extend([event["code"]] if event["type"] == "error" else [])
        return event["type"] == "pong"

    try:
        with suppress(ConnectionClosed):
            for command in (*first, *([message] if message else []), {"type": "ping"}):
                await client.send(command)
        await client.until(is_last)
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return f"`{errors[0]}`, close {closed.rcvd.code}"
    finally:
        client.lose()
    return f"`{errors[0]}`" if errors else ""


async def native_program(relay: Relay, text: str) -> str:
    url = f"{relay.ws}/rooms/{ROOM}"
    return await _native(url, subprotocols=["relay.v1"], additional_headers=bearer(text), message={"n": 1})


async def native_page(relay: Relay, text: str) -> str:
    offered = ["relay.v1", *([f"token.{text}"] if text else [])]
    return await _native(f"{relay.ws}/rooms/{ROOM}", subprotocols=offered, message={"n": 1})


async def plain_websocket(relay: Relay, text: str) -> str:
    return await _native(f"{relay.ws}/rooms/{ROOM}?token={text}", message={"n": 1})


async def y_webrtc(relay: Relay, text: str) -> str:
    subscribe = {"type": "subscribe", "topics": ["notes"]}
    message = {"type": "publish", "topic": "notes", "data": 1}
    return await _native(f"{relay.ws}/rooms/{ROOM}?token={text}", subscribe, message=message)


async def observer(relay: Relay, text: str) -> str:
    return await _native(f"{relay.ws}/rooms/{ROOM}?observe=presence", additional_headers=bearer(text))


async def socketio_4(relay: Relay, text: str) -> str:
    client = await OverWebSocket.open(relay, query=f"EIO=4&room={ROOM}")
    try:
        await client.send(f"40{json.dumps({'token': text} if text else {})}")
        answer = str(await client.next())
        if answer.startswith("44"):
            return f"`{json.loads(answer[2:])['data']['code']}`"
        return await _emit(client)
    finally:
        client.lose()


async def socketio_2(relay: Relay, text: str) -> str:
    client = await OverWebSocket.open(relay, query=f"EIO=3&room={ROOM}&token={text}")
    try:
        answer = str(await client.next())
        if answer.startswith("44"):
            assert "token" in json.loads(answer[2:])
            return "text"
        return await _emit(client)
    finally:
        client.lose()


async def _emit(client: OverWebSocket) -> str:
    answer = await client.ask("message", 1)
    return f"`{answer['error']['code']}`" if "error" in answer else ""


async def socketio_09(relay: Relay, text: str) -> str:
    query = f"room={ROOM}&token={text}"
    sid = (await relay.get(f"/socket.io/1/?{query}")).text.partition(":")[0]
    async with connect(f"{relay.ws}/socket.io/1/websocket/{sid}?{query}", proxy=None) as socket:
        packet = str(await socket.recv())
        if packet == "1::":
            await socket.send('5:1+::{"name":"message","args":[1]}')
            packet = str(await socket.recv())
        if packet.startswith("7:"):
            return f"number {packet[-1]}"
        assert packet.startswith("6:::1+")
        [answer] = json.loads(packet.removeprefix("6:::1+"))
        return f"`{answer['error']['code']}`" if "error" in answer else ""


async def simplewebrtc(relay: Relay, text: str) -> str:
    client = await OverWebSocket.open(relay, query=f"EIO=3&dialect=signalmaster&token={text}")
    try:
        if str(await client.next()).startswith("44"):
            return "text"
        for event in (["join", ROOM], ["relay", {"n": 1}]):
            await client.send(f"427{json.dumps(event)}")
            error = json.loads(str(await client.next()).removeprefix("437"))[0]
            if error is not None:
                return f"`{error}`"
        return ""
    finally:
        client.lose()


async def peerjs(relay: Relay, text: str) -> str:
    query = f"key={text or 'peerjs'}&id=ann&token=secret&version=1.5.5"
    async with connect(f"{relay.ws}/rooms/{ROOM}/peerjs?{query}", proxy=None) as socket:
        frame = json.loads(await socket.recv())
        if frame["type"] == "ERROR":
            return f"`ERROR` with `{frame['payload']['code']}`"
        await socket.send('{"type":"RELAY","payload":{"n":1}}')
        # The relay answers one frame after the other.
        await socket.send('{"type":"OPEN"}')
        code = json.loads(await socket.recv())["payload"]["code"]
        return "" if code == "unknown_command" else f"`{code}`"


async def http_get(relay: Relay, text: str) -> str:
    return _outcome(await relay.get(f"/rooms/{ROOM}", headers=bearer(text)))


async def http_post(relay: Relay, text: str) -> str:
    async with httpx.AsyncClient() as client:
        return _outcome(await client.post(f"{relay.http}/rooms/{ROOM}", json={"n": 1}, headers=bearer(text)))


def _outcome(response: httpx.Response) -> str:
    if response.is_success:
        return ""
    return f"HTTP {response.status_code} `{response.json()['error']['code']}`"


async def driven(driver: ClientDriver, relay: Relay, text: str) -> str:
    """Enter as a client of the behaviour table, and send if the token is too narrow; return the code of the error."""
    driver.token = text
    try:
        # A room of its own: some drivers wait until they are counted as members.
        await driver.open(relay, f"{ROOM}-{type(driver).__name__}")
        if text == TOKENS["good"]:
            return ""
        await driver.send(1)
        event = await driver.next()
        return f"`{event.code}`" if isinstance(event, Refused) else ""
    except NotAdmitted as refused:
        return f"`{refused.code}`"
    finally:
        await driver.drop()


CLIENTS: dict[str, Callable[[Relay, str], Awaitable[str]]] = {
    "Native protocol, program": native_program,
    "Native protocol, page": native_page,
    "Plain WebSocket, address": plain_websocket,
    "y-webrtc": y_webrtc,
    "Observer": observer,
    "Socket.IO 3 and 4": socketio_4,
    "Socket.IO 1 and 2": socketio_2,
    "Socket.IO 0.9": socketio_09,
    "SimpleWebRTC": simplewebrtc,
    "PeerJS": peerjs,
    "`GET /rooms/NAME`": http_get,
    "`POST /rooms/NAME`": http_post,
}
DRIVEN: dict[str, Callable[[], ClientDriver]] = {
    "Native protocol over HTTP": NativeHttpDriver,
    "Plain HTTP, event stream": EventsDriver,
    "Plain HTTP, polls": PollDriver,
    "XHR-Signaling": XhrDriver,
    "RTCMultiConnection 3": Rmc3Driver,
    "SignalR 2.x": ClassicPollDriver,
    "SignalR of ASP.NET Core": SignalRDriver,
    "WebSync": WebSyncDriver,
    "Firebase": FirebaseDriver,
    "XMPP": XmppDriver,
    "XMPP over BOSH": BoshDriver,
    "SIP": SipDriver,
}
"""The further rows: clients of the behaviour table."""

TABLE = {row[0]: dict(zip(TOKENS, [*row[1:], ""], strict=True)) for row in rows(marked(PAGE, "refusals"))}


async def test_the_table_has_a_row_for_each_client() -> None:
    assert list(TABLE) == [*CLIENTS, *DRIVEN]


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_cell_of_the_table(relay: Relay, name: str, kind: str) -> None:
    assert await CLIENTS[name](relay, TOKENS[kind]) == TABLE[name][kind]


@pytest.mark.gateways
@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("name", DRIVEN)
async def test_a_cell_of_the_table_for_a_client_of_the_behaviour_table(relay: Relay, name: str, kind: str) -> None:
    assert await driven(DRIVEN[name](), relay, TOKENS[kind]) == TABLE[name][kind]


async def test_no_token_is_in_the_log_or_in_the_metrics(relay: Relay) -> None:
    """The last test: the log is that of all of them."""
    await eventually(lambda: "a token that is not valid" in relay.logged)
    for text in filter(None, TOKENS.values()):
        for part in text.split(".")[1:]:
            assert part not in relay.logged
            assert part not in (await relay.get("/metrics", headers=relay.authorised)).text
