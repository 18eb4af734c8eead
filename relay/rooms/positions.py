"""Delivered positions: up to which id the clients of protocols without a cursor have surely got everything."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import takewhile

from relay.backend.positions import DeliveredPosition, DeliveredPositions
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.commands import Tracking
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import RelayError
from relay.rooms.member import Member
from relay.rooms.notices import PresenceNotices
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.positions")

_PERIOD = 1.0
"""Seconds between two rounds: a member's position is noted at most so often."""

_SETTLE = 0.2
"""Seconds of a round in which written bytes may arrive: more than a round trip to most clients."""

_PORTION = 500
"""Members that a round looks at in one turn of the event loop."""

_MOST_MARKS = 32
"""Marks of one member that wait; a client that is so many rounds behind gets no further ones until it has caught up."""


class _TrackedMember:
    """A member, the position that is noted, and the one that is known by now.

    `marks` are positions up to which everything is written, each with the number of bytes that were written then.
    """

    __slots__ = ("by_bytes", "delivered", "marks", "member", "noted")

    def __init__(self, member: Member, delivered: MessageId, noted: MessageId, *, by_bytes: bool) -> None:
        self.member = member
        self.delivered = delivered
        self.noted = noted
        self.by_bytes = by_bytes
        # A list: an empty deque takes 700 bytes, and most members have no marks, or a few.
        self.marks: list[tuple[MessageId, int]] = []

    def mark(self, newest: MessageId) -> None:
        """Remember that everything up to `newest` is written, and how many bytes that were."""
        last = self.marks[-1][0] if self.marks else self.delivered
        if self.by_bytes and newest > last and len(self.marks) < _MOST_MARKS:
            transfer = self.member.connection.transfer()
            # A connection that is closing drops everything that is written to it.
            if transfer is not None:
                self.marks.append((newest, transfer.written))

    def settle(self) -> None:
        """Take the marks whose bytes have arrived by now."""
        transfer = self.member.connection.transfer() if self.marks else None
        while transfer is not None and self.marks and transfer.received >= self.marks[0][1]:
            self.delivered = max(self.delivered, self.marks.pop(0)[0])


