"""The published test suites of the Engine.IO and Socket.IO protocols, case by case, under their names.

They expect a server that echoes. A relay sends a message to the others, so where they look for an echo, a second client
looks for the message, or the sender for its acknowledgement. https://github.com/socketio/engine.io-protocol and
https://github.com/socketio/socket.io-protocol, both in `test-suite`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay.config import Settings
from tests.fleet import Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

INTERVAL, TIMEOUT = 0.3, 0.2
QUERY = "/socket.io/?EIO=4&offsets=none&transport="
MAX_PAYLOAD = Settings().max_request * 15 // 16
KEYS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
BINARY = '452-["blob",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay() -> AsyncIterator[Relay]:
    relay = Relay(ping_interval=INTERVAL, ping_timeout=TIMEOUT, handshake_timeout=0.5, reconnect_grace=0)
    yield await relay.ready()
    relay.close()


@pytest_asyncio.fixture(loop_scope="module")
async def http(relay: Relay) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=relay.http, timeout=5) as client:
        yield client


Dial = Callable[..., Awaitable[ClientConnection]]


@pytest_asyncio.fixture(loop_scope="module")
async def dial(relay: Relay) -> AsyncIterator[Dial]:
    """Opens a WebSocket; `greeted` takes the packet that opens the session, and `entered` enters / as well."""
    async with AsyncExitStack() as stack:

        async def dial(query: str = QUERY + "websocket", *, greeted: bool = True, entered: bool = False) -> Any:
            socket = await connect(relay.ws + query, compression=None, ping_interval=None, proxy=None)
            stack.callback(socket.transport.abort)
            if greeted:
                await socket.recv()
            if entered:
                await socket.send("40")
                assert (await heard(socket)).startswith("40")
            return socket

        yield dial


async def heard(socket: ClientConnection) -> Any:
    """The next message; pings are answered."""
    while True:
        async with asyncio.timeout(5):
            message = await socket.recv()
        if message != "2":
            return message
        await socket.send("3")


async def closed(socket: ClientConnection) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionClosed):
            while True:
                await socket.recv()


async def session(http: httpx.AsyncClient, *, entered: bool = True) -> str:
    """Begin a session by polling; returns the address of its requests."""
    answer = await http.get(QUERY + "polling")
    url = f"{QUERY}polling&sid={json.loads(answer.text[1:])['sid']}"
    if entered:
        assert (await http.post(url, content="40")).text == "ok"
        assert (await polled(http, url)).startswith("40")
    return url


async def polled(http: httpx.AsyncClient, url: str) -> str:
    """The next packets that are not a ping, which is answered."""
    while True:
        answer = await http.get(url)
        assert answer.status_code == 200
        if answer.text != "2":
            return answer.text
        await http.post(url, content="3")


# Engine.IO, handshake.


async def test_polling_successfully_opens_a_session(http: httpx.AsyncClient) -> None:
    answer = await http.get(QUERY + "polling")
    assert answer.status_code == 200
    assert answer.text[0] == "0"
    opened = json.loads(answer.text[1:])
    assert set(opened) == KEYS
    assert opened["upgrades"] == ["websocket"]
    assert (opened["pingInterval"], opened["pingTimeout"], opened["maxPayload"]) == (300, 200, MAX_PAYLOAD)
    assert answer.headers["x-engine-sid"] == opened["sid"]


@pytest.mark.parametrize("query", ["transport=polling", "EIO=abc&transport=polling"])
async def test_polling_fails_with_an_invalid_eio_query_parameter(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/socket.io/?{query}")
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["message"]) == (5, "Unsupported protocol version")


@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
async def test_polling_fails_with_an_invalid_transport_query_parameter(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/socket.io/?{query}")
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["message"]) == (0, "Transport unknown")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_polling_fails_with_an_invalid_request_method(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, QUERY + "polling")
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["message"]) == (2, "Bad handshake method")


async def test_websocket_successfully_opens_a_session(dial: Dial) -> None:
    socket = await dial(greeted=False)
    data = await socket.recv()
    assert data[0] == "0"
    opened = json.loads(data[1:])
    assert set(opened) == KEYS
    assert opened["upgrades"] == []
    assert (opened["pingInterval"], opened["pingTimeout"], opened["maxPayload"]) == (300, 200, MAX_PAYLOAD)


@pytest.mark.parametrize(
    "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]
)
async def test_websocket_fails_with_an_invalid_eio_or_transport_query_parameter(dial: Dial, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await dial(f"/socket.io/?{query}")
    assert refused.value.response.status_code == 400


# Engine.IO, message.


async def test_polling_sends_and_receives_a_payload_containing_one_plain_text_packet(http: httpx.AsyncClient) -> None:
    url = await session(http)
    pushed = await http.post(url, content='421["hello"]')
    assert (pushed.status_code, pushed.text) == (200, "ok")
    assert (await polled(http, url)).startswith('431[{"id":')


async def test_polling_sends_and_receives_a_payload_containing_several_plain_text_packets(
    http: httpx.AsyncClient, dial: Dial
) -> None:
    url, other = await session(http), await dial(entered=True)
    assert (await http.post(url, content='42["test1"]\x1e42["test2"]\x1e42["test3"]')).text == "ok"
    assert [json.loads((await heard(other))[2:])[0] for _ in range(3)] == ["test1", "test2", "test3"]
    for name in ("test1", "test2", "test3"):
        await other.send(f'42["{name}"]')
    received = ""
    while received.count("test") < 3:
        received += "\x1e" + await polled(http, url)
    assert [json.loads(packet[2:])[0] for packet in received.split("\x1e")[1:]] == ["test1", "test2", "test3"]


async def test_polling_sends_and_receives_a_payload_containing_plain_text_and_binary_packets(
    http: httpx.AsyncClient, dial: Dial
) -> None:
    url, other = await session(http), await dial(entered=True)
    assert (await http.post(url, content=f"{BINARY}\x1ebAQIDBA==\x1eb")).text == "ok"
    assert (await heard(other)).startswith("452-")
    assert [await heard(other) for _ in range(2)] == [b"\1\2\3\4", b""]
    await other.send(BINARY)
    await other.send(b"\1\2\3\4")
    await other.send(b"")
    assert (await polled(http, url)).endswith("\x1ebAQIDBA==\x1eb")


async def test_polling_closes_the_session_upon_invalid_packet_format(http: httpx.AsyncClient) -> None:
    url = await session(http)
    assert (await http.post(url, content="abc")).status_code == 400
    assert (await http.get(url)).text == "1"  # the final payload; the reference implementation answers 400 at once
    assert (await http.get(url)).status_code == 400


async def test_polling_closes_the_session_upon_duplicate_poll_requests(http: httpx.AsyncClient) -> None:
    url = await session(http)
    first = asyncio.create_task(http.get(url))
    await asyncio.sleep(0.02)
    second = await http.get(url + "&t=burst")
    assert ((await first).status_code, (await first).text) == (200, "1")
    assert second.status_code == 400
    assert (await http.get(url)).status_code == 400


async def test_websocket_sends_and_receives_a_plain_text_packet(dial: Dial) -> None:
    socket = await dial(entered=True)
    await socket.send('421["hello"]')
    assert (await heard(socket)).startswith("431[")


async def test_websocket_sends_and_receives_a_binary_packet(dial: Dial) -> None:
    socket, other = await dial(entered=True), await dial(entered=True)
    await socket.send(BINARY)
    await socket.send(b"\1\2\3\4")
    await socket.send(b"\5")
    assert (await heard(other)).startswith("452-")
    assert [await heard(other) for _ in range(2)] == [b"\1\2\3\4", b"\5"]


async def test_websocket_closes_the_session_upon_invalid_packet_format(dial: Dial) -> None:
    socket = await dial()
    await socket.send("abc")
    await closed(socket)


# Engine.IO, heartbeat.


async def test_polling_sends_ping_pong_packets(http: httpx.AsyncClient) -> None:
    url = await session(http)
    for _ in range(3):
        answer = await http.get(url)
        assert (answer.status_code, answer.text) == (200, "2")
        assert (await http.post(url, content="3")).status_code == 200


async def test_polling_closes_the_session_upon_ping_timeout(http: httpx.AsyncClient) -> None:
    url = await session(http)
    assert (await http.get(url)).text == "2"
    # Polls do not stand for a pong. The check may come a few ticks of the timer late.
    await asyncio.sleep(TIMEOUT)
    async with asyncio.timeout(5):
        while (answer := await http.get(url)).status_code != 400:
            assert answer.text in {"", "1", "6"}, answer.text


async def test_websocket_sends_ping_pong_packets(dial: Dial) -> None:
    socket = await dial(entered=True)
    for _ in range(3):
        assert await socket.recv() == "2"
        await socket.send("3")


async def test_websocket_closes_the_session_upon_ping_timeout(dial: Dial) -> None:
    await closed(await dial(entered=True))


# Engine.IO, close.


async def test_polling_forcefully_closes_the_session(http: httpx.AsyncClient) -> None:
    url = await session(http)
    waiting = asyncio.create_task(http.get(url))
    await asyncio.sleep(0.02)
    await http.post(url, content="1")
    assert ((await waiting).status_code, (await waiting).text) == (200, "6")
    assert (await http.get(url)).status_code == 400


async def test_websocket_forcefully_closes_the_session(dial: Dial) -> None:
    socket = await dial()
    await socket.send("1")
    await closed(socket)


# Engine.IO, upgrade.


async def test_successfully_upgrades_from_http_long_polling_to_websocket(http: httpx.AsyncClient, dial: Dial) -> None:
    url = await session(http)
    socket = await dial(url.replace("polling", "websocket"), greeted=False)
    await socket.send("2probe")
    assert await socket.recv() == "3probe"
    answer = await http.get(url)
    assert (answer.status_code, answer.text) == (200, "6")
    await socket.send("5")
    await socket.send('421["hello"]')
    assert (await heard(socket)).startswith("431[")


async def test_ignores_http_requests_with_same_sid_after_upgrade(http: httpx.AsyncClient, dial: Dial) -> None:
    url = await session(http)
    socket = await dial(url.replace("polling", "websocket"), greeted=False)
    await socket.send("2probe")
    await socket.send("5")
    assert await socket.recv() == "3probe"
    await socket.send('421["hello"]')
    assert (await heard(socket)).startswith("431[")
    answer = await http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    await socket.send('422["hello"]')
    assert (await heard(socket)).startswith("432[")


async def test_ignores_websocket_connection_with_same_sid_after_upgrade(http: httpx.AsyncClient, dial: Dial) -> None:
    url = (await session(http)).replace("polling", "websocket")
    socket = await dial(url, greeted=False)
    await socket.send("2probe")
    await socket.send("5")
    with pytest.raises(InvalidStatus):
        await dial(url, greeted=False)
    assert await socket.recv() == "3probe"
    await socket.send('421["hello"]')
    assert (await heard(socket)).startswith("431[")


# Socket.IO, connect.


@pytest.mark.parametrize("namespace", ["", "/rooms/custom,"])
@pytest.mark.parametrize("payload", ["", '{"token":"123"}'])
async def test_should_allow_connection_to_a_namespace_with_or_without_a_payload(
    dial: Dial, namespace: str, payload: str
) -> None:
    socket = await dial("/socket.io/?EIO=4&transport=websocket")
    await socket.send("40" + namespace + payload)
    data = await socket.recv()
    assert data.startswith("40" + namespace)
    # `pid` is there wherever a connection's state can be recovered.
    assert set(json.loads(data.removeprefix("40" + namespace))) == {"sid", "pid"}


async def test_should_disallow_connection_to_an_unknown_namespace(dial: Dial) -> None:
    socket = await dial()
    await socket.send("40/random")
    assert await socket.recv() == '44/random,{"message":"Invalid namespace"}'


async def test_should_disallow_connection_with_an_invalid_handshake(dial: Dial) -> None:
    socket = await dial()
    await socket.send("4abc")
    await closed(socket)


async def test_should_close_the_connection_if_no_handshake_is_received(dial: Dial) -> None:
    socket = await dial()
    async with asyncio.timeout(3):
        while True:
            try:
                assert await socket.recv() == "2"
                await socket.send("3")
            except ConnectionClosed as end:
                assert end.rcvd is not None
                assert end.rcvd.code == 4502
                return


# Socket.IO, disconnect.


async def test_should_disconnect_from_the_main_namespace(dial: Dial) -> None:
    socket = await dial(entered=True)
    await socket.send("41")
    assert await socket.recv() == "2"


async def test_should_connect_then_disconnect_from_a_custom_namespace(dial: Dial) -> None:
    socket, other = await dial(entered=True), await dial(entered=True)
    await socket.send("40/rooms/custom,")
    assert (await heard(socket)).startswith("40/rooms/custom,")
    await socket.send("41/rooms/custom,")
    await socket.send('42["message","to main namespace"]')
    assert await heard(other) == '42["message","to main namespace"]'


# Socket.IO, message.


async def test_should_send_a_plain_text_packet(dial: Dial) -> None:
    socket, other = await dial(entered=True), await dial(entered=True)
    await socket.send('42["message",1,"2",{"3":[true]}]')
    assert await heard(other) == '42["message",1,"2",{"3":[true]}]'


async def test_should_send_a_packet_with_binary_attachments(dial: Dial) -> None:
    socket, other = await dial(entered=True), await dial(entered=True)
    await socket.send(BINARY)
    await socket.send(b"\1\2\3")
    await socket.send(b"\4\5\6")
    assert (await heard(other)).startswith(BINARY[:-1])
    assert [await heard(other) for _ in range(2)] == [b"\1\2\3", b"\4\5\6"]


async def test_should_send_a_plain_text_packet_with_an_ack(dial: Dial) -> None:
    socket = await dial(entered=True)
    await socket.send('42456["message-with-ack",1,"2",{"3":[false]}]')
    assert (await heard(socket)).startswith('43456[{"id":')


async def test_should_send_a_packet_with_binary_attachments_and_an_ack(dial: Dial) -> None:
    socket = await dial(entered=True)
    await socket.send(BINARY.replace("[", "789[", 1))
    await socket.send(b"\1\2\3")
    await socket.send(b"\4\5\6")
    assert (await heard(socket)).startswith('43789[{"id":')


@pytest.mark.parametrize("packet", ["4abc", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]'])
async def test_should_close_the_connection_upon_invalid_format(dial: Dial, packet: str) -> None:
    socket = await dial(entered=True)
    await socket.send(packet)
    await closed(socket)
