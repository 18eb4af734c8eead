"""Requests that arrive after the goodbye of their client (`/abort`), at any worker: they join nothing."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.gateways.base.leaving import leave
from relay.gateways.base.recent_ids import RecentIds
from relay.model.errors import OutcomeUnknown, Refused, RelayError, Unavailable
from relay.rooms.admissions import Ticket
from relay.rooms.goodbyes import REMEMBERED
from relay.rooms.worker import Worker

_MOST_LEFT: Final = 10_000


class Entering(Protocol):
    """The session of a client that listens."""

    async def enter(self, read_request: Callable[[], JoinRequest | ObserveRequest]) -> None:
        """Join the client's room."""
        ...

    def leave(self) -> None:
        """End the session and its membership; does nothing if the session has ended."""
        ...

    @property
    def ticket(self) -> Ticket:
        """The admission of the client."""
        ...


class LeftPlaces:
    """The places whose clients have said goodbye: nobody comes back to them.

    This worker knows those that have said it here. The fleet knows all of the last minute, while Redis answers; without
    Redis, no client joins.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._here = RecentIds(worker.clock, seconds=REMEMBERED, most=_MOST_LEFT)
        self._goodbyes = worker.goodbyes

    async def note(self, place: HttpPlace) -> None:
        """Note the goodbye of a client, ahead of the end of its membership."""
        self._here.add(place.resume)
        try:
            await self._goodbyes.note(place.resume)
        except (Unavailable, OutcomeUnknown):
            # The client gets this error when its membership cannot be ended.
            return

    def check_here(self, place: HttpPlace) -> None:
        """Raise `Refused` (`not_joined`) if a client has said goodbye on this worker."""
        if place.resume in self._here:
            raise _left()

    async def check(self, place: HttpPlace) -> None:
        """Raise `Refused` (`not_joined`) if a client has said goodbye on any worker."""
        self.check_here(place)
        if await self._has(place.resume):
            raise _left()

    async def enter(self, session: Entering, request: JoinRequest) -> None:
        """Enter the room, and leave it at once if the client said goodbye between the check and the join."""
        await session.enter(lambda: request)
        if await self._has(request.resume):
            session.leave()
            # The session has ended without a goodbye if the client has dropped its request: the place is held then.
            place = HttpPlace(request.room, request.peer, request.resume)
            with suppress(RelayError):
                await leave(self._worker, place, session.ticket.address, arrived=time.monotonic())

    async def _has(self, resume: str) -> bool:
        try:
            return await self._goodbyes.has(resume)
        except (Unavailable, OutcomeUnknown):
            return False


def _left() -> Refused:
    return Refused("not_joined", "the client has said goodbye (/abort); negotiate again")
