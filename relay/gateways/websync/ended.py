"""Clients whose sessions the relay has ended for good: their next handshake is refused, and they send no other one."""

from collections import OrderedDict
from typing import Final

from relay.gateways.base.http_sessions import ends_for_good
from relay.model.errors import CloseReason

_MOST: Final = 1000
"""Ends that are remembered; beyond, the oldest one is forgotten, and its client may enter like any other."""


class EndedSessions:
    """Why sessions have ended from which clients should not come back, by the names of their places."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[str, CloseReason] = OrderedDict()

    def note(self, name: str, reason: CloseReason) -> None:
        """Remember why a session has ended, unless its client may come back."""
        if not ends_for_good(reason):
            return
        self._reasons[name] = reason
        if len(self._reasons) > _MOST:
            self._reasons.popitem(last=False)

    def take(self, name: str) -> CloseReason | None:
        """Return why a session has ended for good, once; None if it has not."""
        return self._reasons.pop(name, None)
