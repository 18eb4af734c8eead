"""The relay's own address, for pages that show it: from the setting `public-url`, or from the request."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from starlette.requests import Request

from relay.config import Settings

_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(
    rf"(?P<name>{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<ip>[0-9A-Fa-f:.]{{2,45}})\])(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII
)
_LONGEST_NAME: Final = 253


def address_of(request: Request, settings: Settings) -> str:
    """Return `http://host:port`, or https.

    The page repeats the address, so the `Host` header counts only if it is a host (RFC 1123) and perhaps a port.
    """
    if settings.public_url:
        return settings.public_url.strip().rstrip("/")
    hosts = request.headers.getlist("host")
    scheme = "https" if request.url.scheme == "https" else "http"
    if len(hosts) == 1 and _is_host(hosts[0]):
        return f"{scheme}://{hosts[0]}"
    return f"{scheme}://localhost:{settings.port}"


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    if found is None or len(found["name"]) > _LONGEST_NAME or not 1 <= int(found["port"] or 1) <= 65_535:
        return False
    try:
        return found["ip"] is None or IPv6Address(found["ip"]) is not None
    except AddressValueError:
        return False


def websocket_of(address: str) -> str:
    """Return the WebSocket address for an HTTP address."""
    return f"ws{address.removeprefix('http')}"
