"""The relay's own address, for pages that show it: from the setting `public-url`, or from the request."""

import re

from starlette.requests import Request

from relay.config import Settings

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)


def address_of(request: Request, settings: Settings) -> str:
    """Return `http://host:port`, or https.

    The page repeats the address, so the `Host` header counts only if it is nothing but a host and a port.
    """
    if settings.public_url:
        return settings.public_url.strip().rstrip("/")
    hosts = request.headers.getlist("host")
    scheme = "https" if request.url.scheme == "https" else "http"
    if len(hosts) == 1 and _HOST.fullmatch(hosts[0]):
        return f"{scheme}://{hosts[0]}"
    return f"{scheme}://localhost:{settings.port}"


def websocket_of(address: str) -> str:
    """Return the WebSocket address for an HTTP address."""
    return f"ws{address.removeprefix('http')}"
