"""Attempts of clients to join: their keys, their stamps, and the waits until it is clear which one is to succeed."""

import asyncio
import base64
from collections.abc import Awaitable, Callable

from msgspec import Struct, structs

from relay import ids
from relay.backend.presence import Contested, JoinAttempt, JoinResult, Presence, Renamed
from relay.backend.stamps import StampOf
from relay.fleet_key import FleetKey
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import ClientGone, Refused
from relay.rooms.claim import Claim
from relay.rooms.connection import Connection
from relay.rooms.member import Member

_PURPOSE = "resume key"
_KEY_SIZE = 16

_DELAYS: tuple[float, ...] = (0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.3)
"""Seconds between two looks at an entry that another connection has. They also bound the wait for a goodbye."""

_INSISTS_AFTER = 5
"""Looks after which a newer attempt takes the membership from a connection that is still open, as far as is known."""

_KEPT_INSISTS_AFTER = 2
"""The same for a newer attempt with a key that the client keeps.

Most of these come while nobody uses the other connection any more: between two polls, or after a loss that its worker
has not noticed. They wait as long as a worker takes to read the end of a connection right behind the request.
"""

_OF_RULES = frozenset({"room_locked", "password_required", "no_such_room"})
"""Error codes for a client that comes back, whose membership may be recorded again in a moment."""

_MOST_WAITING = 500
"""Joins that wait on one worker; any further one is decided at once."""


class KeyedAttempt(Struct, frozen=True):
    """An attempt, and the keys whose fingerprints it has."""

    attempt: JoinAttempt
    fresh: str
    derived: str

    def key(self, result: JoinResult) -> tuple[str, str]:
        """Return the client's next resume key and its fingerprint."""
        if result.resumed:
            return self.derived, self.attempt.derived
        return self.fresh, self.attempt.fresh


class Attempts:
    """Makes attempts, and carries them out.

    The next key of a membership is derived from the key that the client offered. So all attempts that offer the same
    key lead to the same next key: a late one cannot make the key of the live connection invalid. A new membership gets
    a random key: otherwise a client with an old key could compute the later ones, once the membership had ended. A key
    that the client has made itself stays as it is.
    """

    def __init__(
        self,
        presence: Presence,
        stamp: StampOf,
        fleet_key: FleetKey,
        random: ids.IdGenerator,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._presence = presence
        self._stamp = stamp
        self._fleet_key = fleet_key
        self._random = random
        self._sleep = sleep
        self._waiting = 0

    def make(
        self, member: Member, claim: Claim, *, seen: MessageId = BEFORE_ALL, since: MessageId = BEFORE_ALL
    ) -> KeyedAttempt:
        """Make the attempt of a member's client; `seen` and `since` are as in `JoinAttempt`."""
        fresh, previous = self._random.resume_key(), ids.fingerprint(claim.offered)
        derived = self._derive(member, claim.offered) if claim.offered else fresh
        if claim.own_key:
            fresh = derived = claim.next_key or claim.offered
        if claim.moved_from is not None:
            # A client that moves keeps its key: so the old membership's key resumes the new membership as well.
            previous = claim.moved_from.stable_resume
        attempt = JoinAttempt(
            room=member.room,
            peer=member.peer,
            offered=previous,
            fresh=ids.fingerprint(fresh),
            derived=ids.fingerprint(derived) if claim.offered else "",
            stamp=self._stamp(member.room, claim.arrived) if previous else "",
            insists=False,
            roster=member.presence,
            seen=seen,
            since=since,
            resume_only=claim.resume_only,
            info=member.info,
            is_lost=lambda: member.connection.lost,
            address=claim.address,
            token_subject=claim.grants.subject if claim.grants else "",
            renamed=Renamed(claim.renamed.peer, claim.renamed.generation) if claim.renamed else Renamed(),
        )
        return KeyedAttempt(attempt, fresh, derived)

    async def join(self, attempt: JoinAttempt, connection: Connection, *, held_only: bool = False) -> JoinResult:
        """Call `Presence.join`, and again for up to a second while another connection has the entry.

        A client that gives an attempt up closes its connection, but perhaps after the next attempt has begun. Then the
        entry of the other attempt is held in a moment, or this connection is lost. A goodbye may be on its way as well:
        then the peer id is free in a moment. With `held_only`, it never insists. Raises `ClientGone`, and the errors of
        `Presence.join`.
        """
        insists_after = _INSISTS_AFTER
        for looks, delay in enumerate(_DELAYS):
            # Asking the system takes long. A new client that is gone already is no harm: it leaves with its connection.
            if (looks or attempt.offered or attempt.password) and connection.lost:
                raise ClientGone()
            insists = not held_only and (looks >= insists_after or self._waiting >= _MOST_WAITING)
            try:
                return await self._presence.join(structs.replace(attempt, insists=True) if insists else attempt)
            except Refused as error:
                if not _may_change(error, attempt) or self._waiting >= _MOST_WAITING:
                    raise
                if attempt.keeps_key and isinstance(error, Contested) and error.newer:
                    insists_after = _KEPT_INSISTS_AFTER
            self._waiting += 1
            try:
                await self._sleep(delay)
            finally:
                self._waiting -= 1
        if connection.lost:
            raise ClientGone()
        return await self._presence.join(structs.replace(attempt, insists=not held_only))

    def _derive(self, member: Member, offered: str) -> str:
        # Names are escaped: they have no space.
        data = f"{member.room} {member.peer} {offered}".encode()
        mac = self._fleet_key.sign(_PURPOSE, data, size=_KEY_SIZE)
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def _may_change(error: Refused, attempt: JoinAttempt) -> bool:
    if isinstance(error, Contested):
        return True
    if attempt.offered and error.code in _OF_RULES and not attempt.resume_only and attempt.opens is None:
        # Redis may have lost its entry, and have the rules again; its worker is about to announce it.
        return True
    return error.code == "peer_taken" and not error.detail.get("held") and not attempt.resume_only
