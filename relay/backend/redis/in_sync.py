"""The number of replicas that a message waits for: all that are in sync with the master, and never too few of them."""

import re
from collections import deque
from typing import Any, Final

_ACK_INTERVAL: Final = 1.0
"""Seconds between two acknowledgements of a replica that has nothing new."""

_REPLICA: Final = re.compile(r"^slave\d+:ip=([^,]*),port=(\d+),state=online,offset=(\d{1,20}),", re.MULTILINE)
_OFFSET: Final = re.compile(r"^master_repl_offset:(\d{1,20})", re.MULTILINE)


class InSyncReplicas:
    """Knows the replicas of one master from which the next master may be chosen.

    Each of them has to have an acknowledged message, so a message waits for all, and for `least` at least. A replica is
    in sync if it is online, and has what the master had at a count about a second ago. One that leaves, or is behind,
    counts for `patience` seconds more from the count that shows it: perhaps it has taken the part of this master, which
    must acknowledge nothing by its other replicas until the worker hears of the new one. While a master stands still
    there are no counts, so none of its replicas is forgotten when it goes on.
    """

    def __init__(self, least: int, patience: float) -> None:
        self._least = least
        self._patience = patience
        self._run = ""
        # Since when each has been missing, None if it is in sync.
        self._replicas: dict[tuple[str, str], float | None] = {}
        # How far the master was at the last counts, with their times, and at the last one that is old enough.
        self._offsets: deque[tuple[float, int]] = deque()
        self._reached = 0

    @property
    def needed(self) -> int:
        """How many replicas a message waits for at present."""
        return max(self._least, len(self._replicas))

    @property
    def has_spare(self) -> bool:
        """Whether a message waits for more replicas than it must."""
        return len(self._replicas) > self._least

    def count(self, run: str, info: Any, now: float) -> None:
        """Take the reply to `INFO replication` of a run of Redis; one that is not of a master changes nothing."""
        text = info.decode("latin-1") if isinstance(info, bytes) else ""
        written = _OFFSET.search(text)
        if written is None or "role:master" not in text:
            return
        if run != self._run:
            self._run, self._reached = run, 0
            self._replicas.clear()
            self._offsets.clear()
        while self._offsets and self._offsets[0][0] <= now - _ACK_INTERVAL:
            self._reached = self._offsets.popleft()[1]
        self._offsets.append((now, int(written[1])))
        for address, since in self._replicas.items():
            self._replicas[address] = now if since is None else since
        for ip, port, offset in _REPLICA.findall(text):
            if int(offset) >= self._reached:
                self._replicas[ip, port] = None
        for address, since in list(self._replicas.items()):
            if since is not None and now - since >= self._patience:
                del self._replicas[address]
