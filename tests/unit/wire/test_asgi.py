"""A WebSocket connection as an ASGI application sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.unit.serving import UPGRADE, Recorder, running

Endpoint = Callable[[Receive, Send], Awaitable[Any]]


def application(endpoint: Endpoint) -> Any:
    """An application whose WebSockets are served by `endpoint`."""
    other = Recorder()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            assert (await receive())["type"] == "websocket.connect"
            await endpoint(receive, send)
        else:
            await other(scope, receive, send)

    return app


async def answer_of(endpoint: Endpoint) -> bytes:
    """The answer to a handshake."""
    async with running(application(endpoint)) as served:
        return await served.ask(UPGRADE % (b"/", b""))


async def close_of(endpoint: Endpoint) -> tuple[int, str]:
    """The code and the reason with which a connection is closed."""
    async with running(application(endpoint)) as served, connect(served.ws) as websocket:
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def accept(send: Send, **fields: Any) -> None:
    await send({"type": "websocket.accept", **fields})


async def test_an_accept_has_its_subprotocol_and_headers() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send, subprotocol="relay.v1", headers=[(b"X-Some", b"thing")])

    answer = await answer_of(endpoint)
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 101 Switching Protocols"
    assert {b"Sec-WebSocket-Protocol: relay.v1", b"X-Some: thing"} <= set(head)


async def test_texts_and_bytes_go_both_ways() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)
        for _ in range(2):
            message = await receive()
            await send({"type": "websocket.send", **{k: message[k] for k in ("text", "bytes") if k in message}})

    async with running(application(endpoint)) as served, connect(served.ws) as websocket:
        for data in ("é", b"\x00\xff"):
            await websocket.send(data)
            assert await websocket.recv() == data


async def test_an_application_that_returns_closes_normally() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)

    assert await close_of(endpoint) == (1000, "")


async def test_an_application_may_close_with_a_code_and_a_reason() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)
        await send({"type": "websocket.close", "code": 4001, "reason": "why"})

    assert await close_of(endpoint) == (4001, "why")


async def test_an_application_that_fails_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)
        raise ZeroDivisionError

    assert await close_of(endpoint) == (1011, "internal")
    assert "ZeroDivisionError" in caplog.text


async def test_an_application_that_fails_before_the_accept_answers_500() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    assert (await answer_of(endpoint)).startswith(b"HTTP/1.1 500 ")


async def test_a_close_before_the_accept_answers_403() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    assert (await answer_of(endpoint)).startswith(b"HTTP/1.1 403 ")


async def test_a_refusal_may_be_a_whole_response() -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"content-length", b"4")]})
        await send({"type": "websocket.http.response.body", "body": b"te", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"a!"})

    answer = await answer_of(endpoint)
    assert answer.startswith(b"HTTP/1.1 418 ")
    assert answer.endswith(b"\r\n\r\ntea!")


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.body", "websocket.else"])
async def test_a_message_out_of_order_is_an_error(kind: str) -> None:
    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)
        with pytest.raises(RuntimeError, match=kind):
            await send({"type": kind})

    assert await close_of(endpoint) == (1000, "")


async def test_sending_after_the_end_is_an_error_that_the_application_may_ignore() -> None:
    ended = asyncio.Event()

    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)
        assert (await receive())["type"] == "websocket.disconnect"
        ended.set()
        await send({"type": "websocket.send", "text": "too late"})

    async with running(application(endpoint)) as served:
        async with connect(served.ws):
            pass
        await ended.wait()


async def test_an_application_that_does_not_receive_holds_the_client_back_and_loses_nothing() -> None:
    total, go = 50, asyncio.Event()

    async def endpoint(receive: Receive, send: Send) -> None:
        await accept(send)
        await go.wait()
        texts = [(await receive())["text"] for _ in range(total)]
        await send({"type": "websocket.send", "text": ",".join(texts)})

    async with running(application(endpoint)) as served, connect(served.ws) as websocket:
        for number in range(total):
            await websocket.send(str(number))
        go.set()
        assert await websocket.recv() == ",".join(map(str, range(total)))
