"""The log of addresses that have as many places in a room as they may have."""

import logging
from typing import Final

from relay.limits import Clock
from relay.logs import LogIntervals

log = logging.getLogger("relay.rooms.crowding")

_LOG_INTERVAL: Final = 60.0
"""Seconds between two lines: any client can cause one."""


class CrowdingLog:
    """Logs refusals for want of a place, one a minute, with the number of those that were not logged."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    def note(self, room: str, address: str) -> None:
        """Log that a client of an address was refused in a room."""
        unlogged = self._lines.due()
        if unlogged is None:
            return
        log.warning(
            "room %s has %d members from %s, and further ones are refused (too_many_places); if many people are behind "
            "this address, raise places-per-address; if it is a load balancer's, set trusted-proxies (%d more refusals "
            "since the last of these lines)", room, self._most, address, unlogged,
        )  # fmt: skip
