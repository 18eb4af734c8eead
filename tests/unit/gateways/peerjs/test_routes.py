"""Which paths are the gateway's."""

from urllib.parse import unquote

import pytest
from starlette.routing import Match

from relay.config import Settings
from relay.gateways.peerjs.routes import routes


def found(kind: str, path: str) -> list[dict[str, str]]:
    scope = {"type": kind, "path": unquote(path), "raw_path": path.encode(), "method": "GET", "headers": []}
    met = [one[1] for route in routes(Settings()) if (one := route.matches(scope))[0] is Match.FULL]
    return [one["path_params"] for one in met[:1]]


@pytest.mark.parametrize(
    ("path", "room"),
    [("/peerjs", None), ("/peerjs/peerjs", None), ("/rooms/a%2Fb/peerjs", "a/b"), ("/rooms/a b/peerjs", "a b")],
)
def test_sockets(path: str, room: str | None) -> None:
    assert [one.get("room") for one in found("websocket", path)] == [room]


@pytest.mark.parametrize(
    ("path", "key", "room"),
    [
        ("/peerjs/id", "peerjs", None),
        ("/a/peers", "a", None),
        ("/peerjs/a/id", "a", None),
        ("/rooms/r/a/peers", "a", "r"),
        ("/rooms/r%20s/peerjs/id", "peerjs", "r s"),
    ],
)
def test_requests(path: str, key: str, room: str | None) -> None:
    assert [(one["key"], one.get("room")) for one in found("http", path)] == [(key, room)]


@pytest.mark.parametrize("path", ["/peerjs", "/peerjs/"])
def test_the_root_document_is_where_no_page_of_the_relay_is(path: str) -> None:
    assert found("http", path) == [{}]


@pytest.mark.parametrize(
    "path", ["/", "/rooms/a", "/rooms/a/", "/rooms/a/peerjs", "/a/b/c/id", "/peerjs/a/b/c/d/id", "/rooms/a/b/c/id"]
)
def test_other_paths_are_not_served(path: str) -> None:
    assert found("http", path) == []
