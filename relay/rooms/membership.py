"""Joining and leaving: the order in which a member uses the bus, presence and the hub."""

import asyncio
from typing import NamedTuple

from msgspec import structs

from relay.backend.presence import JoinAttempt, JoinResult, LeaveReason, PresenceEntry
from relay.identity.grants import Grants
from relay.metrics import Metrics
from relay.model.envelope import BEFORE_ALL, MembershipVersion, MessageId
from relay.model.errors import ClientGone, Refused
from relay.model.events import Loss, Message, Replay, Welcome
from relay.rooms.announcer import Announcer
from relay.rooms.claim import Claim
from relay.rooms.crowding import CrowdingLog
from relay.rooms.departures import Departures
from relay.rooms.entrances import Entrances
from relay.rooms.history_reads import HistoryReads
from relay.rooms.hub import Hub
from relay.rooms.ice import IceOffers
from relay.rooms.member import Member
from relay.rooms.openings import Opening, Openings
from relay.rooms.rules import subject_mark
from relay.rooms.subscriptions import RoomSubscriptions


class JoinOutcome(NamedTuple):
    """A join: the id from which the client goes on, and whether messages wait in the room for absent members."""

    position: MessageId
    has_waiting: bool


class Membership:
    """Joins and ends the memberships of one worker's members.

    A join is: stage the member and subscribe, write the presence entry, read the missed events, welcome. The
    subscription comes first: the entry gets an id in the room's order, and every event after that id reaches this
    worker then. In another order there would be a window in which events are missed without a trace.
    """

    def __init__(
        self,
        hub: Hub,
        subscriptions: RoomSubscriptions,
        departures: Departures,
        announcer: Announcer,
        entrances: Entrances,
        crowding: CrowdingLog,
        openings: Openings,
        reads: HistoryReads,
        ice: IceOffers,
        *,
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._rooms = hub.rooms
        self._subscriptions = subscriptions
        self._departures = departures
        self._announcer = announcer
        self._metrics = metrics
        self._entrances = entrances
        self._crowding = crowding
        self._openings = openings
        self._reads = reads
        self._ice = ice

    async def join(
        self,
        member: Member,
        claim: Claim,
        *,
        since: MessageId | None,
        key: str = "",
    ) -> JoinOutcome:
        """Write the member's presence entry, and welcome it; errors are those of `Worker.join`.

        The position is the id of the welcome: `since` if the client is recovered.
        """
        member.address = claim.address
        member.subject = subject_mark(claim.grants.subject) if claim.grants is not None else ""
        keyed = self._entrances.make(member, claim, seen=self._rooms.last(member.room), since=since or BEFORE_ALL)
        attempt = keyed.attempt
        rounds = self._announcer.rounds
        result = await self._join_in_quota(member, attempt, since, claim)
        resume, fingerprint = keyed.key(result)
        try:
            replay = Replay(result.id) if since is None else await self._missed(member, since, result)
            recovered = None if since is None else not replay.lost
            if result.watched:
                self._rooms[member.room].watched = True
            member.version = MembershipVersion(result.generation, result.id.epoch)
            member.began, member.resume, member.previous_resume = result.began, fingerprint, result.previous
            member.info = result.info
            member.keeps_key = bool(claim.moved_from or recovered)
            welcome = Welcome(
                room=member.room,
                peer=member.peer,
                id=_position(since, result.id, replay),
                resume=resume,
                resumed=result.resumed,
                recovered=recovered,
                reason=replay.lost,
                roster=result.roster,
                key=key,
                first=result.first,
                ice=self._ice.offer(member.peer, "welcome"),
            )
            self._hub.admit(member, result.generation, welcome, replay)
        except BaseException:
            # The entry was written, and the client has the key to resume it with.
            self._undo(member, self._entry(attempt, result), hold=True)
            raise
        # If all members were announced during the join, this one was in no batch, and its entry may name an old lease.
        self._announcer.needed |= rounds != self._announcer.rounds
        return JoinOutcome(welcome.id, result.has_waiting)

    async def history(self, member: Member, after: MessageId) -> Replay:
        """Return the events of a member's room after an id; they count for its address."""
        return await self._reads.read(member.room, after, member.address)

    async def _join_in_quota(
        self, member: Member, attempt: JoinAttempt, since: MessageId | None, claim: Claim
    ) -> JoinResult:
        """Join, and count a room that did not exist against its quota."""
        opening = await self.opening(member.room, claim.address, claim.grants, comes_back=claim.comes_back)
        created = False
        try:
            barred = structs.replace(attempt, barred=opening.barred) if opening.barred else attempt
            result = await self._join(member, barred, since, claim)
            created = result.created
        finally:
            opening.end(created=created)
        return result

    async def opening(
        self, room: str, address: str, grants: Grants | None, *, comes_back: bool = False, joins: bool = True
    ) -> Opening:
        """Return the right of a client to open a room, as `Openings.begin` does."""
        may_open = self._entrances.may_open(room, grants)
        return await self._openings.begin(room, address, may_open=may_open, comes_back=comes_back, joins=joins)

    async def count_room(self, room: str, address: str) -> None:
        """Count a room for which a client is about to store rules, as `Openings.count` does."""
        await self._openings.count(room, address)

    async def _join(self, member: Member, attempt: JoinAttempt, since: MessageId | None, claim: Claim) -> JoinResult:
        """Subscribe, and write the presence entry; if that fails, an entry that may have been written is removed."""
        hold = bool(claim.offered)
        try:
            await self._subscriptions.stage(member)
            result = await self._entrances.join(attempt, claim, member.connection)
        except (Refused, ClientGone) as error:
            self._remove(member)
            if error.code == "too_many_places":
                self._crowding.note(member.room, member.address)
            if since is not None and error.code == "not_joined":
                self._metrics.resumes.labels("not_resumed").inc()
            raise
        except BaseException:
            # The entry may have been written. A client that came with a resume key has it still, and may come back.
            self._undo(member, self._entry(attempt), hold=hold)
            raise
        if member.connection.lost:
            # At once: the client's next attempt may wait until the entry is held. It can offer the same key again.
            self._remove(member)
            self._departures.begin(self._entry(attempt, result), hold=hold)
            raise ClientGone()
        return result

    async def _missed(self, member: Member, since: MessageId, result: JoinResult) -> Replay:
        """Read the events that a returning member missed, up to its entry's id; later ones it receives live."""
        lost: Loss = ""
        if not result.resumed or (since.epoch == result.id.epoch and since < result.began):
            # Messages from before a peer's first join are not for it.
            lost = "not_resumed"
        elif since.epoch != result.id.epoch or since > result.id:
            # A client may send any id. An id that the room never had must not reach `Bus.replay`, which would take the
            # room's state for lost and begin a new epoch for all its members.
            lost = "epoch"
        if lost == "epoch" and since.epoch < result.id.epoch:
            replay = await self._since_the_epoch_began(member, result)
        elif lost:
            replay = Replay(result.id, lost=lost)
        else:
            replay = await self._reads.read(member.room, since, member.address)
            events = [event for event in replay.events if event.id <= result.id]
            replay = structs.replace(replay, id=result.id, events=events)
        self._metrics.resumes.labels(replay.lost or "recovered").inc()
        return replay

    async def _since_the_epoch_began(self, member: Member, result: JoinResult) -> Replay:
        """Read the messages of the present epoch for a member that knows an earlier one: it was in the room all along.

        Those of the earlier epoch cannot be told apart from the ones that it has; that is the loss.
        """
        replay = await self._reads.read(member.room, MessageId(result.id.epoch, 0), member.address)
        events = [
            event
            for event in replay.events
            # The list in the welcome has the result of all joins and leaves.
            if isinstance(event, Message) and event.id <= result.id and not _is_before(event.id, result.began)
        ]
        return Replay(result.id, () if replay.lost else events, "epoch")

    def leave(
        self, member: Member, *, hold: bool, tracked: bool = False, reason: LeaveReason = "left"
    ) -> asyncio.Future[None]:
        """End a membership: at once, or with `hold` after the reconnect grace time.

        A `tracked` member may have a delivered position, which ends with the membership. `reason` is as in
        `Worker.leave`. Never fails: a leave that Redis did not take is retried. The future is done after the first
        attempt.
        """
        entry = self._announcer.entry_of(member)
        if not self._rooms.remove(member):
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self._subscriptions.note_idle(member.room)
        if tracked or reason != entry.reason:
            entry = structs.replace(entry, tracked=tracked, reason=reason)
        return self._departures.begin(entry, hold=hold)

    def _undo(self, member: Member, entry: PresenceEntry, *, hold: bool) -> None:
        self._remove(member)
        self._departures.schedule(entry, hold=hold)

    def _remove(self, member: Member) -> None:
        self._hub.withdraw(member)
        self._subscriptions.note_idle(member.room)

    @staticmethod
    def _entry(attempt: JoinAttempt, result: JoinResult | None = None) -> PresenceEntry:
        """The entry that a join wrote; without a result, the one that it may have written."""
        if result is None:
            stamp = attempt.stamp if attempt.offered else ""
            return PresenceEntry(attempt.room, attempt.peer, 0, attempt.fresh, seen=attempt.seen, stamp=stamp)
        return PresenceEntry(attempt.room, attempt.peer, result.generation, seen=result.id)


def _position(since: MessageId | None, newest: MessageId, replay: Replay) -> MessageId:
    """Return the position from which a member is sent events: behind it are those of its replay."""
    if since is not None and not replay.lost:
        return since
    return MessageId(newest.epoch, 0) if replay.events else newest


def _is_before(one: MessageId, began: MessageId) -> bool:
    """Whether an event is from before a peer's first join, if that was in the same epoch."""
    return one.epoch == began.epoch and one <= began
