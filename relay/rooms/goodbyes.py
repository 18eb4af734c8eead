"""Goodbyes of clients whose later requests may reach any worker of the fleet."""

from typing import Final

from relay.backend.turns import Turns
from relay.ids import fingerprint

REMEMBERED: Final = 60.0
"""Seconds for which the fleet remembers a goodbye: as long as a request of its client may be on its way."""


class Goodbyes:
    """Remembers which resume keys are those of clients that have said goodbye, of which Redis has the hash alone.

    Note a goodbye before the membership ends, and ask again after a join: a join that comes later finds the note then.
    Both methods raise `Unavailable` or `OutcomeUnknown` when Redis does not answer.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def note(self, resume: str) -> None:
        """Remember the goodbye of the client with this key."""
        await self._turns.take(_name(resume), REMEMBERED)

    async def has(self, resume: str) -> bool:
        """Return whether the client with this key has said goodbye."""
        return await self._turns.is_taken(_name(resume))


def _name(resume: str) -> str:
    return f"goodbye {fingerprint(resume)}"
