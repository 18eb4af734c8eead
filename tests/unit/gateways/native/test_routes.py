"""Which paths are the native protocol's."""

from urllib.parse import unquote

import pytest
from starlette.routing import Match

from relay.config import Settings
from relay.gateways.native.routes import routes


@pytest.mark.parametrize(
    ("path", "room"),
    [("/", None), ("/rooms/a", "a"), ("/rooms/a%2Fb", "a/b"), ("/rooms/a%0Ab", "a\nb"), ("/rooms/", "")],
)
def test_the_root_is_the_default_room_and_one_segment_below_rooms_is_a_room(path: str, room: str | None) -> None:
    assert rooms(path) == [room]


@pytest.mark.parametrize("path", ["/rooms", "/rooms/a/b", "/other"])
def test_other_paths_are_not_served(path: str) -> None:
    assert rooms(path) == []


def rooms(path: str) -> list[str | None]:
    scope = {"type": "websocket", "path": unquote(path), "raw_path": path.encode(), "headers": []}
    found = [one[1] for route in routes(Settings()) if (one := route.matches(scope))[0] is Match.FULL]
    return [one["path_params"].get("room") for one in found]
