"""The interfaces between the rooms of a worker and the backend's record of the members of each room.

A member's *generation* shows which connection a peer id belongs to: every takeover raises it, and a connection with a
lower one is no member any more. A *lease* is a worker's sign of life; each presence entry names the lease of the worker
that has the member. A member is *connected*, or, after its connection was lost, *held* until the worker that owns the
lease lets it leave.
"""

import secrets
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from relay.backend.rules import StoredRules
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import Refused, Unavailable
from relay.model.events import Roster
from relay.model.room_list import FIRST_ROOMS, RoomPage, RoomQuery
from relay.model.standing import Standing


class ListRooms(Protocol):
    """Reads a page of the rooms that have members; raises `Unavailable` or `OutcomeUnknown`."""

    async def __call__(self, query: RoomQuery = FIRST_ROOMS) -> RoomPage:
        """Return the page."""
        ...


HasLivingWorkers = Callable[[str], Awaitable[bool]]
"""Tells whether every member of a room is under the lease of a worker that is alive since Redis came back.

Raises `Unavailable` or `OutcomeUnknown`.
"""


StandingsOf = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Standing]]]
"""Returns how members of a room stand, by peer id; peers that are no members are left out.

Raises `Unavailable` or `OutcomeUnknown`.
"""

ADOPTION_BATCH = 100
"""Rooms in which `Leases.adopt` takes members over between two of its results."""


_EARLIER_LEASES = 7
"""Earlier leases of a worker that it still takes for its own; of older ones, other workers take the members over."""

LeaveReason = Literal["left", "lost", "kicked", "closed"]
"""Why a membership ends: the client said goodbye, its connection was lost, it was put out, or its room was closed."""

LeaseEnd = Literal["", "lapsed", "lost", "older"]
"""Why a lease ended: it had run out, Redis had lost it, or Redis has older data than this worker wrote; "" if not."""


@dataclass(slots=True)
class LeaseName:
    """The name of this worker's lease, `worker/incarnation`.

    A worker that was cut off for longer than its lease begins a new incarnation, and so does a worker whose lease Redis
    has lost. Another worker may be taking over the members of the old one, and must be able to distinguish them from
    members of the new one. `own` are the present name and the last earlier ones, the newest first: an entry that names
    an earlier one is still this worker's until another worker has taken it over.
    """

    worker: str
    incarnation: str = field(default_factory=lambda: secrets.token_hex(6))
    own: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.own = (f"{self.worker}/{self.incarnation}",)

    def __str__(self) -> str:
        return self.own[0]

    def renew(self) -> None:
        """Begin a new incarnation."""
        self.incarnation = secrets.token_hex(6)
        self.own = (f"{self.worker}/{self.incarnation}", *self.own[:_EARLIER_LEASES])


def _never() -> bool:
    return False


class Renamed(NamedTuple):
    """A membership that a client gives up for one with another peer id in the room; without `peer`, there is none."""

    peer: str = ""
    generation: int = 0


class JoinAttempt(Struct, frozen=True, kw_only=True):
    """One attempt of a client to become a member of a room.

    `offered` is the fingerprint of the resume key that the client came with ("" for none). `fresh` is that of the key
    that it gets with a new membership, `derived` that of the key for a membership that exists ("": the same). `stamp`
    says when its request arrived (`relay.backend.stamps`; "" if unknown). Without `insists`, it does not take an entry
    from a connected member whose connection another attempt has. With `roster`, the result has a roster. `seen` is the
    newest id that the worker has seen in the room, and `since` the one that the client claims to have seen. With
    `resume_only` the attempt only succeeds if the peer is a member, connected or held. `info` is the new member info;
    with b"", a member that resumes keeps the one it has. An attempt that must wait is given up once `is_lost` says
    that its client is gone. `address` is the one under which the client's place in the room is counted; "" if it is not
    counted. With `barred`, a code of an error, the attempt is refused if the room does not exist.

    `known` is the version of the room's rules that the worker has. `password` is the key derived from the room's
    password, `subject` the fingerprint of the token's subject; "" for none. A room that is opened gets the rules
    `opening` (`write_rules`), and these `attributes` (`StoredRules`); with attributes, its first member owns it. An
    attempt that `opens` is only for a room without members, one that does not (False) only for a room that exists; None
    for either. `token_subject` is the token's subject as it is, for webhooks. A client whose membership `renamed` is
    there is in the room already: passwords, locks and numbers of members do not keep it out.
    """

    room: str
    peer: str
    offered: str
    fresh: str
    derived: str = ""
    stamp: str = ""
    insists: bool = True
    roster: bool = False
    seen: MessageId = BEFORE_ALL
    since: MessageId = BEFORE_ALL
    resume_only: bool = False
    info: bytes = b""
    is_lost: Callable[[], bool] = _never
    address: str = ""
    barred: str = ""
    known: int = 0
    password: str = ""
    subject: str = ""
    opening: str = ""
    opens: bool | None = None
    attributes: str = ""
    renamed: Renamed = Renamed()

    def __repr__(self) -> str:
        # Without fingerprints and derived keys.
        return f"JoinAttempt(room={self.room!r}, peer={self.peer!r})"

    token_subject: str = ""

    @property
    def keeps_key(self) -> bool:
        """Whether the client offers the same key whenever it comes."""
        return bool(self.offered) and self.offered == self.fresh


