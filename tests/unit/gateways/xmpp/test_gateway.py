"""The handshake, as a plain ASGI server presents it."""

import asyncio

from relay.config import Settings
from relay.gateways.xmpp.gateway import XmppGateway
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
