"""The routes of WebSockets."""

from typing import Any

import pytest
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from relay.http.sockets import SocketRoutes
from relay.paths import RoomWebSocketRoute


class Endpoint:
    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.error is not None:
            raise self.error
        await send({"type": self.name, "params": scope.get("path_params", {})})


async def served(path: str, kind: str = "websocket") -> list[Any]:
    routes = [
        Route("/both", Endpoint("http")),
        WebSocketRoute("/both", Endpoint("first")),
        WebSocketRoute("/both", Endpoint("second")),
        WebSocketRoute("/fails", Endpoint("fails", ZeroDivisionError())),
        RoomWebSocketRoute(Endpoint("room")),
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None:
        sent.append((message["type"], message["params"]))

    scope = {"type": kind, "path": path, "raw_path": path.encode(), "root_path": "", "headers": []}
    await SocketRoutes(Endpoint("rest"), routes)(scope, receive, send)
    return sent


async def test_a_websocket_gets_the_first_route_of_its_path() -> None:
    assert await served("/both") == [("first", {})]
    assert await served("/rooms/a%2Fb") == [("room", {"room": "a/b"})]


async def test_all_others_are_passed_on() -> None:
    assert await served("/nothing") == [("rest", {})]
    assert await served("/both", "http") == [("rest", {})]


async def test_an_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await served("/fails")
