"""Addresses to listen on."""

import pytest

from relay.config import ListenAddress, Settings, load
from relay.config.listen import parse_host, parse_ip_listen, parse_listen


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", None),
        ("9090", ListenAddress("127.0.0.1", 9090)),
        ("0.0.0.0:9090", ListenAddress("0.0.0.0", 9090)),
        ("relay.example:1", ListenAddress("relay.example", 1)),
        ("[::1]:65535", ListenAddress("::1", 65535)),
    ],
)
def test_an_address_to_listen_on_is_read(text: str, address: ListenAddress | None) -> None:
    assert parse_listen(text) == address
    assert Settings(admin_listen=text).admin_address == address


@pytest.mark.parametrize("text", ["0", "65536", "host", ":9090", "::1:9090", "[::1]", "a b:1", "1:2:3", "-1", "٣"])
def test_an_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


def test_a_host_name_is_refused_where_an_ip_address_is_needed() -> None:
    assert parse_ip_listen("10.0.0.1:1") == ListenAddress("10.0.0.1", 1)
    assert parse_ip_listen("") is None
    with pytest.raises(ValueError):
        parse_ip_listen("relay.example:1")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("::", "::"),
        ("[::]", "::"),
        ("::0", "::"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("[::1]", "::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("*", ""),
        ("", ""),
        ("0.0.0.0", "0.0.0.0"),
        ("localhost", "localhost"),
        ("[", "["),
    ],
)
def test_a_host_is_read_in_each_of_its_spellings(text: str, host: str) -> None:
    assert parse_host(text) == host
    assert load({"host": text}, {})[0].host == host
