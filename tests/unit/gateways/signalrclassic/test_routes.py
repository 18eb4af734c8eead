import pytest
from starlette.routing import Match

from relay.config import Settings
from relay.gateways.signalrclassic.routes import routes

ROUTES = routes(Settings())


def served(path: str, kind: str = "http", method: str = "GET") -> bool:
    scope = {"type": kind, "path": path, "raw_path": path.encode(), "headers": [], "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in ROUTES)


@pytest.mark.parametrize("base", ["/signalr", "/signalr/hubs", "/rooms/a%2Fb/signalr", "/rooms/a/signalr/hubs"])
def test_both_bases_serve_all_requests(base: str) -> None:
    for action in ("start", "connect", "reconnect", "poll", "send", "abort", "ping"):
        assert served(f"{base}/{action}")
        assert served(f"{base}/{action}", method="POST")
    for action in ("connect", "reconnect"):
        assert served(f"{base}/{action}", "websocket")


def test_the_script_has_two_paths() -> None:
    assert all(
        served(path) for path in ("/signalr/hubs", "/signalr/js", "/rooms/r/signalr/hubs", "/rooms/r/signalr/js")
    )


def test_requests_of_other_clients_at_the_same_path_are_left_to_them() -> None:
    assert served("/signalr/negotiate")
    assert not served("/signalr/negotiate", method="POST")
    assert not served("/rooms/r/signalr/negotiate", method="POST")
    preflight = [(b"access-control-request-method", b"POST")]
    scope = {"type": "http", "path": "/signalr/negotiate", "headers": preflight, "method": "OPTIONS"}
    assert {route.matches(scope)[0] for route in ROUTES} == {Match.PARTIAL, Match.NONE}
    assert not any(served(path, kind) for path in ("/signalr", "/rooms/r/signalr") for kind in ("http", "websocket"))