class JoinResult(Struct, frozen=True, kw_only=True):
    """A membership: its generation, the room's current id, and whether the client resumed a membership that existed.

    `began` is the id of the event with which the membership began, before any resumption: earlier messages are not for
    this peer. `first` if the room has no other member, connected or held: of several clients that join at once,
    exactly one is first. A client that repeats its attempt, since the reply was lost, gets the same answer again.
    `info` is the member's info, as the entry has it now. `previous` is the offered key's fingerprint with the stamp, as
    `PresenceEntry` has it. `created` if the room did not exist before. `rules` are those of the room, None for none.
    `has_waiting` tells whether messages wait in the room for absent members (`relay.backend.waiting`), and `watched`
    whether the backend knows that another worker's client watches the room (`relay.backend.watches`).
    """

    generation: int
    id: MessageId
    resumed: bool
    roster: Roster | None = None
    began: MessageId = BEFORE_ALL
    first: bool = False
    info: bytes = b""
    previous: str = ""
    created: bool = False
    rules: StoredRules | None = None
    has_waiting: bool = False
    watched: bool = False


class PresenceEntry(Struct, frozen=True):
    """A member of this worker, as the backend is to record it.

    `generation` is 0 where the reply to a join was lost. `current` and `previous` are the fingerprints of the newest
    resume key and of the one before it; the stamp of the attempt that has the entry follows the previous one
    (`relay.backend.stamps`). `stamp` is the one of an attempt whose generation is unknown. `seen` is the newest id that
    the worker has seen in the room: a backend whose room is older was restored from a snapshot, and begins a new epoch.
    `began` and `info` are as in `JoinResult`. A `tracked` member may have a delivered position, which ends with the
    entry. `hold` is for how long (seconds) a member that is announced is held; 0 if it is connected. `connected` tells
    that the member was connected here until now: `Presence.leave` then knows that a missing entry was lost. `address`
    and `subject` are as in `JoinAttempt`. `reason` is why the membership ends, once it does.
    """

    room: str
    peer: str
    generation: int
    current: str = ""
    previous: str = ""
    seen: MessageId = BEFORE_ALL
    began: MessageId = BEFORE_ALL
    info: bytes = b""
    tracked: bool = False
    stamp: str = ""
    hold: float = 0
    connected: bool = False
    address: str = ""
    reason: LeaveReason = "left"
    subject: str = ""


@dataclass(frozen=True, slots=True)
class HeldMember:
    """A held member that this worker has taken over, and whose leave it publishes in `seconds`."""

    room: str
    peer: str
    generation: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """The result of a heartbeat: whether and why the worker's own lease `ended`, and which other leases are dead.

    Of the `dead` leases, the `retired` ones were ended by workers that stopped. Redis had lost the `lost` ones, whose
    workers mostly go on under another lease. The others ran out.
    """

    ended: LeaseEnd = ""
    dead: Sequence[str] = ()
    retired: Collection[str] = ()
    lost: Collection[str] = ()

    @property
    def lapsed(self) -> bool:
        """Whether the worker has another lease than before."""
        return bool(self.ended)


def taken(room: str, peer: str, *, held: bool) -> Refused:
    """Return the error for an attempt whose peer id another client has, as far as the relay can tell."""
    if held:
        text = f"{peer} is held in {room}: its connection was lost, and it may come back"
        return Refused("peer_taken", text, peer=peer, room=room, held=True)
    return Refused("peer_taken", f"{peer} is in use in {room}", peer=peer, room=room)


def too_many_places(room: str, most: int) -> Refused:
    """Return the error for an attempt whose address has `most` members in the room."""
    return Refused("too_many_places", f"{room} has {most} members from this address", room=room)


class Contested(Refused):
    """The entry that an attempt would take is that of another attempt of the same client, and connected.

    Which connection the client still has shows in a moment: that of the other attempt is closed, and its entry held, or
    this attempt's own is. `newer` if this one arrived later, so that it may insist.
    """

    def __init__(self, room: str, peer: str, *, newer: bool) -> None:
        super().__init__("superseded", peer=peer, room=room)
        self.newer = newer


class TooLate(Unavailable):
    """Redis did nothing: this worker's lease is over, or it takes the time of Redis's clock for another one.

    That is so after it has stood still, until its next heartbeat.
    """


