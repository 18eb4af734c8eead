"""This machine's own address in given networks."""

from ipaddress import ip_network

import pytest

from relay.config import Settings
from relay.config.settings import ListenAddress
from relay.process.own_address import address_in, forward_address
from relay.process.server import CannotListen


def settings(listen: str, *networks: str) -> Settings:
    return Settings(forward_listen=listen, forward_networks=networks)


def test_none() -> None:
    assert forward_address(Settings()) is None


def test_an_address_is_used_as_it_is() -> None:
    assert forward_address(settings("10.0.0.1:8890", "10.0.0.0/8")) == ListenAddress("10.0.0.1", 8890)


def test_a_wildcard_is_replaced_by_the_address_in_the_networks() -> None:
    found = forward_address(settings("0.0.0.0:8890", "203.0.113.0/24", "127.0.0.0/8"))
    assert found == ListenAddress("127.0.0.1", 8890)


def test_no_address_in_the_networks() -> None:
    with pytest.raises(CannotListen, match=r"no address in the forward-networks 203\.0\.113\.0/24;"):
        forward_address(settings("0.0.0.0:8890", "203.0.113.0/24"))


def test_the_address_of_the_hosts_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", ("198.51.100.7", 0)), (0, 0, 0, "", ("fe80::1%eth0", 0, 0, 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: found)
    assert address_in(ip_network("198.51.100.0/24")) == "198.51.100.7"


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", fail)
    assert address_in(ip_network("198.51.100.0/24")) == ""


def test_a_network_of_one_address() -> None:
    assert address_in(ip_network("127.0.0.1/32")) == "127.0.0.1"
    assert address_in(ip_network("2001:db8::1/128")) == ""