class PositionTracker:
    """Notes the delivered positions of tracked members: those that changed, once a second, in one batch.

    A member of `Tracking.WRITTEN` has got everything up to an id when its connection has received all bytes that were
    written by then. Once its gateway acknowledges a position, only acknowledgements count. The task runs while there
    are such members. `ttl` is the time to live of records in seconds; a third of it is the time after which an
    unchanged one is renewed.
    """

    def __init__(
        self,
        positions: DeliveredPositions,
        notices: PresenceNotices,
        tasks: BackgroundTasks,
        *,
        ttl: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._positions = positions
        self._notices = notices
        self._tasks = tasks
        self._renew_after = ttl / 3
        self._clock = clock
        self._metrics = metrics
        self._tracked: dict[Member, _TrackedMember] = {}
        # By room: when its records were last written or renewed, in the order of these times.
        self._written: dict[str, float] = {}
        # By room: how many members are tracked.
        self._sizes: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many members are tracked."""
        return len(self._tracked)

    async def noted(self, room: str, peer: str) -> MessageId:
        """Return the noted position; without one, an id before all others, from which no client can be recovered."""
        return await self._positions.noted(room, peer) or BEFORE_ALL

    def begin(self, member: Member, tracking: Tracking, *, position: MessageId, noted: bool) -> None:
        """Track a member that was welcomed at this position; it is written at once, unless it is `noted` already.

        So a client whose worker is killed in the first second is recovered as well.
        """
        tracked = _TrackedMember(
            member, position, position if noted else BEFORE_ALL, by_bytes=tracking is Tracking.WRITTEN
        )
        self._tracked[member] = tracked
        self._sizes[member.room] = self._sizes.get(member.room, 0) + 1
        self._written.setdefault(member.room, self._clock())
        if not noted:
            self._tasks.spawn(self._note([tracked]), "first delivered position")
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._run(), "delivered positions")

    def acknowledge(self, member: Member, position: MessageId, *, at_once: bool = False) -> None:
        """Take note that the client has acknowledged everything up to a position; from now on, only this counts.

        A position that the room has not reached yet counts as the newest one. It is noted with the next round, or
        `at_once`.
        """
        tracked = self._tracked.get(member)
        if tracked is not None:
            tracked.by_bytes = False
            tracked.marks.clear()
            tracked.delivered = max(tracked.delivered, min(position, self._notices.newest_id(member)))
            if at_once and tracked.delivered > tracked.noted:
                self._tasks.spawn(self._note([tracked]), "last delivered position")

    def confirm(self, member: Member, position: MessageId) -> None:
        """Note at once that the client surely has everything up to a position; bytes that arrive go on to count.

        This costs Redis a command. It is for events that must not come twice, such as calls that ring.
        """
        tracked = self._tracked.get(member)
        if tracked is not None and position > tracked.delivered:
            tracked.delivered = min(position, self._notices.newest_id(member))
            self._tasks.spawn(self._note([tracked]), "confirmed position")

    def end(self, member: Member, *, hold: bool = False) -> bool:
        """Stop tracking a member; the record stays until the membership ends. Returns whether it was tracked.

        The position of a member that is held is noted at once, where it is known to be later than the noted one.
        """
        tracked = self._tracked.pop(member, None) if self._tracked else None
        if tracked is not None:
            self._forget(member.room)
        if hold and tracked is not None and tracked.delivered > tracked.noted:
            self._tasks.spawn(self._note([tracked]), "last delivered position")
        return tracked is not None

    def note_again(self) -> None:
        """Note all positions anew with the next round: Redis may have lost some, or gone back to older ones."""
        for tracked in self._tracked.values():
            tracked.noted = BEFORE_ALL

    async def round(self) -> None:
        """One round: mark the written positions, wait for their bytes, and note those that arrived. Never fails."""
        changed = list[_TrackedMember]()

        def settle(tracked: _TrackedMember) -> None:
            tracked.settle()
            if tracked.delivered > tracked.noted:
                changed.append(tracked)

        await self._each(lambda tracked: tracked.mark(self._notices.newest_id(tracked.member)))
        await asyncio.sleep(_SETTLE)
        await self._each(settle)
        await self._note([one for one in changed if one.member in self._tracked])
        await self._renew()

    async def _each(self, look: Callable[[_TrackedMember], None]) -> None:
        """Look at all tracked members but those that end meanwhile, in several turns of the event loop."""
        # A copy: writing to a member may end the membership of another one.
        waiting = list(self._tracked.values())
        for start in range(0, len(waiting), _PORTION):
            if start:
                await asyncio.sleep(0)
            for tracked in waiting[start : start + _PORTION]:
                if tracked.member in self._tracked:
                    look(tracked)

    async def _run(self) -> None:
        while self._tracked:
            due = self._clock() + _PERIOD
            try:
                await self.round()
            except Exception:
                log.exception("delivered positions were not noted, which is a bug; the next round follows")
            await asyncio.sleep(max(0.0, due - self._clock()))

    async def _note(self, changed: Iterable[_TrackedMember]) -> None:
        notes = [(one, one.delivered) for one in changed]
        if not notes:
            return
        try:
            await self._positions.note(
                [
                    DeliveredPosition(one.member.room, one.member.peer, one.member.generation, position)
                    for one, position in notes
                ]
            )
        except RelayError as error:
            # The next round notes them, or later positions. Until then, more events come again to clients that return.
            log.debug("noting %d delivered positions failed: %s; the next round notes them", len(notes), error)
            return
        self._metrics.noted_positions.inc(len(notes))
        for one, position in notes:
            one.noted = max(one.noted, position)
        self._write_down(dict.fromkeys(one.member.room for one, _ in notes))

    async def _renew(self) -> None:
        """Renew the records of rooms in which nothing changed for long."""
        oldest = self._clock() - self._renew_after
        due = [room for room, _ in takewhile(lambda one: one[1] <= oldest, self._written.items())]
        if due:
            try:
                await self._positions.renew(due)
            except RelayError as error:
                log.debug("renewing the delivered positions of %d rooms failed: %s; retrying", len(due), error)
                return
            self._write_down(due)

    def _write_down(self, rooms: Iterable[str]) -> None:
        """Take note that the records of these rooms are new; those without tracked members are not renewed any more."""
        now = self._clock()
        for room in rooms:
            self._written.pop(room, None)
            if room in self._sizes:
                self._written[room] = now

    def _forget(self, room: str) -> None:
        """Count one tracked member of a room less; the records of a room without any are not renewed any more."""
        self._sizes[room] -= 1
        if not self._sizes[room]:
            del self._sizes[room]
            self._written.pop(room, None)
