"""Publishes envelopes that clients post: for members that prove their places by their resume keys."""

import asyncio
from typing import Final

from msgspec import structs

from relay.gateways.base.guard import Guard
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.post_rates import PostRates, wait_for_turn
from relay.limits import Pace
from relay.model.commands import Command, Identity, Publish
from relay.model.envelope import read_envelope
from relay.model.errors import Refused, RelayError
from relay.model.json_text import read_leniently
from relay.model.publication import Receipt
from relay.rooms.worker import Worker

_OF_MEMBERS: Final = frozenset({"out_of_order", "no_such_peer"})
"""Codes of errors that only a sender gets that has proved its place."""

_WAITS: Final = (0.02, 0.05, 0.1, 0.3, 0.5)
"""Seconds between two looks whether the envelope was sent after which this one is to come."""


class Poster:
    """Publishes for one place, within its rights and its rate."""

    def __init__(self, worker: Worker, place: HttpPlace, guard: Guard | None, rates: PostRates, pace: Pace) -> None:
        self._worker = worker
        self._rates = rates
        self._place = place
        self._guard = guard
        self._pace = pace

    @classmethod
    async def of(cls, worker: Worker, place: HttpPlace, token: str, address: str, rates: PostRates) -> "Poster":
        """Make the poster of a request from an address; raises `Refused`, as `Worker.identify` and `Grants.peer` do."""
        grants = await worker.identify(token, address)
        if grants is None:
            return cls(worker, place, None, rates, rates.of(place.name, address))
        grants.peer(place.peer, str)
        return cls.of_guard(worker, place, Guard(grants), address, rates)

    @classmethod
    def of_guard(cls, worker: Worker, place: HttpPlace, guard: Guard, address: str, rates: PostRates) -> "Poster":
        """Make the poster of a client whose token a session has checked."""
        pace = rates.of(place.name, address)
        worker.admissions.limit_pace(pace, guard.grants.limits.message_rate)
        return cls(worker, place, guard, rates, pace)

    async def publish(self, envelope: bytes, after: str = "", identity: Identity | None = None) -> Receipt:
        """Publish one envelope; `after` and `identity` are as in `Publish`. Raises `Refused`."""
        most = self._worker.settings.max_message
        if len(envelope) > most:
            raise Refused("too_large", f"the envelope has {len(envelope)} bytes; at most {most}")
        command = read_leniently(read_envelope, envelope)
        if after:
            command = structs.replace(command, after=after)
        if identity is not None:
            command = structs.replace(command, identity=identity)
        self.allowed(command)
        await self.turn(len(envelope))
        stored = self._pace.stored
        if not stored.open and stored.is_used_up:
            command = structs.replace(command, stored=False)
        try:
            receipt = await self._publish_in_order(command)
        except Refused as error:
            if error.code in _OF_MEMBERS:
                self._rates.keep(self._place.name, self._pace)
            raise
        self._rates.keep(self._place.name, self._pace)
        return receipt

    def allowed(self, command: Command) -> Command:
        """Return a command as the client may have it; raises `Refused`, as `Guard.check` does."""
        return command if self._guard is None else self._guard.check(command, self._place.room)

    async def turn(self, size: int) -> None:
        """Return when a request of so many bytes may be served; raises `Refused` (`too_fast`) if it may not."""
        await wait_for_turn(self._pace, size)

    async def _publish_in_order(self, command: Publish) -> Receipt:
        """Publish; an envelope that is to come after one which is still on its way waits for it, for a second."""
        for seconds in _WAITS if command.after else ():
            try:
                return await self._publish(command)
            except Refused as error:
                if error.code != "out_of_order":
                    raise
            await asyncio.sleep(seconds)
        return await self._publish(command)

    async def _publish(self, command: Publish) -> Receipt:
        place = self._place
        try:
            return await self._worker.publish_by_key(place.room, place.peer, place.resume, command)
        except Refused:
            raise
        except RelayError as error:
            # An endpoint has no answer of its own for an error that is not `Refused`.
            raise Refused(error.code, error.text, **error.detail) from None
