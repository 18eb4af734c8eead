"""Changing the info of a member."""

import logging

from relay.backend.presence import Presence
from relay.limits import Clock, TokenBucket
from relay.model.errors import Refused, Replaced, Unavailable
from relay.model.member_info import INFO_BURST, INFO_RATE
from relay.rooms.announcer import Announcer
from relay.rooms.member import Member
from relay.rooms.registry import LocalRooms

log = logging.getLogger("relay.rooms.infos")

_TOO_FAST = f"an info may change {INFO_BURST:g} times at once, and {INFO_RATE:g} times a second on average"


class MemberInfos:
    """Changes the infos of this worker's members, each at a limited rate: every change goes to all watchers."""

    def __init__(self, rooms: LocalRooms, presence: Presence, announcer: Announcer, clock: Clock) -> None:
        self._rooms = rooms
        self._presence = presence
        self._announcer = announcer
        self._clock = clock

    async def change(self, member: Member, info: bytes) -> None:
        """Change a member's info; arguments and errors are those of `Worker.change_info`."""
        if member.info_bucket is None:
            member.info_bucket = TokenBucket(INFO_RATE, INFO_BURST, self._clock)
        if not member.info_bucket.take():
            raise Refused("too_fast", f"{_TOO_FAST}; it was not changed", room=member.room)
        before = member.info
        # Before the request: if the member is announced meanwhile, that must not bring the old info back.
        member.info = info
        try:
            await self._change(member)
        except Unavailable:
            if member.info is info:
                member.info = before
            raise

    async def _change(self, member: Member) -> None:
        entry = self._announcer.entry_of(member)
        if await self._presence.change(entry):
            return
        # Redis has lost the entry, or it names another lease or a newer generation; to announce it tells these apart.
        log.debug(
            "the presence entry of %s in %s has changed in Redis; announcing the member", member.peer, member.room
        )
        await self._announcer.announce([member])
        if not self._rooms.has(member):
            raise Replaced()
