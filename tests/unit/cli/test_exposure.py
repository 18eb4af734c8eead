"""The warning at the start of a relay that pages of all origins may use on a public address."""

import pytest

from relay.cli.exposure import exposure_warning
from relay.config import Settings


@pytest.mark.parametrize(
    ("addresses", "public_url", "where"),
    [
        (["127.0.0.1"], "", ""),
        (["127.0.0.1", "::1"], "http://localhost:8888", ""),
        (["10.0.0.7"], "", ""),
        (["192.168.1.7"], "http://192.168.1.7", ""),
        (["fd00::1"], "", ""),
        (["fe80::1%eth0"], "", ""),
        (["100.64.0.1"], "", ""),
        (["0.0.0.0"], "", "listens on 0.0.0.0"),
        (["::"], "", "listens on ::"),
        (["0.0.0.0"], "http://relay.lan", "listens on 0.0.0.0"),
        (["10.0.0.7", "8.8.8.8"], "", "listens on 8.8.8.8"),
        (["2600::1"], "", "listens on 2600::1"),
        (["127.0.0.1"], "https://signal.example.com/relay", "public-url is https://signal.example.com/relay"),
        (["127.0.0.1"], "http://8.8.8.8", "public-url is http://8.8.8.8"),
        (["127.0.0.1"], "http://[2600::1]:8", "public-url is http://[2600::1]:8"),
        (["127.0.0.1"], "http://a.localhost", ""),
        (["127.0.0.1"], "http://printer.local:8888", ""),
        (["127.0.0.1"], "http://relay", ""),
        (["127.0.0.1"], "http://[fd00::1]", ""),
    ],
)
def test_only_a_public_address_is_warned_of(addresses: list[str], public_url: str, where: str) -> None:
    warning = exposure_warning(Settings(public_url=public_url), addresses)
    assert where in warning
    assert bool(warning) == bool(where)
    assert not warning or "--allowed-origins" in warning
    listed = Settings(public_url=public_url, allowed_origins=("https://page.example",))
    assert exposure_warning(listed, addresses) == ""
