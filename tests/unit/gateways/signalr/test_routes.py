import pytest
from starlette.routing import Match

from relay.config import Settings
from relay.gateways.signalr.routes import routes, state
from relay.gateways.signalr.state import STATE, SignalRState
from relay.rooms.worker import Worker


@pytest.mark.parametrize(
    ("kind", "method", "path", "found"),
    [
        ("http", "POST", "/signalr/negotiate", Match.FULL),
        ("http", "POST", "/rooms/a%2Fb/signalr/negotiate", Match.FULL),
        ("http", "GET", "/signalr/negotiate", Match.PARTIAL),
        ("http", "GET", "/signalr", Match.FULL),
        ("http", "DELETE", "/rooms/a/signalr", Match.FULL),
        ("websocket", "GET", "/signalr", Match.FULL),
        ("websocket", "GET", "/rooms/a/signalr", Match.FULL),
        ("http", "GET", "/signalr/hubs", Match.NONE),
    ],
)
def test_paths(kind: str, method: str, path: str, found: Match) -> None:
    scope = {"type": kind, "method": method, "path": path, "raw_path": path.encode(), "headers": []}
    best = max((route.matches(scope)[0] for route in routes(Settings())), key=lambda match: match.value)
    assert best is found


def test_the_state_of_a_worker() -> None:
    assert isinstance(state(Worker(Settings()))[STATE], SignalRState)
