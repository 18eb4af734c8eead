from urllib.parse import unquote

import pytest
from starlette.routing import Match

from relay import http
from relay.config import Settings
from relay.http.ports import AdminPort
from relay.http.rooms import RoomEndpoint
from tests.unit.http.conftest import ABOUT


@pytest.mark.parametrize(
    ("path", "endpoints"),
    [
        ("/rooms/lobby", [RoomEndpoint]),
        ("/rooms/a%2Fb", [RoomEndpoint]),
        ("/rooms/a%0Ab", [RoomEndpoint]),
        ("/rooms/", [RoomEndpoint]),
        ("/rooms/a/b", []),
    ],
)
def test_one_segment_below_rooms_is_a_room(path: str, endpoints: list[type]) -> None:
    scope = {"type": "http", "method": "GET", "path": unquote(path), "raw_path": path.encode(), "headers": []}
    matching = [route for route in http.routes(Settings(), [], ABOUT) if route.matches(scope)[0] is Match.FULL]
    assert [route.endpoint.__self__.__class__ for route in matching] == endpoints  # type: ignore[attr-defined]


def test_the_guard_of_the_admin_port_is_outermost_and_only_there_with_a_port() -> None:
    assert AdminPort not in [one.cls for one in http.middleware(Settings(), [], [])]
    assert http.middleware(Settings(admin_listen="127.0.0.1:9100"), [], [])[0].cls is AdminPort
