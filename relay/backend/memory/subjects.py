"""The index of subjects of a process without Redis."""

import heapq
from collections.abc import Sequence

from relay.backend.subjects import MOST_PLACES, Place


class MemorySubjects:
    """Keeps the records of one worker, which forgets each when the membership ends: they need not expire."""

    def __init__(self) -> None:
        self._places: dict[str, dict[Place, None]] = {}

    def note(self, subject: str, place: Place) -> None:
        """Record it."""
        places = self._places.setdefault(subject, {})
        if place not in places and len(places) >= MOST_PLACES:
            del places[next(iter(places))]
        places[place] = None

    def forget(self, subject: str, place: Place) -> None:
        """Remove the record, and the subject with its last one."""
        places = self._places.get(subject, {})
        places.pop(place, None)
        if not places:
            self._places.pop(subject, None)

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        """Look it up."""
        return heapq.nsmallest(limit, self._places.get(subject, ()))
