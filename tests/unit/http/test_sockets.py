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


async def served(path: str, kind: str = "websocket", root: str = "") -> list[Any]:
    routes = [
        WebSocketRoute("/{any}/x", Endpoint("any")),
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

    scope = {"type": kind, "path": root + path, "raw_path": (root + path).encode(), "root_path": root, "headers": []}
    await SocketRoutes(Endpoint("rest"), routes)(scope, receive, send)
    return sent


async def test_a_websocket_gets_the_first_route_of_its_path() -> None:
    assert await served("/both") == [("first", {})]
    assert await served("/rooms/a%2Fb") == [("room", {"room": "a/b"})]


async def test_routes_that_begin_with_a_parameter_keep_their_place() -> None:
    assert await served("/both/x") == [("any", {"any": "both"})]
    assert await served("/else/x") == [("any", {"any": "else"})]
    assert await served("/rooms/x") == [("any", {"any": "rooms"})]


async def test_a_root_path_is_no_part_of_a_route() -> None:
    assert await served("/both", root="/rooms") == [("first", {})]
    assert await served("/rooms/a", root="/both") == [("room", {"room": "a"})]


async def test_all_others_are_passed_on() -> None:
    assert await served("/nothing") == [("rest", {})]
    assert await served("/both", "http") == [("rest", {})]


async def test_an_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await served("/fails")
