"""The paths of the gateway."""

from relay.config import Settings
from relay.gateways.firebase.routes import routes, state


def test_the_socket_is_at_the_path_that_clients_know() -> None:
    assert [route.path for route in routes(Settings())] == ["/.ws"]  # type: ignore[attr-defined]
    assert state(None) == {}  # type: ignore[arg-type]
