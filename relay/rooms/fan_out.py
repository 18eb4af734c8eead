"""The budget of deliveries that the messages of one room may cause on this worker."""

from typing import Final

from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.rooms.room import Budget, LocalRoom

_LONGEST: Final = 5.0
"""Seconds for which a sender waits at most."""

SMALL: Final = 16
"""Members of a room here up to which nothing is counted: the rates of the senders bound its deliveries."""


class FanOut:
    """Counts the deliveries of each larger room, and slows the senders of one that causes more than `rate` a second.

    A message above the rate is published; its sender then waits until the room's budget is even again, and so do the
    others with their next messages. So the messages of a room, however many members send them, cost the worker no more
    than the rate, and nothing is lost.
    """

    def __init__(self, *, rate: float, clock: Clock, metrics: Metrics) -> None:
        self._rate = rate
        self._clock = clock
        self._metrics = metrics

    def charge(self, room: LocalRoom, command: Publish) -> float:
        """Count a message that is being published; return the seconds for which its sender is to wait, mostly 0."""
        deliveries = len(command.to) or len(room.members)
        if room.observers is not None:
            deliveries += len(room.observers.listening)
        budget = self.count(room, deliveries)
        if budget.left >= 0:
            return 0.0
        self._metrics.fan_out_waits.inc()
        return min(_LONGEST, -budget.left / self._rate)

    def count(self, room: LocalRoom, deliveries: int) -> Budget:
        """Count deliveries, also those that a message causes beside the one to each member; return the budget."""
        now, budget = self._clock(), room.budget
        if budget is None:
            budget = room.budget = Budget(self._rate, now)
        budget.left = min(self._rate, budget.left + (now - budget.updated) * self._rate) - deliveries
        budget.updated = now
        return budget
