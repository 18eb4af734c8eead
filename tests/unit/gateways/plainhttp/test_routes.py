from relay.config import Settings
from relay.gateways.plainhttp.declaration import GATEWAY
from relay.gateways.plainhttp.routes import routes


def test_the_prefixes_are_those_of_the_routes() -> None:
    assert [route.path for route in routes(Settings())] == list(GATEWAY.prefixes)  # type: ignore[attr-defined] # all are of one class
