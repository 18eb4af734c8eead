"""Addresses of clients in their normal form, however a socket or a header of a proxy spells them."""

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_LONGEST: Final = 100
"""Characters of a text that may be an address; longer ones are not looked at."""

_PADDED_IPV4: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}", re.ASCII)
_OLD_IPV4: Final = re.compile(r"[0-9a-fx]+(?:\.[0-9a-fx]+){0,3}", re.ASCII | re.IGNORECASE)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_REMEMBERED: Final = 4096
"""Texts whose addresses are remembered: each request of a client is asked for its address several times."""


def read_address(text: str) -> Address | None:
    """Return the address that a text spells; None if it spells none.

    Allowed are a port, brackets around IPv6, a zone, quotes, white space, IPv4 with zeros that fill its numbers up to
    three digits, and the spellings of IPv4 that `inet_aton` of POSIX reads (numbers in octal and hexadecimal, and fewer
    than four of them). A mapped address (RFC 4291) is IPv4.
    """
    return _read_address(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=_REMEMBERED)
def _read_address(text: str) -> Address | None:
    host = text.strip(" \t\"'")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return _read_old_ipv4(host)
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def normal_address(text: str) -> str:
    """Return the one spelling of the address that a text spells, without port and zone; the text itself if none."""
    found = read_address(text)
    return text if found is None else str(found)


def counted_address(text: str) -> str:
    """Return the name under which a client's address is counted: the address, of IPv6 the network of 64 bits.

    A network of 64 bits is the least that one customer has, and any of its addresses is free to use (RFC 6177). An IPv6
    address that stands for an IPv4 host counts as that host: translated (RFC 6052), 6to4 (RFC 3056) and Teredo (RFC
    4380). Text that is no address ("" for none) is its own name, cut after 100 characters.
    """
    return _counted_address(text) if len(text) <= _LONGEST else text[:_LONGEST]


@lru_cache(maxsize=_REMEMBERED)
def _counted_address(text: str) -> str:
    found = _read_address(text)
    if found is None:
        return text
    if isinstance(found, IPv4Address):
        return str(found)
    return str(_ipv4_host(found) or IPv6Network((int(found) >> 64 << 64, 64)))


def _ipv4_host(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.sixtofour is not None:
        # Each IPv4 address has 65,536 networks of 64 bits here.
        return address.sixtofour
    # All clients of one Teredo server are in one network of 64 bits.
    return address.teredo[1] if address.teredo is not None else None


def _read_old_ipv4(host: str) -> IPv4Address | None:
    try:
        if _PADDED_IPV4.fullmatch(host):
            return IPv4Address(".".join([number.lstrip("0") or "0" for number in host.split(".")]))
        return IPv4Address(socket.inet_aton(host)) if _OLD_IPV4.fullmatch(host) else None
    except (OSError, ValueError):
        return None
