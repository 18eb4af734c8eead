import pytest
from starlette.routing import Match

from relay.config import Settings
from relay.gateways.xmpp.bosh.gateway import STATE
from relay.gateways.xmpp.routes import routes, state
from relay.rooms.worker import Worker


@pytest.mark.parametrize(("kind", "path"), [("websocket", "/xmpp-websocket"), ("http", "/http-bind")])
def test_the_paths(kind: str, path: str) -> None:
    scope = {"type": kind, "path": path, "method": "POST", "headers": []}
    assert [route for route in routes(Settings()) if route.matches(scope)[0] is Match.FULL]


def test_the_state() -> None:
    assert list(state(Worker(Settings()))) == [STATE]
