"""Announcing: writing the presence entries of members anew, after Redis may have lost them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from relay.backend.presence import LeaseEnd, Presence, PresenceEntry, TooLate
from relay.rooms.batches import run_in_batches
from relay.rooms.departures import Departures
from relay.rooms.hub import Hub
from relay.rooms.member import Member
from relay.rooms.rule_copies import RuleCopies

_BATCH = 500
"""Members that are announced together."""

_ATTEMPTS: Final = 20
_PAUSE: Final = 0.1
"""Seconds between two attempts: with their number, the time in which a worker that stood still has had a heartbeat."""


class Announcer:
    """Announces this worker's members, and closes those whose peer has a newer connection by now.

    `rounds` counts the rounds in which all members were announced. `needed` asks the heartbeat for one more round: the
    entry of a member that joined during a round may name the old lease, while no batch had the member. `on_loss` is
    called when Redis may have lost data of this worker, after all members were announced.
    """

    def __init__(
        self,
        hub: Hub,
        presence: Presence,
        departures: Departures,
        copies: RuleCopies,
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._rooms = hub.rooms
        self._presence = presence
        self._departures = departures
        self._copies = copies
        self._on_loss = on_loss
        self.rounds = 0
        self.needed = False

    async def announce_all(self, between: Callable[[], Awaitable[None]], ended: LeaseEnd = "lapsed") -> None:
        """Announce every member of this worker; `between` is awaited after each batch, as there may be many batches.

        `ended` says why. If Redis has lost data, the held members are announced, too. If it has older data, all rooms
        are compared with it: it may use ids again that were delivered here. In a room that only has observers here, no
        announcement shows them that members are gone: they get a new list.
        """
        self.rounds += 1
        self.needed = False
        # First, so that nobody new finds a room whose rules are not there yet.
        self._copies.restore_all()
        members = list(self._rooms.members())
        await run_in_batches(
            (self._announce(members[start : start + _BATCH]) for start in range(0, len(members), _BATCH)), between
        )
        if ended in {"lost", "older"}:
            await self._departures.announce(between)
            self._on_loss()
        if ended == "older":
            self._hub.doubt(self._rooms.names())
        self._hub.doubt_observed()

    async def announce(self, members: Sequence[Member]) -> None:
        """Announce these members, except those that have left; again until the next heartbeat if that is too late.

        Raises `Unavailable` or `OutcomeUnknown`.
        """
        self._copies.refresh({member.room for member in members})
        for _ in range(_ATTEMPTS):
            try:
                await self._announce(members)
            except TooLate:
                await asyncio.sleep(_PAUSE)
            else:
                return
        await self._announce(members)

    async def _announce(self, members: Sequence[Member]) -> None:
        # `Presence.announce` sends before it waits: a member that leaves from now on leaves after its announcement.
        present = {(member.room, member.peer): member for member in members if self._rooms.has(member)}
        for entry in await self._presence.announce([self.entry_of(member) for member in present.values()]):
            member = present[entry.room, entry.peer]
            if member.generation == entry.generation:
                self._hub.close_replaced(member)

    def entry_of(self, member: Member) -> PresenceEntry:
        """A member's presence entry as this worker knows it."""
        return PresenceEntry(
            member.room,
            member.peer,
            member.generation,
            member.resume,
            member.previous_resume,
            max(member.since, self._rooms.last(member.room)),
            member.began,
            member.info,
            address=member.address,
            subject=member.subject,
        )
