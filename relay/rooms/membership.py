"""Joining, leaving and publishing: what takes the bus, presence and the hub together, in the right order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from relay import ids
from relay.backend.bus import Bus, Published
from relay.backend.presence import HeldMember, JoinAttempt, JoinResult, Presence, PresenceEntry
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL, MembershipVersion, MessageId, Publication, Receipt
from relay.model.errors import NotMember, Refused, RelayError, Replaced
from relay.model.events import Loss, Replay, Roster, Welcome
from relay.model.names import SERVER
from relay.rooms.hub import Hub
from relay.rooms.member import Member

log = logging.getLogger("relay.rooms.membership")

_LOCKS = 256
_SAMPLED = 16
"""Of so many messages, one has its way to Redis and to this worker's members measured."""

_BATCH = 500
"""Members that are told of anew at the same time."""


@dataclass(slots=True)
class Departure:
    """A place that is to be given up: at `due` on the clock, after being held until then if `hold`."""

    entry: PresenceEntry
    due: float
    hold: bool = False


class Membership:
    """The way into rooms and out of them, for the members of one worker.

    A join is: subscribe, take the place, welcome. In that order nothing that comes after the welcome is missed. What
    Redis could not be told of a departure is remembered until it could, and worked off by the keeper.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        presence: Presence,
        *,
        grace: float,
        clock: Clock,
        metrics: Metrics,
        random: ids.IdGenerator,
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._presence = presence
        self._grace = grace
        self._clock = clock
        self._metrics = metrics
        self._random = random
        # First joins and last leaves of a room take turns; rooms share locks, so that their number is bounded.
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]
        self._subscribed: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._publications = 0
        self._departures: dict[str, dict[tuple[str, str], Departure]] = {}
        self._announced = 0
        self.untold = False
        self.idle: dict[str, None] = {}

    # What a session asks for.

    async def join(
        self,
        member: Member,
        *,
        offered: str,
        since: MessageId | None,
        key: str = "",
        moved: Member | None = None,
        back: bool = False,
    ) -> None:
        """Give the member its place and welcome it; `offered` is the resume key it came with.

        `since` is the last id the client says it saw: if it held its place since then, what it missed follows the
        welcome. Who `moved` here comes back with the key it has for its place elsewhere; who comes `back` gets no new
        place. Raises `Refused` (`peer_taken`, `room_full`, `not_joined`), `Unavailable` or `OutcomeUnknown`; the member
        is in no room then.
        """
        resume = self._random.resume_key()
        current, previous = ids.fingerprint(resume), moved.stable_resume if moved else ids.fingerprint(offered)
        entry = PresenceEntry(member.room, member.peer, 0, current, seen=self._seen(member.room))
        announced = self._announced
        try:
            given = await self._take_place(member, entry, previous, back=back)
        except BaseException as error:
            self._forget(member)
            if not isinstance(error, Refused):
                # Who came with a key has it still, and may have a place to come back to.
                self._depart(entry, hold=bool(offered))
            elif since is not None and error.code == "not_joined":
                self._metrics.resumes.labels("not_resumed").inc()
            raise
        try:
            replay = Replay(given.id) if since is None else await self._missed(member.room, since, given)
            recovered = None if since is None else not replay.lost
            if recovered is not None:
                self._metrics.resumes.labels(replay.lost or "recovered").inc()
            member.version, member.began = MembershipVersion(given.generation, given.id.epoch), given.began
            member.resume, member.previous_resume = current, previous
            member.stable_resume = previous if moved or recovered else current
            welcome = Welcome(
                member.room, member.peer, since if since is not None and recovered else given.id, resume, given.resumed,
                recovered, replay.lost, given.roster, key, first=given.first,
            )  # fmt: skip
            self._hub.admit(member, given.generation, welcome, replay)
        except BaseException:
            # The place is there to come back to, with the key that the client has.
            self._forget(member)
            self._depart(replace(entry, generation=given.generation, seen=given.id), hold=True)
            raise
        # The lease under which the place was taken may be over, if another was announced since.
        self.untold |= announced != self._announced

    async def _take_place(self, member: Member, entry: PresenceEntry, offered: str, *, back: bool) -> JoinResult:
        async with self._lock(member.room):
            self._hub.expect(member)
            if member.room not in self._subscribed:
                await self._bus.subscribe([member.room])
                self._subscribed[member.room] = None
        return await self._presence.join(
            JoinAttempt(
                room=member.room,
                peer=member.peer,
                offered=offered,
                fresh=entry.current,
                roster=member.presence,
                seen=entry.seen,
                resume_only=back,
            )
        )

    async def _missed(self, room: str, since: MessageId, given: JoinResult) -> Replay:
        """What a member missed that has come back; whatever follows its new place comes to it live."""
        lost: Loss = ""
        if not given.resumed or (since.epoch == given.id.epoch and since < given.began):
            # What was said before somebody came is not for them.
            lost = "not_resumed"
        elif since.epoch != given.id.epoch or since > given.id:
            # What a client says may be wrong, and must not begin a new epoch for all.
            lost = "epoch"
        if lost:
            return Replay(given.id, lost=lost)
        replay = await self._bus.replay(room, since)
        return Replay(given.id, [event for event in replay.events if event.id <= given.id], replay.lost)

    def leave(self, member: Member, *, hold: bool) -> asyncio.Future[None]:
        """Give the member's place up: at once, or after the grace time.

        Never fails: what Redis misses is retried. The future is done after the first attempt.
        """
        entry = self._entry_of(member)
        if not self._hub.remove(member):
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self._after(member.room)
        return self.settle(self._depart(entry, hold=hold and self._grace > 0))

    def publish(self, member: Member, command: Publish, done: Published) -> None:
        """Send an envelope for this member; `done` is told as by `Bus.publish`."""
        publication = self._publication(member.room, member.peer, command, member.generation, member.version)
        self._publications += 1
        started = 0.0 if self._publications % _SAMPLED else self._clock()
        self._bus.publish(publication, partial(self._published, member, publication, started, done))

    def _published(
        self, member: Member, publication: Publication, started: float, done: Published, outcome: Receipt | RelayError
    ) -> None:
        if isinstance(outcome, Receipt):
            if outcome.version is not None:
                member.version = outcome.version
            if started:
                self._measure(member.room, outcome, started)
        elif isinstance(outcome, NotMember):
            self._spawn(self._publish_again(member, publication, done))
            return
        elif isinstance(outcome, Replaced):
            self._hub.replaced(member)
        done(outcome)

    async def _publish_again(self, member: Member, publication: Publication, done: Published) -> None:
        """Redis knows nothing of the member, which is here all the same: tell it, and try once more."""
        try:
            await self._announce([member])
        except RelayError as error:
            done(error)
            return
        if not self._hub.has(member):
            done(NotMember())
            return
        self._bus.publish(publication, done)

    def _measure(self, room: str, receipt: Receipt, started: float) -> None:
        self._metrics.publish_seconds.observe(self._clock() - started)
        observe = self._metrics.delivery_seconds.observe
        self._hub.when_delivered(room, receipt.id, lambda: observe(self._clock() - started))

    async def publish_from_server(self, room: str, command: Publish) -> Receipt:
        """Send an envelope that no member sent; raises what `Bus.publish` tells."""
        told: asyncio.Future[Receipt | RelayError] = asyncio.get_running_loop().create_future()

        def done(outcome: Receipt | RelayError) -> None:
            if not told.done():
                told.set_result(outcome)

        self._bus.publish(self._publication(room, SERVER, command, 0, MembershipVersion()), done)
        outcome = await told
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome

    async def roster(self, room: str) -> Roster:
        """Who is in a room."""
        return await self._presence.roster(room)

    # What the keeper does in the background.

    def settle(self, departure: Departure) -> asyncio.Future[None]:
        """Do now what is to be done about a departure; it stays due until that succeeds.

        The future is done when it has succeeded or failed; it never raises.
        """
        hold = max(0.0, departure.due - self._clock()) if departure.hold else 0.0
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = asyncio.ensure_future(self._presence.leave(departure.entry, hold=hold))
        asked.add_done_callback(partial(self._settled, departure, hold > 0, settled))
        return settled

    def _settled(
        self, departure: Departure, held: bool, settled: asyncio.Future[None], asked: asyncio.Future[bool]
    ) -> None:
        entry = departure.entry
        error = asked.exception()
        if error is not None:
            log.debug("leaving %s as %s: %s; trying again", entry.room, entry.peer, error)
        elif held and asked.result():
            departure.hold = False
        else:
            here = self._departures.get(entry.room, {})
            if here.get(_mark(entry)) is departure:
                del here[_mark(entry)]
                if not here:
                    del self._departures[entry.room]
                self._after(entry.room)
        if not settled.done():
            settled.set_result(None)

    def take_over(self, holds: Sequence[HeldMember]) -> int:
        """Let go of these places, which another worker left behind, in time; returns how many were not known yet."""
        count = 0
        for hold in holds:
            known = self._departures.get(hold.room, {}).get((hold.peer, ""))
            if known is None or known.entry.generation < hold.generation:
                entry = PresenceEntry(hold.room, hold.peer, hold.generation)
                self._remember(Departure(entry, self._clock() + hold.seconds))
                count += 1
        self._metrics.adopted.inc(count)
        return count

    def departures(self) -> Iterator[Departure]:
        """Every place this worker holds or could not give up yet."""
        for here in self._departures.values():
            yield from here.values()

    async def announce(self, between: Callable[[], Awaitable[None]]) -> None:
        """Tell presence of every member of this worker anew; those who lost their place meanwhile are closed.

        `between` is called now and then: there may be many.
        """
        self._announced += 1
        self.untold = False
        members = list(self._hub.members())
        for start in range(0, len(members), _BATCH):
            await self._announce(members[start : start + _BATCH])
            await between()

    async def _announce(self, members: Sequence[Member]) -> None:
        # Who has left by now has; what follows is on its way before anybody can leave.
        here = {(member.room, member.peer): member for member in members if self._hub.has(member)}
        for entry in await self._presence.announce([self._entry_of(member) for member in here.values()]):
            member = here[entry.room, entry.peer]
            if member.generation == entry.generation:
                self._hub.replaced(member)

    async def unsubscribe_idle(self) -> None:
        """Stop listening to rooms that nobody of this worker is in; who comes meanwhile waits, and subscribes anew."""
        idle, self.idle = self.idle, {}
        for room in idle:
            lock = self._lock(room)
            if lock.locked():
                # Somebody may be waiting for Redis there, and the keeper must not.
                self.idle[room] = None
                continue
            async with lock:
                if self._hub.get(room) is None and room in self._subscribed:
                    del self._subscribed[room]
                    await self._bus.unsubscribe([room])

    def occupied(self, room: str) -> bool:
        """Whether this worker has members in the room, connected, held or on the way in."""
        return self._hub.get(room) is not None or room in self._departures

    def rooms(self) -> list[str]:
        """The rooms in which this worker has members, connected, held or on the way in."""
        return list(dict.fromkeys([*self._hub.names(), *self._departures]))

    # Within.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _publication(
        self, room: str, sender: str, command: Publish, generation: int, version: MembershipVersion
    ) -> Publication:
        return Publication(command, room, sender, generation, version, self._seen(room))

    def _seen(self, room: str) -> MessageId:
        here = self._hub.get(room)
        return here.last if here else BEFORE_ALL

    def _entry_of(self, member: Member) -> PresenceEntry:
        """A member's place, as presence knows it."""
        return PresenceEntry(
            member.room,
            member.peer,
            member.generation,
            member.resume,
            member.previous_resume,
            max(member.since, self._seen(member.room)),
            member.began,
        )

    def _lock(self, room: str) -> asyncio.Lock:
        return self._locks[hash(room) % _LOCKS]

    def _forget(self, member: Member) -> None:
        self._hub.remove(member)
        self._after(member.room)

    def _after(self, room: str) -> None:
        if self._hub.get(room) is None:
            self.idle[room] = None

    def _depart(self, entry: PresenceEntry, *, hold: bool) -> Departure:
        departure = Departure(entry, self._clock() + (self._grace if hold else 0), hold)
        self._remember(departure)
        return departure

    def _remember(self, departure: Departure) -> None:
        self._departures.setdefault(departure.entry.room, {})[_mark(departure.entry)] = departure


def _mark(entry: PresenceEntry) -> tuple[str, str]:
    """Tells a departure from others; one whose generation never became known may be of a place that was never given."""
    return entry.peer, "" if entry.generation else entry.current
