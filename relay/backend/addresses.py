"""The interface to the addresses at which workers take requests that other replicas forward, and to their clock."""

from typing import Protocol


class Addresses(Protocol):
    """The addresses of all live workers. Each worker registers its own with its heartbeats, see `ForwardAddress`."""

    async def find(self, owner: str) -> str:
        """Return the address of a worker whose lease is live, "" if there is none.

        The text comes from Redis: the caller checks that it is an address. Raises `Unavailable` or `OutcomeUnknown`
        when Redis does not answer.
        """
        ...

    def now(self) -> int:
        """Return the time (ms) of a clock that all workers of the fleet share, as far as it is known."""
        ...
