"""The paths of the gateway."""

from relay.config import Settings
from relay.gateways.firebase.routes import routes, state
from relay.gateways.firebase.state import FirebaseState
from relay.rooms.worker import Worker


def test_the_paths_are_those_that_clients_know(worker: Worker) -> None:
    assert [route.path for route in routes(Settings())] == ["/.ws", "/.lp", "/{path:path}.json"]  # type: ignore[attr-defined]
    (made,) = state(worker).values()
    assert isinstance(made, FirebaseState)
