"""Warns of a relay that pages of all origins may use, and that the internet may reach."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from relay.config import Settings

_LOCAL_NAMES: Final = ("localhost", "local", "internal", "lan", "test", "home.arpa")
"""Names, and ends of names, that lead to no public address (RFC 6761, RFC 6762, RFC 8375, and common use)."""


def exposure_warning(settings: Settings, addresses: Iterable[str]) -> str:
    """Return a warning if `allowed-origins` is `*` on a public address, "" if not.

    `addresses` are those on which the relay listens. All addresses of the machine count as public.
    """
    if "*" not in settings.allowed_origins:
        return ""
    public = next((one for one in addresses if _is_public(one)), "")
    if settings.public_url:
        host = urlsplit(settings.public_url).hostname or ""
        where = f"public-url is {settings.public_url}" if _is_public_name(host) else ""
    else:
        where = ""
    if public and not where:
        where = f"the relay listens on {public}"
    if not where:
        return ""
    return (
        f"{where}, and allowed-origins is *: pages of every site can connect from the browsers of their visitors; set "
        "--allowed-origins https://YOUR.SITE (or RELAY_ALLOWED_ORIGINS) to the origins of your pages"
    )


def _is_public(address: str) -> bool:
    ip = ip_address(address.partition("%")[0])
    return ip.is_unspecified or ip.is_global


def _is_public_name(host: str) -> bool:
    try:
        return _is_public(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return "." in name and not name.endswith(tuple(f".{end}" for end in _LOCAL_NAMES))
