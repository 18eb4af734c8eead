import asyncio
from typing import Any

import pytest

from relay.gateways.signalr.connection_token import FRESH
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.signalr.site import (
    HANDSHAKE,
    PACKED_HANDSHAKE,
    SignalRSite,
    records,
    say,
    sent,
    site,
    until_sent,
)


async def opened(one: SignalRSite, query: str = "", handshake: bytes = HANDSHAKE) -> tuple[Any, "asyncio.Task[None]"]:
    client = one.socket(query)
    task = one.run(client)
    say(client, handshake)
    await until_sent(client, b"{}\x1e")
    return client, task


async def test_a_websocket_without_negotiation() -> None:
    async with site() as one:
        client, task = await opened(one, "peer=ann")
        await until_members(one.worker, "room", {"ann": False})
        say(client, b'{"type":6}\x1e{"type":1,"target":"Send","arguments":[1],"invocationId":"0"}\x1e')
        await until_sent(client, b'{"type":3,"invocationId":"0","result":{"id":"')
        client.leave(1000)
        await task
        await until_members(one.worker, "room", {})
        assert len(one.state) == 0


async def test_a_websocket_of_a_negotiated_connection_opens_once() -> None:
    async with site() as one:
        found = await one.negotiate("negotiateVersion=1&peer=ann")
        query = f"peer=ann&id={found['connectionToken']}"
        client, task = await opened(one, query, PACKED_HANDSHAKE)
        for expected, again in ((409, one.socket(query)), (404, None)):
            if again is None:
                client.leave(1000)
                await task
                again = one.socket(query)
            await one.run(again)
            assert again.refusal is not None
            assert again.refusal[0] == expected
        strange = one.socket("id=nonsense")
        await one.run(strange)
        assert strange.refusal == (404, strange.refusal[1] if strange.refusal else None)


async def test_an_old_token_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        found = await one.negotiate("negotiateVersion=1")
        now = one.worker.fleet_time()
        monkeypatch.setattr(one.worker, "fleet_time", lambda: now + FRESH + 1000)
        client = one.socket(f"id={found['connectionToken']}")
        await one.run(client)
        assert client.refusal is not None
        assert client.refusal[0] == 404
        assert (await one.ask("GET", f"?id={found['connectionToken']}")).status == 404


async def test_polling() -> None:
    async with site() as one:
        ann, ben = await one.poller("peer=ann"), await one.poller("peer=ben")
        assert (await ann.next())["target"] == "joined"
        assert (await ben.say(type=1, target="Send", arguments=[{"message": "h"}], invocationId="0")).status == 200
        message = await ann.next()
        assert message["arguments"][0]["message"] == "h"
        assert (await ben.next())["invocationId"] == "0"
        response = await one.ask("DELETE", ann.target)
        assert response.status == 202
        assert (await ann.say(type=7)).status == 404
        assert (await ann.poll()).status == 404
        assert (await ben.next())["target"] == "left"


async def test_requests_without_a_connection() -> None:
    async with site() as one:
        for method in ("GET", "POST", "DELETE"):
            assert (await one.ask(method, "")).status == 400
            assert (await one.ask(method, "?id=nonsense")).status == 404
        assert (await one.ask("PUT", f"?id={(await one.negotiate())['connectionToken']}")).status == 405
        token = (await one.negotiate())["connectionToken"]
        assert (await one.ask("POST", f"?id={token}", HANDSHAKE)).status == 404


async def test_a_stream() -> None:
    async with site() as one:
        token = (await one.negotiate("negotiateVersion=1&peer=ann"))["connectionToken"]
        request, task = one.start("GET", f"?peer=ann&id={token}", accept="text/event-stream")
        await request.response.until(b":\r\n\r\n")
        assert request.response.headers["content-type"] == "text/event-stream"
        assert (await one.ask("POST", f"?id={token}", HANDSHAKE)).status == 200
        await request.response.until(b"data: {}\x1e\r\n\r\n")
        ben = await one.poller("peer=ben")
        await ben.say(type=1, target="Send", arguments=['{"message":\n"h"}'])
        await request.response.until(b'"message":\r\ndata: "h"')
        await one.ask("POST", f"?id={token}", b'{"type":7}\x1e')
        async with asyncio.timeout(5):
            await task
        assert request.response.ended
        await until(lambda: one.state.polled.get(one.state.tokens.read(token, one.worker.fleet_time()).session) is None)
        await until_members(one.worker, "room", {"ben": False})


async def test_another_worker_has_the_connection() -> None:
    async with site() as one, site() as other:
        one.worker.fleet_key.agree(other.worker.fleet_key.records or ["1-00"])
        other.worker.fleet_key.agree(one.worker.fleet_key.records)
        token = (await other.negotiate())["connectionToken"]
        # Nobody forwards here: a connection that cannot be reached is not found, and the client negotiates anew.
        assert (await one.ask("GET", f"?id={token}")).status == 404
        assert (await other.ask("GET", f"?id={token}")).status == 200


async def test_records_end_with_their_separator() -> None:
    async with site() as one:
        client, task = await opened(one)
        assert records(sent(client)) == [{}]
        client.leave()
        await task
