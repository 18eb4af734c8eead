from starlette.routing import Match

from relay.config import Settings
from relay.gateways.websync.routes import routes, state
from relay.gateways.websync.state import STATE, WebSyncState
from relay.rooms.worker import Worker


def test_the_paths() -> None:
    found = routes(Settings())
    for path in ("/websync.ashx", "/rooms/a/websync.ashx", "/rooms/a%2Fb/websync.ashx"):
        scope = {"type": "http", "path": path, "raw_path": path.encode(), "method": "POST", "headers": []}
        assert [route for route in found if route.matches(dict(scope))[0] is not Match.NONE], path


def test_the_state() -> None:
    assert isinstance(state(Worker(Settings()))[STATE], WebSyncState)
