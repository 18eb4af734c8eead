"""The interface to the index of subjects: in which rooms the holder of a token is connected."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

SUBJECT_TTL: Final = 120.0
"""Seconds for which a record lasts; workers renew those of their members."""

MOST_PLACES: Final = 1000
"""Records of one subject; of more, the oldest ones are dropped."""


class Place(NamedTuple):
    """A membership of a subject."""

    room: str
    peer: str


class Subjects(Protocol):
    """The members of this worker that have a subject (claim `sub` of a token), and a search for those of all workers.

    The record is a hint for application servers: it may be lost with Redis's data until the workers renew it.
    """

    def note(self, subject: str, place: Place) -> None:
        """Record, or renew, that a subject is connected there over this worker. It does not wait, and never fails."""
        ...

    def forget(self, subject: str, place: Place) -> None:
        """Remove a record of this worker. It does not wait, and never fails; other workers' records stay."""
        ...

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        """Return up to `limit` memberships of a subject, sorted; raises `Unavailable` or `OutcomeUnknown`."""
        ...
