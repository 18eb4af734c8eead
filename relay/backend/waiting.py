"""The interface between a worker and the backend's record of messages that wait for their receivers to join.

The worker with the sender holds such messages in its memory. The record outlives it: the worker on which the receiver
arrives, with whichever protocol, delivers from it, and the worker to which the sender comes back goes on from it.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from relay.model.waiting import WaitingMessage

MOST_WAITING: Final = 512
"""Messages of a room that the record has."""

MOST_WAITING_BYTES: Final = 1_048_576
"""Bytes of their envelopes."""

WAITING_TTL: Final = 60.0
"""Seconds for which a message stays in the record after its wait: until then, its sender may come back and ask."""


class WaitingMessages(Protocol):
    """Messages that wait; every method raises `Unavailable` or `OutcomeUnknown` without Redis's answer."""

    async def keep(self, room: str, message: WaitingMessage) -> bool:
        """Record a message; False if the room's record is full, even without those whose time to live is over."""
        ...

    async def of(self, room: str, peer: str) -> Sequence[WaitingMessage]:
        """Return the messages from or to a peer, in the order in which they were recorded."""
        ...

    async def drop(self, room: str, sender: str, keys: Sequence[str] | None = None) -> None:
        """Forget messages of a sender: those with these keys, or all."""
        ...
