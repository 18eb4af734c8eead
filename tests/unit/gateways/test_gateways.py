"""The routes of all gateways together."""

import pytest
from starlette.routing import Match

from relay.config import Settings
from relay.gateways import routes


@pytest.mark.parametrize(
    ("kind", "path", "endpoint"),
    [
        ("websocket", "/", "NativeGateway"),
        ("websocket", "/rooms/name", "NativeGateway"),
        ("websocket", "/socket.io/", "SocketIOGateway"),
        ("websocket", "/socket.io/1/websocket/id", "V09Gateway"),
        ("http", "/socket.io/", "SocketIOGateway"),
        ("http", "/socket.io/1/", "V09Gateway"),
        ("http", "/rooms/name", None),
        ("http", "/", None),
    ],
)
def test_each_path_reaches_the_gateway_of_its_protocol(kind: str, path: str, endpoint: str | None) -> None:
    scope = {"type": kind, "path": path, "root_path": "", "method": "GET", "headers": []}
    found = [route for route in routes(Settings(), []) if route.matches(scope)[0] is Match.FULL]
    assert (type(found[0].app).__name__ if found else None) == endpoint
