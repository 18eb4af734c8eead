import pytest
from starlette.routing import Match, Route

from relay.config import Settings
from relay.gateways import socketio
from relay.gateways.socketio import gateway, v09


def application(path: str, kind: str = "http") -> object:
    """The application of the first route for this path, as Starlette chooses it; None if there is none."""
    scope = {"type": kind, "method": "GET", "path": path, "headers": []}
    for route in socketio.routes(Settings(), []):
        if route.matches(scope)[0] is Match.FULL:
            return route.app.__class__ if isinstance(route, Route) and kind == "http" else route.endpoint.__class__  # type: ignore[attr-defined]
    return None


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/socket.io", gateway.SocketIOGateway),
        ("/socket.io/", gateway.SocketIOGateway),
        ("/socket.io/1", v09.V09Gateway),
        ("/socket.io/1/", v09.V09Gateway),
        ("/socket.io/1/websocket/sid", v09.V09Gateway),
        ("/socket.io/2/", None),
        ("/socket.iox", None),
    ],
)
def test_each_path_reaches_the_gateway_of_its_version(path: str, expected: object, kind: str) -> None:
    assert application(path, kind) is expected
