"""The interface between a worker and the backend's record of delivered positions.

The *delivered position* of a member is the id up to which it has surely got everything. Protocols whose clients have no
cursor of their own resume from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.model.envelope import MessageId


@dataclass(frozen=True, slots=True)
class DeliveredPosition:
    """The delivered position of a member, whose presence entry has this generation."""

    room: str
    peer: str
    generation: int
    id: MessageId


class DeliveredPositions(Protocol):
    """Delivered positions of members; every method raises `Unavailable` or `OutcomeUnknown` without Redis's answer."""

    async def note(self, positions: Sequence[DeliveredPosition]) -> None:
        """Record positions, all in one batch.

        A position is recorded only while its member has an entry of this generation, connected or held: so a record
        ends with its member, and a worker whose client has a newer connection elsewhere cannot overwrite a newer
        position.
        """
        ...

    async def noted(self, room: str, peer: str) -> MessageId | None:
        """Return the recorded position of a member; None if there is none, for instance since Redis lost its data."""
        ...

    async def renew(self, rooms: Sequence[str]) -> None:
        """Renew the time to live of the records of these rooms, which were not noted for a while."""
        ...
