"""The seams between the hub and whatever remembers who is in which room.

A member's *generation* says which connection a peer's place in a room belongs to: every takeover raises it, and whoever
comes with a lower one has lost the place. A *lease* is a worker's sign of life; members hang from it. A member is
*connected*, or *held* after its connection was lost, until the time at which its lease's owner lets it go.
"""

import secrets
from asyncio import Future
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import Roster


@dataclass(slots=True)
class LeaseName:
    """The lease under which this worker's members stand: `worker/incarnation`; every lapse makes a new one."""

    worker: str
    incarnation: str = field(default_factory=lambda: secrets.token_hex(6))

    def __str__(self) -> str:
        return f"{self.worker}/{self.incarnation}"

    def renew(self) -> None:
        """Begin a new incarnation."""
        self.incarnation = secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings presence needs; seconds, but for the counts."""

    lease: float
    grace: float
    beat_interval: float
    presence_ttl: float
    sequence_ttl: float
    members_per_room: int
    presence_list: int
    log_length: int = 0
    log_age: float = 0.0


@dataclass(frozen=True, slots=True)
class JoinResult:
    """A place in a room was given: its generation, the room's current id, and whether it was there before (resumed).

    `began` is the id with which the place was given for the first time: what was said earlier is not for this peer.
    `first` if nobody else has one, connected or held: of several who come at once, exactly one is. Who asks again for
    want of an answer is told what that answer was: nobody else's place began earlier.
    """

    generation: int
    id: MessageId
    resumed: bool
    roster: Roster | None = None
    began: MessageId = BEFORE_ALL
    first: bool = False


@dataclass(frozen=True, slots=True)
class PresenceEntry:
    """A member's place in a room, as its worker remembers it; fingerprints are of resume keys, see `auth`.

    `seen` is the newest id that the worker has seen in the room: a state that is older was restored, and begins anew.
    `began` is as in `JoinResult`.
    """

    room: str
    peer: str
    generation: int
    current: str = ""
    previous: str = ""
    seen: MessageId = BEFORE_ALL
    began: MessageId = BEFORE_ALL


@dataclass(frozen=True, slots=True)
class HeldMember:
    """A held place that has come to this worker's care: to be let go of in `seconds`."""

    room: str
    peer: str
    generation: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """What a heartbeat found: whether the worker's own lease had lapsed, and which other leases have.

    Of the `dead`, those `ended` did not run out: their workers stopped, and said so.
    """

    lapsed: bool
    dead: Sequence[str] = ()
    ended: Collection[str] = ()


class Presence(Protocol):
    """Who is in which room. Everything raises `Unavailable` or `OutcomeUnknown` when Redis does not answer."""

    async def join(
        self,
        room: str,
        peer: str,
        *,
        offered: str,
        fresh: str,
        roster: bool,
        seen: MessageId = BEFORE_ALL,
        back: bool = False,
    ) -> JoinResult:
        """Take a place in a room, under this worker's lease.

        `offered` is the fingerprint of the resume key the client came with ("" for none), `fresh` that of the next one.
        A place that exists is taken over if `offered` matches its current or previous one: a `TakenOver` is published,
        and `fresh` replaces what is current. A new place publishes a `MemberJoined`; it, too, is good to come back to
        with `offered`, should the answer be lost on its way. With `roster`, the admission has one.
        `seen` is the newest id that the worker has seen in the room. Who only comes `back` gets no new place.
        Raises `Refused`: `peer_taken`, `room_full`; `not_joined` where there is no place to come back to.
        """
        ...

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """Write these places again as connected under this worker's lease; returns those that are lost to a newer one.

        A place that is no longer known publishes a `MemberJoined`.
        """
        ...

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> Future[bool]:
        """Give up a place: at once (publishes a `MemberLeft`), or hold it for `hold` seconds. False: not this worker's.

        It is on its way, ahead of whatever is asked for next, when this returns; the future tells when it is done.
        Called again with 0 when a hold has run out; a place that was taken over or came back meanwhile stays. Where the
        generation never became known (0), the place is the one with the seat's current fingerprint.
        """
        ...

    async def roster(self, room: str) -> Roster:
        """Who is in the room; a room nobody is in has count 0."""
        ...

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """Every room that has members, and how many, by name."""
        ...


class Leases(Protocol):
    """Which workers are alive, and what becomes of a dead one's members."""

    async def beat(self) -> LeaseStatus:
        """Renew this worker's lease. One that had lapsed begins anew under another name, with no members yet."""
        ...

    async def rooms_of(self, lease: str) -> Sequence[str]:
        """The rooms in which a dead worker's lease has members."""
        ...

    async def adopt(self, room: str, lease: str) -> Sequence[HeldMember]:
        """Take a dead lease's members in one room into this worker's care, as held; safe to repeat.

        Returns all that this worker holds in the room, for some may be its own from an attempt whose answer was lost.
        """
        ...

    async def bury(self, lease: str = "") -> None:
        """Forget a dead lease, once all its rooms were adopted. Without a name: end this worker's own, at the end."""
        ...

    async def touch(self, rooms: Sequence[str], gone: Sequence[str] = ()) -> None:
        """Put off the day on which Redis forgets these rooms by itself; in the `gone` ones this worker has nobody."""
        ...
