"""The choice of an application."""

from relay.gateways.socketio.apps.choice import Applications
from relay.gateways.socketio.apps.relay import RelayApplication


def test_every_client_has_the_relays_own_application_in_every_namespace() -> None:
    relay = RelayApplication(allowed={"*"}, max_size=1000, offsets=True)
    applications = Applications(relay)
    for query in ({}, {"room": "r"}):
        assert {applications.choose(query)(name) for name in ("/", "/rooms/r")} == {relay}


def test_clients_alike_keep_the_same_choice() -> None:
    applications = Applications(RelayApplication(allowed={"*"}, max_size=1000, offsets=True))
    assert applications.choose({}) is applications.choose({"room": "r"})
