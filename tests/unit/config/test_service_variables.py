"""Variables that Kubernetes makes for services are no settings."""

import pytest

from relay.config import SettingsError, load
from relay.config.service_variables import without_service_variables

OF_KUBERNETES = {
    "RELAY_SERVICE_HOST": "10.96.0.7",
    "RELAY_SERVICE_PORT": "8888",
    "RELAY_SERVICE_PORT_HTTP": "8888",
    "RELAY_PORT": "tcp://10.96.0.7:8888",
    "RELAY_PORT_8888_TCP": "tcp://10.96.0.7:8888",
    "RELAY_PORT_8888_TCP_PROTO": "tcp",
    "RELAY_PORT_8888_TCP_PORT": "8888",
    "RELAY_PORT_8888_TCP_ADDR": "10.96.0.7",
    "RELAY_REDIS_SERVICE_HOST": "fd00::7",
    "RELAY_REDIS_SERVICE_PORT_REDIS": "6379",
    "RELAY_REDIS_PORT": "tcp://[fd00::7]:6379",
    "RELAY_REDIS_PORT_6379_UDP_ADDR": "fd00::7",
    "RELAY_ADMIN_V2_PORT": "sctp://10.96.0.9:9",
}


def test_variables_of_services_are_left_out() -> None:
    assert load({}, OF_KUBERNETES) == load({}, {})
    others = {"RELAY_PORT": "9000", "RELAY_HOST": "::", "PATH": "/bin", "OTHER_SERVICE_HOST": "10.0.0.1"}
    assert without_service_variables(OF_KUBERNETES | others) == others


@pytest.mark.parametrize(
    ("name", "value"),
    [("RELAY_PORT", "tcp://"), ("RELAY_PORT", "8888x"), ("RELAY_REDIS_PORT", "6379"), ("RELAY_SERVICE", "x")],
)
def test_others_like_them_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load({}, {name: value})
