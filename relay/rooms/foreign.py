"""Events of another fleet on the Redis channels of this one: they are ignored, and the operator learns of them."""

import logging
from collections.abc import Collection

from relay.limits import Clock
from relay.logs import LogIntervals
from relay.metrics import Metrics

log = logging.getLogger("relay.rooms.foreign")

_LOG_INTERVAL = 600.0
"""Seconds between two log lines: another fleet may publish for as long as it runs."""


class ForeignEvents:
    """Counts the epochs of rooms that this Redis does not know, and logs the first one."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    def note(self, room: str, epochs: Collection[int]) -> None:
        """Note that events of these epochs arrived in a room."""
        self._metrics.foreign_epochs.inc(len(epochs))
        if self._lines.due() is None:
            return
        log.error(
            "room %s: events of another fleet are ignored: their epoch %d is not in this database of Redis; "
            "give each fleet its own redis-prefix; fleets of an older version in other databases of this Redis use the "
            "same Redis channels: update them", room, min(epochs),
        )  # fmt: skip
