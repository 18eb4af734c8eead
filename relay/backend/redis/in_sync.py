"""The number of replicas that a message waits for: all that are in sync with the master, and never too few of them."""

from typing import Any, Final

from relay.backend.redis.replication import Replication

_ACK_INTERVAL: Final = 1.0
"""Seconds between two acknowledgements of a replica that has nothing new, so the usual lag of one."""


class InSyncReplicas:
    """Counts the replicas of one master from which one may be chosen as the next master.

    Each of them has to have an acknowledged message, so a message waits for all, and for `least` at least. A replica
    that leaves counts for `patience` seconds more: perhaps it has taken the part of this master, which is one of the
    past then, and must acknowledge nothing by its other replicas until the worker hears of the new one.
    """

    def __init__(self, least: int, patience: float) -> None:
        self._least = least
        self.patience = patience
        self.needed = least
        """How many replicas a message waits for at present."""
        self._run = ""

    @property
    def has_spare(self) -> bool:
        """Whether a message waits for more replicas than it must."""
        return self.needed > self._least

    def count(self, run: str, info: Any) -> None:
        """Take the reply to `INFO replication` of a run of Redis; one without replicas changes nothing."""
        if run != self._run:
            self._run, self.needed = run, self._least
        if isinstance(info, bytes):
            most_lag = max(0.0, self.patience - _ACK_INTERVAL)
            self.needed = max(self.needed, Replication.in_sync(info.decode("latin-1"), most_lag))

    def lack(self, confirmed: int) -> None:
        """Count no longer those that did not confirm within `patience`."""
        self.needed = max(self._least, confirmed)
