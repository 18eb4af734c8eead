"""The answer to `/negotiate`: how the client is to connect, and in which times."""

from typing import Any, Final

from relay.config import Settings
from relay.gateways.signalrclassic.sockets import KEEPALIVE_SECONDS

_PATIENCE: Final = 30.0
"""Seconds for which a client tries to reconnect, at least; a longer hold of its place is doubled."""

_LONGEST_SILENCE: Final = 110.0
_CONNECT_SECONDS: Final = 5.0
"""Seconds that the client gives a poll, and a transport to begin: the original's."""


def negotiated(
    settings: Settings, *, path: str, version: tuple[int, int], peer: str, connection_token: str
) -> dict[str, Any]:
    """Return the fields of the answer to a client of a version of the protocol; times are in seconds.

    `path` is that of the later requests, and `peer` the text of the client's peer id.
    """
    return {
        "Url": path,
        "ConnectionToken": connection_token,
        "ConnectionId": peer,
        "KeepAliveTimeout": 2 * KEEPALIVE_SECONDS,
        "DisconnectTimeout": max(_PATIENCE, 2 * settings.reconnect_grace),
        "ConnectionTimeout": _LONGEST_SILENCE,
        "TryWebSockets": True,
        "ProtocolVersion": f"{version[0]}.{version[1]}",
        "TransportConnectTimeout": _CONNECT_SECONDS,
        "LongPollDelay": 0.0,
    }
