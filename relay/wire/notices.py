"""Notices of limits of the wire that act: a metric counts them all, the log has one line a minute of each."""

import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from relay.limits import Clock
from relay.logs import LogIntervals

log = logging.getLogger("relay.wire")

_EVERY: Final = 60.0
"""Seconds between two log lines about the same limit: any client can cause them."""

LIMITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "head": "requests with a head above 64 KB or 256 headers were refused (431)",
        "framing": "requests whose chunk sizes, extensions or trailers outweigh their body were refused (400)",
        "pipeline": "requests were refused (429), as too many waited on one connection for their answers",
        "unread_body": "connections were closed: their request was answered, and its body went on",
        "idle_connections": (
            "idle HTTP connections were closed, as their address had more than http-connections-per-address"
        ),
        "http_connections": (
            "new connections were closed, as requests are being answered on as many HTTP connections of their address "
            "as may be open (http-connections-per-address, and two for each of connections-per-address)"
        ),
        "descriptors": (
            "connections were closed, as the open files that the system allows are nearly used up: raise that limit "
            "(ulimit -n, or LimitNOFILE= of systemd)"
        ),
        "small_frames": "reading from connections paused, as their control frames or fragments came above message-rate",
        "unfinished": (
            "reading from connections paused, as unfinished messages hold address-unfinished-bytes or unfinished-bytes"
        ),
        "unfinished_closed": "connections were closed, as their unfinished messages came too slowly or held most bytes",
    }
)
"""Each limit → its line in the log; the metric has the same names."""


def _ignore(limit: str) -> None:
    pass


class LimitNotices:
    """Counts how often each limit of `LIMITS` acts, and logs it.

    `count` is called with the name of the limit each time.
    """

    def __init__(self, count: Callable[[str], object] = _ignore, clock: Clock = time.monotonic) -> None:
        self._count = count
        self._lines = LogIntervals(_EVERY, clock)

    def note(self, limit: str, address: str) -> None:
        """Note that a limit acted on a connection of this address; "" if it is not known."""
        self._count(limit)
        unlogged = self._lines.due(limit)
        if unlogged is not None:
            log.warning(
                "%s: %d since the last such line, now of address %s", LIMITS[limit], unlogged + 1, address or "unknown"
            )
