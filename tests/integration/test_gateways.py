"""Gateways that are switched off, on real servers: of one process, and of several behind one port."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.fleet import Client, RedisServer, Relay

SOCKETS = {"native": ("/", "/rooms/a"), "socketio": ("/socket.io/?EIO=4&transport=websocket",)}
OTHER = {"native": "socketio", "socketio": "native"}


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with closing(RedisServer()) as server:
        yield server.start().url


async def refusal(url: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, proxy=None):
            pass
    response = refused.value.response
    return response.status_code, bytes(response.body or b"").decode()


@pytest.mark.parametrize("on", SOCKETS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_sockets_of_a_gateway_that_is_off_are_not_found(redis: str, on: str, workers: int) -> None:
    settings: dict[str, Any] = {"gateways": on, "redis_url": redis, "workers": workers}
    with closing(Relay(**settings)) as relay:
        await relay.ready()
        for path in SOCKETS[OTHER[on]]:
            status, body = await refusal(relay.ws + path)
            assert status == 404
            assert '"not_found"' in body
        for path in SOCKETS[on]:
            async with connect(relay.ws + path, proxy=None) as socket:
                await socket.recv()
        assert await relay.metric("relay_handshakes_total", protocol=on) == len(SOCKETS[on])
        assert await relay.metric("relay_errors_total", protocol="api", code="not_found") == len(SOCKETS[OTHER[on]])
        assert f'protocol="{OTHER[on]}"' not in (await relay.get("/metrics")).text


async def test_actions_of_clients_are_counted_by_protocol() -> None:
    with closing(Relay()) as relay:
        await relay.ready()
        native = await Client.open(f"{relay.ws}/rooms/a?echo=1")
        async with connect(f"{relay.ws}/socket.io/?EIO=4&transport=websocket", proxy=None) as socket:
            await socket.recv()
            await socket.send("40")
            await socket.recv()
            assert [await relay.metric("relay_connections", protocol=name) for name in SOCKETS] == [1, 1]
            assert [await relay.metric("relay_sessions", protocol=name) for name in SOCKETS] == [1, 1]
        await native.send({"message": 1})
        await native.until(lambda event: event.get("message") == 1)
        await native.send("no JSON")
        await native.until(lambda event: event.get("code") == "bad_json")
        assert await relay.metric("relay_received_messages_total", protocol="native") == 2
        assert await relay.metric("relay_errors_total", protocol="native", code="bad_json") == 1
        assert await relay.metric("relay_errors_total", code="bad_json") == 1
        await native.socket.close()
