"""The rates at which members post: a post may reach any worker, and belongs to no connection."""

import asyncio
from collections import OrderedDict
from typing import Final

from relay.limits import Pace
from relay.model.errors import Refused
from relay.rooms.admissions import Admissions

_MOST: Final = 10_000
"""Places whose rates are remembered; beyond, those that have not posted for the longest time are forgotten."""


class PostRates:
    """One `Pace` for each place that has posted to this worker, by a name of the place.

    Only places that have proved to be some are remembered: `keep` does that. So inventing places makes nothing be
    forgotten.
    """

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def __len__(self) -> int:
        """Return how many places are remembered."""
        return len(self._paces)

    def of(self, place: str, address: str) -> Pace:
        """Return the rate of a place, whose client has this address."""
        return self._paces.get(place) or self._admissions.pace_at(address)

    def keep(self, place: str, pace: Pace) -> None:
        """Remember the rate of a place that has posted."""
        self._paces[place] = pace
        self._paces.move_to_end(place)
        if len(self._paces) > _MOST:
            self._paces.popitem(last=False)[1].end()


async def wait_for_turn(pace: Pace, size: int) -> None:
    """Return when a message of so many bytes may be served; raises `Refused` (`too_fast`) if it may not."""
    while not pace.admits(size):
        seconds = pace.delay()
        if seconds is None:
            raise Refused("too_fast")
        await asyncio.sleep(seconds)
