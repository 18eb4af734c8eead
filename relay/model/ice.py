"""STUN and TURN servers that the relay sends to clients, in the form of W3C WebRTC's RTCIceServer."""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

MAX_SERVERS = 16

# RFC 7064 (stun) and RFC 7065 (turn), without percent-encoding in the host.
_HOST = r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
_PORT = r"(?::[0-9]{1,5})?"
_URL = re.compile(rf"stuns?:{_HOST}{_PORT}|turns?:{_HOST}{_PORT}(?:\?transport=(?:udp|tcp))?")

_Url = Annotated[str, Meta(max_length=512)]


class IceServer(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One server, or several that share their credentials."""

    urls: _Url | Annotated[tuple[_Url, ...], Meta(min_length=1, max_length=8)]
    username: Annotated[str, Meta(max_length=512)] = ""
    credential: Annotated[str, Meta(max_length=512)] = ""


_Servers = Annotated[tuple[IceServer, ...], Meta(max_length=MAX_SERVERS)]


def parse_ice_servers(text: str) -> Sequence[IceServer]:
    """Parse the setting: a JSON list of RTCIceServer, or comma-separated URLs of STUN servers; "" for none.

    Raises ValueError or `msgspec.ValidationError` for anything else, and for a TURN server without credentials, which a
    browser would refuse.
    """
    if text.lstrip().startswith("["):
        servers = msgspec.json.decode(text, type=_Servers)
    else:
        urls = tuple(url.strip() for url in text.split(",") if url.strip())
        servers = msgspec.convert([{"urls": url} for url in urls], _Servers)
    for server in servers:
        for url in (server.urls,) if isinstance(server.urls, str) else server.urls:
            if not _URL.fullmatch(url):
                raise ValueError("a URL begins with stun:, stuns:, turn: or turns:")
            if url.startswith("turn") and not (server.username and server.credential):
                raise ValueError("a TURN server needs username and credential")
    return servers
