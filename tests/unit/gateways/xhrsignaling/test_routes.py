from starlette.routing import Match

from relay.config import Settings
from relay.gateways.xhrsignaling.routes import routes, state
from relay.gateways.xhrsignaling.state import STATE, XhrState
from relay.rooms.worker import Worker


def test_the_paths() -> None:
    found = routes(Settings())
    for path in ("/Home/GetData", "/Home/PostData", "/rooms/a/Home/GetData", "/rooms/a%2Fb/Home/PostData"):
        scope = {"type": "http", "path": path, "raw_path": path.encode(), "method": "POST", "headers": []}
        assert [route for route in found if route.matches(dict(scope))[0] is not Match.NONE], path


def test_the_state() -> None:
    assert isinstance(state(Worker(Settings()))[STATE], XhrState)
