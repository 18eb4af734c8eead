"""Addresses of clients: every spelling of one address is counted as one."""

import pytest

from relay.addresses import counted_address, normal_address

_IPV4 = "192.0.2.7"

_SPELLINGS_OF_IPV4 = (
    "192.0.2.7",
    "192.0.2.7:5678",
    " 192.0.2.7 ",
    '"192.0.2.7"',
    "192.0.2.007",
    "192.000.002.007",
    "0300.0.02.07",
    "0xc0.0.2.7",
    "0xC0.0x00.0x02.0x07",
    "0xc0000207",
    "3221225991",
    "030000001007",
    "192.0.519",
    "192.519",
    "::ffff:192.0.2.7",
    "::FFFF:192.0.2.7",
    "::ffff:c000:207",
    "0:0:0:0:0:ffff:c000:0207",
    "0000:0000:0000:0000:0000:FFFF:C000:0207",
    "[::ffff:192.0.2.7]",
    "[::ffff:c000:207]:443",
    '"[::ffff:c000:207]:443"',
    "::ffff:c000:207%eth0",
)

_IPV6_OF_AN_IPV4_HOST = (
    "64:ff9b::192.0.2.7",
    "64:ff9b::c000:207",
    "0064:FF9B:0:0:0:0:C000:0207",
    "2002:c000:207::",
    "2002:c000:207::1",
    "2002:c000:207:ffff::1",
    "2002:C000:0207:0001:0002:0003:0004:0005",
    "2001:0:5ef5:79fd:0:59d:3fff:fdf8",
    "2001:0000:5ef5:79fd:3cf2:1a2b:3fff:fdf8",
)

_SPELLINGS_OF_IPV6 = (
    "2001:db8:0:1::7",
    "2001:DB8:0:1::7",
    "2001:0db8:0000:0001:0000:0000:0000:0007",
    "2001:db8::1:0:0:0:7",
    "2001:db8:0:1::0.0.0.7",
    "[2001:db8:0:1::7]",
    "[2001:db8:0:1::7]:5678",
    '"[2001:db8:0:1::7]:5678"',
    "2001:db8:0:1::7%3",
    "[2001:db8:0:1::7%eth0]:80",
    "\t2001:db8:0:1::7",
)


@pytest.mark.parametrize("spelling", _SPELLINGS_OF_IPV4)
def test_one_ipv4_address_is_counted_as_one(spelling: str) -> None:
    assert counted_address(spelling) == normal_address(spelling) == _IPV4


@pytest.mark.parametrize("spelling", _IPV6_OF_AN_IPV4_HOST)
def test_an_ipv4_host_is_counted_as_one_behind_ipv6(spelling: str) -> None:
    assert counted_address(spelling) == _IPV4
    assert ":" in normal_address(spelling)


@pytest.mark.parametrize("spelling", _SPELLINGS_OF_IPV6)
def test_one_ipv6_address_is_counted_as_one(spelling: str) -> None:
    assert normal_address(spelling) == "2001:db8:0:1::7"
    assert counted_address(spelling) == "2001:db8:0:1::/64"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::2%eth1", "fe80::/64"),
        ("::1", "::/64"),
        ("64:ff9b:1::c000:207", "64:ff9b:1::/64"),
        ("192.0.2.8", "192.0.2.8"),
    ],
)
def test_ipv6_is_counted_by_networks_of_64_bits(address: str, counted: str) -> None:
    assert counted_address(address) == counted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "_hidden",
        "a:b",
        "a:b:c",
        "192.0.2.256",
        "1.2.3.4.5",
        "1.2.3.4 x",
        "0x",
        "0x.1",
        "0800.0.0.1",
        "\u0663.1.1.1",
    ],
)
def test_text_that_is_no_address_is_its_own_name(text: str) -> None:
    assert counted_address(text) == normal_address(text) == text


def test_the_name_of_a_text_that_is_no_address_is_short() -> None:
    assert len(counted_address("x" * 60_000)) == 100
    assert len(counted_address("1" * 60_000)) == 100
