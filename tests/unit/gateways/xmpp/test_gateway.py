"""The handshake, as a plain ASGI server presents it."""

import asyncio

import pytest

from relay.config import Settings
from relay.gateways.xmpp.gateway import XmppGateway
from relay.gateways.xmpp.reading import read
from relay.model.errors import GOING_AWAY
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import AsgiClient, until
from tests.unit.gateways.xmpp.streams import OPEN


async def test_a_client_that_does_not_offer_the_subprotocol_is_refused(worker: Worker) -> None:
    for offered in ([], ["relay.v1"]):
        client = AsgiClient(worker, "/xmpp-websocket", subprotocols=offered)
        await XmppGateway(Settings())(client.scope, client.receive, client.send)
        assert client.refusal is not None
        status, body = client.refusal
        assert (status, body["error"]["code"]) == (400, "bad_query")


@pytest.mark.parametrize(
    ("host", "scheme", "address"),
    [
        (b"relay.example:8888", "ws", "ws://relay.example:8888/xmpp-websocket"),
        (b"[::1]", "wss", "wss://[::1]/xmpp-websocket"),
        (b"a b", "ws", ""),
        (b"a/b", "ws", ""),
        (b"h" * 300, "ws", ""),
        (b"", "ws", ""),
    ],
)
async def test_a_client_that_has_not_begun_is_sent_to_the_same_address(
    worker: Worker, host: bytes, scheme: str, address: str
) -> None:
    headers = [(b"host", host)] if host else []
    client = AsgiClient(worker, "/xmpp-websocket", subprotocols=["xmpp"], headers=headers, scheme=scheme)
    serving = asyncio.create_task(XmppGateway(Settings())(client.scope, client.receive, client.send))
    await until(lambda: client.sent)
    worker.clients.close_all(GOING_AWAY)
    await until(lambda: client.sent[-1]["type"] == "websocket.close")
    texts = [one["text"] for one in client.sent if one["type"] == "websocket.send"]
    assert [read(text.encode()).root.get("see-other-uri") for text in texts] == [address] * bool(address)
    client.leave()
    await serving


@pytest.mark.parametrize(
    ("host", "origin", "scheme"),
    [
        (b"relay.example", b"https://page.example", "wss"),
        (b"relay.example:8443", b"https://relay.example", "wss"),
        (b"relay.example", b"http://page.example", "ws"),
        (b"relay.example", b"null", "ws"),
        (b"localhost:8888", b"https://page.example", "ws"),
        (b"app.localhost", b"https://page.example", "ws"),
        (b"localhost.example", b"https://page.example", "wss"),
        (b"127.0.0.1:8888", b"https://page.example", "ws"),
        (b"[::1]:8888", b"https://page.example", "ws"),
    ],
)
async def test_behind_an_unknown_proxy_the_page_tells_whether_its_client_uses_tls(
    worker: Worker, host: bytes, origin: bytes, scheme: str
) -> None:
    headers = [(b"host", host), (b"origin", origin)]
    client = AsgiClient(worker, "/xmpp-websocket", subprotocols=["xmpp"], headers=headers, scheme="ws")
    serving = asyncio.create_task(XmppGateway(Settings())(client.scope, client.receive, client.send))
    await until(lambda: client.sent)
    worker.clients.close_all(GOING_AWAY)
    await until(lambda: client.sent[-1]["type"] == "websocket.close")
    (text,) = [one["text"] for one in client.sent if one["type"] == "websocket.send"]
    assert read(text.encode()).root.get("see-other-uri") == f"{scheme}://{host.decode()}/xmpp-websocket"
    client.leave()
    await serving


async def test_the_subprotocol_is_echoed_and_the_stream_begins(worker: Worker) -> None:
    client = AsgiClient(worker, "/xmpp-websocket", subprotocols=["other", "xmpp"])
    serving = asyncio.create_task(XmppGateway(Settings())(client.scope, client.receive, client.send))
    client.from_client.put_nowait({"type": "websocket.receive", "text": OPEN, "bytes": None})
    await until(lambda: len(client.sent) == 3)
    assert client.sent[0]["subprotocol"] == "xmpp"
    assert client.sent[1]["text"].startswith("<open ")
    assert client.sent[2]["text"].startswith("<stream:features ")
    client.leave()
    await serving
