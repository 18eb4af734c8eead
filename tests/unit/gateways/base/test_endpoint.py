"""Requests to any gateway: origins, preflights, and refusals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from relay.config import Settings
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import HttpBody, HttpExchange
from relay.model.errors import Refused
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Request, Response, scope

GOOD, BAD = "https://good.example", "https://bad.example"
SETTINGS = Settings(allowed_origins=(GOOD,))


class Endpoint(GatewayEndpoint):
    """Refuses the path `/full`, and answers all others."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, "test", methods=("GET", "DELETE"))

    async def serve_request(self, exchange: HttpExchange) -> None:
        if exchange.scope["path"] == "/full":
            raise Refused("worker_full")
        await exchange.respond(HttpBody(exchange.method.encode()))


class SocketEndpoint(Endpoint):
    """Serves WebSockets as well, and has words of its own for an error."""

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/full":
            raise Refused("worker_full")
        await WebSocket(scope, receive, send).accept()

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        return HttpBody(b"socket" if handshake else b"request", status=error.status)


@asynccontextmanager
async def worker_of_test() -> AsyncIterator[Worker]:
    async with Worker(SETTINGS, {"test": ["worker_full", "bad_origin", "not_found"]}) as worker:
        yield worker


async def ask(app: Endpoint, worker: Worker, path: str, origin: str, method: str = "GET") -> Response:
    request = Request()
    await app(scope(method, path, {"worker": worker}, {"origin": origin}), request.receive, request.send)
    return request.response


async def open_socket(app: Endpoint, worker: Worker, path: str, origin: str) -> list[Message]:
    """Begin a WebSocket; returns the messages that the application sends."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asked = scope("GET", path, {"worker": worker}, {"origin": origin})
    await app({**asked, "type": "websocket", "extensions": {"websocket.http.response": {}}}, receive, send)
    return sent


def errors(worker: Worker, code: str) -> float:
    return worker.metrics.registry.get_sample_value("relay_errors_total", {"protocol": "test", "code": code}) or 0.0


async def test_a_preflight_request_is_answered_for_the_gateway() -> None:
    async with worker_of_test() as worker:
        answer = await ask(Endpoint(), worker, "/full", GOOD, "OPTIONS")
        assert (answer.status, answer.headers["access-control-allow-methods"]) == (204, "GET, DELETE")
        assert "access-control-allow-origin" not in (await ask(Endpoint(), worker, "/", BAD, "OPTIONS")).headers


async def test_a_request_is_served() -> None:
    async with worker_of_test() as worker:
        assert (await ask(Endpoint(), worker, "/", GOOD, "DELETE")).body == b"DELETE"


@pytest.mark.parametrize(
    ("path", "origin", "code", "status"), [("/", BAD, "bad_origin", 403), ("/full", GOOD, "worker_full", 503)]
)
async def test_a_refusal_is_counted_and_written(path: str, origin: str, code: str, status: int) -> None:
    async with worker_of_test() as worker:
        answer = await ask(Endpoint(), worker, path, origin)
        assert (answer.status, answer.lines[0]["error"]["code"], errors(worker, code)) == (status, code, 1)
        answer = await ask(SocketEndpoint(), worker, path, origin)
        assert (answer.status, answer.body, errors(worker, code)) == (status, b"request", 2)


async def test_a_websocket_is_served() -> None:
    async with worker_of_test() as worker:
        (accepted,) = await open_socket(SocketEndpoint(), worker, "/", GOOD)
        assert accepted["type"] == "websocket.accept"


@pytest.mark.parametrize(
    ("app", "path", "origin", "code", "status"),
    [
        (Endpoint(), "/", GOOD, "not_found", 404),
        (SocketEndpoint(), "/", BAD, "bad_origin", 403),
        (SocketEndpoint(), "/full", GOOD, "worker_full", 503),
    ],
)
async def test_a_refused_handshake_is_counted_and_written(
    app: Endpoint, path: str, origin: str, code: str, status: int
) -> None:
    async with worker_of_test() as worker:
        start, body = await open_socket(app, worker, path, origin)
        assert (start["status"], errors(worker, code)) == (status, 1)
        assert code.encode() in body["body"] or body["body"] == b"socket"
