from starlette.routing import Match

from relay.config import Settings
from relay.gateways.xmpp.routes import routes, state
from relay.rooms.worker import Worker


def test_the_path_of_the_socket() -> None:
    scope = {"type": "websocket", "path": "/xmpp-websocket", "headers": []}
    assert [route for route in routes(Settings()) if route.matches(scope)[0] is Match.FULL]


def test_the_state() -> None:
    assert state(Worker(Settings())) == {}
