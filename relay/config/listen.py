"""Addresses to listen on, as settings write them."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

_LISTEN: Final = re.compile(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253})):)?([0-9]{1,5})")


class ListenAddress(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def parse_host(text: str) -> str:
    """Return a host in one form: an IP address as RFC 5952 writes it, without brackets, and "" for `*`."""
    if text == "*":
        return ""
    try:
        ip = ip_address(text[1:-1] if text[:1] + text[-1:] == "[]" else text)
    except ValueError:
        return text
    return str((ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip)


def parse_listen(text: str) -> ListenAddress | None:
    """Read `PORT`, `HOST:PORT` or `[IPV6]:PORT`; the host is 127.0.0.1 if left out. None for an empty text.

    Raises ValueError for anything else.
    """
    if not text:
        return None
    found = _LISTEN.fullmatch(text)
    if not found or not 1 <= int(found[3]) <= 65_535:
        raise ValueError("not an address to listen on")
    return ListenAddress(found[1] or found[2] or "127.0.0.1", int(found[3]))


def parse_ip_listen(text: str) -> ListenAddress | None:
    """Read an address to listen on whose host is an IP address; as `parse_listen`."""
    address = parse_listen(text)
    if address is not None:
        ip_address(address.host)
    return address