class Presence(Protocol):
    """The members of all rooms. Every method raises `Unavailable` or `OutcomeUnknown` when Redis does not answer."""

    async def join(self, attempt: JoinAttempt) -> JoinResult:
        """Make a client a member of a room, under this worker's lease.

        A peer id that is in use is taken over if `offered` matches the current or the previous key of its entry: a
        `TakenOver` is published, and `fresh` becomes the current key. Otherwise a `MemberJoined` is published. If that
        gives the peer another info, a `MemberChanged` follows at once. A new entry can be resumed with `offered`, too,
        in case the reply is lost on its way to the client.

        Attempts that offer the same key are of one client, and the newest of them has the membership: one that offers
        the previous key, and arrived earlier than the attempt that has the entry, is refused (`superseded`). While the
        member is connected, an attempt that does not insist, or whose order is unclear, raises `Contested`. The same
        holds for a key that its client keeps (`fresh` and `derived` are `offered`), but that it comes again is usual:
        then an attempt that insists takes the entry unless it is older.

        The room's rules are checked for a new membership. Raises `RulesLost` if the rules that the backend has are
        older than `known`, and `Refused`: `banned`, `room_locked`, `PasswordNeeded`, or `no_such_room` while the room
        is being closed.

        Raises `Refused`: `room_exists` or `no_such_room` for an attempt that `opens` or does not, `superseded`,
        `peer_taken` (with `held` in its detail if the member is held), `room_full`, the code in `barred` if the room
        does not exist, `memory_low` for a new membership while the backend's memory is full, `too_many_places` if the
        members of the attempt's address, held ones included, are as many as `RoomSettings.places`, or `not_joined` if
        the attempt is `resume_only` and the peer is no member. A member that resumes is not refused: its place moves to
        the address from which it comes.
        """
        ...

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        """Record these members anew, as connected or held, and under this worker's lease.

        A member without an entry publishes a `MemberJoined`, and one whose entry has another info a `MemberChanged`.
        Returns the entries that were not recorded because an entry of a newer generation or attempt exists. Raises
        `TooLate` if some were not recorded for that reason.
        """
        ...

    async def change(self, entry: PresenceEntry) -> bool:
        """Record the entry's info as the member's; publishes a `MemberChanged` if it had another one.

        False means that nothing was done, for the same reasons as with `leave`: `announce` then finds out which, and
        records the entry if there is no newer one. The entry's generation must be known.
        """
        ...

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> Future[bool]:
        """Remove a member (publishes a `MemberLeft`), or hold it for `hold` seconds.

        When this returns, the request is sent, ahead of all later ones; the future gets its outcome. False means that
        nothing was done: the entry is gone, is another worker's, or has another generation, for instance since the
        client resumed it. An entry whose generation is 0 is identified by its stamp, else by its current fingerprint.
        Where Redis has an earlier entry of the same membership, since it failed over or was restored, the member is
        held under the present entry, with its current key.
        If the entry of a `connected` member is gone, it was lost: a `MemberLeft` is published at once all the same.
        """
        ...

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """Return the members of a room, and name up to `limit` of them; None for as many as `RoomSettings.roster`.

        Fewer are named if their names and infos would exceed `RoomSettings.roster_bytes`. A room without members has
        count 0.
        """
        ...


class Touched(NamedTuple):
    """The result of a renewal of rooms.

    `lost` are the rooms of which the backend does not have the member: it has lost the members of the room, or some of
    them. `again` are those that are to be renewed again soon, as they have keys that few rooms have. `vacant` are rooms
    that a takeover has registered, or kept from being left: the caller leaves those in which it has no members.
    `failed` are rooms that could not be renewed, while others were: a part of the backend is away, or refuses.
    """

    lost: Sequence[str]
    again: Sequence[str] = ()
    vacant: Sequence[str] = ()
    failed: Sequence[str] = ()


class Leases(Protocol):
    """The leases of all workers. Every method raises `Unavailable` or `OutcomeUnknown` when Redis does not answer."""

    async def beat(self) -> LeaseStatus:
        """Renew this worker's lease. If it has ended, the worker gets a lease of another name, without members.

        The members that are left under the old one, since the worker does not announce them, are taken over like those
        of a dead worker.
        """
        ...

    def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        """Take the members of a dead lease over, as held and under this worker's lease, in bounded batches of rooms.

        The lease must be one of the `dead` of the last heartbeat. Yields, after each batch, all members in its rooms
        that are held under this worker's lease: a repeated call also returns those whose first result was lost.
        Between two batches the caller can renew its own lease, or stop.
        """
        ...

    async def forget(self, lease: str) -> None:
        """Forget a dead lease, all of whose members were adopted."""
        ...

    async def retire(self) -> None:
        """End this worker's own lease now: other workers need not wait until it runs out."""
        ...

    async def touch(self, rooms: Mapping[str, str], left: Sequence[str] = ()) -> Touched:
        """Renew the time to live of these rooms; in the rooms of `left`, this worker has no members any more.

        Each room comes with one of its members here, or "".
        """
        ...
