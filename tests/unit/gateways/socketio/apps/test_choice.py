"""The choice of an application."""

from collections.abc import Mapping
from typing import Any

import pytest

from relay.gateways.socketio.apps.channel import ChannelApplication
from relay.gateways.socketio.apps.choice import Applications
from relay.gateways.socketio.apps.relay import RelayApplication


class Other:
    """An application that serves clients with its mark, and the namespace `/other`."""

    key = "other"
    namespaces = ("/other",)
    client: Any = None
    packets: Any = None

    def recognises(self, query: Mapping[str, str]) -> bool:
        return "mark" in query


def test_every_client_has_the_relays_own_application_in_every_namespace() -> None:
    relay = RelayApplication(allowed={"*"}, max_size=1000, offsets=True)
    applications = Applications(relay)
    for query in ({}, {"room": "r"}):
        assert {applications.choose(query)(name) for name in ("/", "/rooms/r")} == {relay}


def test_clients_alike_keep_the_same_choice() -> None:
    applications = Applications(RelayApplication(allowed={"*"}, max_size=1000, offsets=True))
    assert applications.choose({}) is applications.choose({"room": "r"})


@pytest.mark.parametrize(
    ("query", "namespace", "is_other"),
    [({}, "/", False), ({}, "/other", True), ({"mark": "1"}, "/", True), ({"mark": ""}, "/rooms/r", True)],
)
def test_an_application_serves_its_namespaces_and_the_clients_that_it_recognises(
    query: Mapping[str, str], namespace: str, *, is_other: bool
) -> None:
    relay, other = RelayApplication(allowed={"*"}, max_size=1000, offsets=True), Other()
    applications = Applications(relay, [other])
    choice = applications.choose(query)
    assert choice(namespace) is (other if is_other else relay)
    assert applications.is_recognised(choice) is ("mark" in query)
    assert applications.choose(dict(query)) is choice


def test_each_channel_has_one_application() -> None:
    choose = Applications(RelayApplication(allowed={"*"}, max_size=1000, offsets=True)).choose({})
    assert isinstance(choose("/a%20b"), ChannelApplication)
    assert choose("/a%20b") is choose("/a b")
    assert choose("/a") is not choose("/b")
