"""How clients reach the relay: the version of the protocol, the host that they come back to, and the namespace."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from relay.config import Settings
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.settings import FirebaseSettings
from relay.http_request import header
from relay.model.errors import Refused
from relay.model.names import escape_room

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)
_VERSION: Final = "5"


def check_version(query: Mapping[str, str]) -> None:
    """Raise `Refused` (`bad_query`) for a client of another version of the protocol."""
    if query.get("v") != _VERSION:
        raise Refused("bad_query", f"the relay speaks version {_VERSION} of the protocol: v={_VERSION}")


def read_host(scope: Scope) -> str:
    """Return the host by which a client has reached the relay, and comes back; raises `Refused` (`bad_query`)."""
    # A client of HTTP/1.0 need not name a host.
    host = header(scope, b"host") or "localhost"
    if not _HOST.fullmatch(host):
        raise Refused("bad_query", "the header Host is a name or an address, with a port or without")
    return host


def namespace_in(query: Mapping[str, str], host: str) -> str:
    """Return the namespace, as the name of a room: `ns` of the query, or the first label of the host."""
    return escape_room(query.get("ns") or host.partition(":")[0].partition(".")[0])


def places_of(settings: Settings, query: Mapping[str, str], host: str) -> Places:
    """Return the paths of a connection, by the setting `firebase-room`; raises `Refused` (`bad_room`)."""
    whole_database = settings.of(FirebaseSettings).firebase_room == "namespace"
    return Places(namespace_in(query, host) if whole_database else "")
