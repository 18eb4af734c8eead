"""Which paths are the gateway's, and its state for each worker."""

import pytest
from starlette.routing import BaseRoute, Match

from relay.config import Settings
from relay.gateways.socketio import routes as socketio
from relay.gateways.socketio.gateway import STATE
from relay.gateways.socketio.v09.gateway import STATE as V09_STATE
from relay.rooms.worker import Worker


def served(kind: str, path: str) -> str:
    """Return the name of the application that serves a path, "" if there is none."""
    routes: list[BaseRoute] = socketio.routes(Settings())
    for route in routes:
        match, _ = route.matches({"type": kind, "path": path, "method": "GET", "headers": []})
        if match is Match.FULL:
            return type(route.app).__name__ if hasattr(route, "app") else ""
    return ""


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/socket.io", "SocketIOGateway"),
        ("/socket.io/", "SocketIOGateway"),
        ("/socket.io/1", "V09Gateway"),
        ("/socket.io/1/", "V09Gateway"),
        ("/socket.io/1/websocket/x", "V09Gateway"),
        ("/socket.io/2/", ""),
        ("/socket.io//", ""),
        ("/socket.io/\n", ""),
        ("/socket.iox", ""),
    ],
)
def test_paths(kind: str, path: str, name: str) -> None:
    assert served(kind, path) == name


def test_the_script_has_a_path_of_its_own() -> None:
    assert served("http", "/socket.io/socket.io.js") not in {"", "SocketIOGateway", "V09Gateway"}
    assert served("websocket", "/socket.io/socket.io.js") == ""


async def test_the_sessions_of_each_version_and_worker_are_apart() -> None:
    async with Worker(Settings()) as one, Worker(Settings()) as other:
        states = [socketio.state(one), socketio.state(other)]
        sessions = [state[key] for state in states for key in (STATE, V09_STATE)]
        assert len({id(one) for one in sessions}) == 4
