"""The interface to turns that the workers of a fleet take, so that one of them does a work for all."""

from typing import Final, Protocol

NOBODY: Final = "-"
"""The owner of a turn that is never given back."""


class Turns(Protocol):
    """Turns by name, and the results that the worker of a turn leaves for the others. A name is never text of a client.

    There may be one for each room that clients ask for, for a moment.
    """

    async def take(self, name: str, seconds: float, owner: str = NOBODY) -> bool:
        """Return whether it is the owner's turn; if so, it is nobody else's turn for so many seconds.

        The owner of a turn that may be given back is a name that no other take has. Raises `Unavailable` or
        `OutcomeUnknown` when Redis does not answer.
        """
        ...

    async def is_taken(self, name: str) -> bool:
        """Return whether a turn was taken less than its time ago; raises as `take`."""
        ...

    async def give_back(self, name: str, owner: str) -> None:
        """End a turn before its time is over, if its owner has it still; raises as `take`."""
        ...

    async def share(self, name: str, value: bytes, seconds: float) -> None:
        """Leave a value for the other workers, for so many seconds; raises as `take`."""
        ...

    async def shared(self, name: str) -> bytes:
        """Return the value that was left last, b"" for none; raises as `take`."""
        ...
