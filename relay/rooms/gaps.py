"""Gap recovery: events that this worker may have missed are read from the history, or reported as lost.

How a gap begins and ends:

1. The bus reports a `Gap`, or the hub meets an event whose id does not follow the last one.
2. The room buffers its events from then on, and `begin` starts a recovery.
3. The history is read from the room's last id on. Meanwhile there may be further gaps; then it is read once more.
4. The hub delivers the events that were read and those that were buffered, without duplicates. A loss is reported to
   the members.
"""

import asyncio
import logging
from collections.abc import Sequence

from relay.backend.bus import Bus
from relay.backend.presence import Presence
from relay.model.envelope import MessageId
from relay.model.errors import RelayError
from relay.model.events import Loss, Replay
from relay.rooms.announcer import Announcer
from relay.rooms.hub import Hub
from relay.rooms.member_lists import MemberLists
from relay.rooms.room import NOT_BEGUN
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.gaps")

_CONCURRENT = 100
"""Rooms that are recovered at the same time."""

_RETRY = 0.1
"""Seconds between attempts to read the history."""

_LOG_DELAY = 1.0
"""Seconds for which losses are gathered before they are logged, as a fault that hits one room hits many."""

_AHEAD = 2**32
"""Events that a room does not have within the time of one request."""

_PAST = 0.3
"""Seconds within which a master of the past has executed the commands that waited for it, and knows that it is none."""

_ARRIVAL = 1.0
"""Seconds after which an event that was published before has arrived over the bus, if it ever will."""


class GapRecovery:
    """Recovers rooms of the hub, each by a task of its own.

    `lease` is how long, in seconds, other workers may need to announce their members when Redis has lost its data.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        presence: Presence,
        announcer: Announcer,
        lists: MemberLists,
        tasks: BackgroundTasks,
        *,
        lease: float,
    ) -> None:
        self._hub = hub
        self._announcer = announcer
        self._bus = bus
        self._presence = presence
        self._lists = lists
        self._tasks = tasks
        self._lease = lease
        self._recovering: set[str] = set()
        self._losses: dict[Loss, list[str]] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._check_slots = asyncio.Semaphore(_CONCURRENT)

    def begin(self, rooms: Sequence[str]) -> None:
        """Recover these rooms, whose events the hub buffers until then."""
        for room in rooms:
            if room not in self._recovering:
                self._recovering.add(room)
                self._tasks.spawn(self._recover(room), f"gap recovery of {room}")

    def begin_epoch(self, room: str) -> None:
        """Send the watchers of a room the list of its members, once all workers have announced them."""
        self._send_list(room, delay=self._lease)

    def renew_epoch(self, room: str) -> None:
        """Have a room begin a new epoch, as Redis has lost members of it without an event.

        The other workers learn of it by the first event of that epoch, and announce their members as well.
        """
        self._tasks.spawn(self._renew_epoch(room), f"new epoch of {room}")

    def check_members(self, room: str) -> None:
        """Announce this worker's members of a room: Redis may have lost their entries, or have newer ones."""
        self._tasks.spawn(self._check_members(room), f"check of the members of {room}")

    async def _recover(self, room: str) -> None:
        try:
            async with self._slots:
                # `recover` ends the recovery, or begins the next one after further gaps: then this loop goes on.
                while (after := self._hub.begin_reading(room)) is not None:
                    if self._hub.doubts_events(room):
                        # All that such a master publishes is then buffered before the history is read.
                        await asyncio.sleep(_PAST)
                        after = self._hub.begin_reading(room) or after
                    try:
                        replay = await self._read(room, after)
                    except RelayError as error:
                        log.debug("the history of %s cannot be read (%s); retrying", room, error)
                        await asyncio.sleep(_RETRY)
                        continue
                    except Exception:
                        # A fault of the relay. Without an end of the recovery, the room would buffer events for good.
                        log.exception("the history of %s was not read; its members are sent messages_lost", room)
                        replay = Replay(after, lost="internal")
                    if replay.lost:
                        self._note_loss(replay.lost, room)
                    self._hub.recover(room, replay)
                    if replay.lost == "epoch":
                        # Redis may have lost this room alone: then no heartbeat shows that its members are missing.
                        self.check_members(room)
                        self.begin_epoch(room)
                    elif replay.lost or replay.skipped > after:
                        self.check_members(room)
                        self._send_list(room)
        finally:
            self._recovering.discard(room)

    async def _read(self, room: str, after: MessageId) -> Replay:
        """Read the events after an id."""
        if after == NOT_BEGUN:
            # Without a look first, `Bus.replay` would begin an epoch of a room that does not exist.
            epoch = (await self._presence.roster(room, 0)).id.epoch
            if not epoch:
                return Replay(after)
            after = MessageId(epoch, 0)
        replay = await self._bus.replay(room, after)
        if replay.lost == "epoch":
            # The events since the room lost its state are in the history, from the new epoch's beginning on.
            begun = await self._bus.replay(room, MessageId(replay.id.epoch, 0))
            replay = Replay(begun.id, begun.events, replay.lost)
        elif replay.lost == "off":
            # Without a history, the events themselves must show whether one is missing.
            await asyncio.sleep(_ARRIVAL)
        return replay

    async def _renew_epoch(self, room: str) -> None:
        log.warning("Redis has lost members of room %s (deleted, or evicted keys?); it begins a new epoch", room)
        last = self._hub.rooms.last(room)
        try:
            # Redis takes a state for lost if it is older than the events that a worker has seen.
            await self._bus.replay(room, MessageId(last.epoch, last.seq + _AHEAD))
        except RelayError as error:
            # The next look at the room finds its members missing again.
            log.debug("room %s did not begin a new epoch (%s)", room, error)
        else:
            await self._check_members(room)

    async def _check_members(self, room: str) -> None:
        """Announce this worker's members, and close those that were taken over: the event about it may be missing."""
        while (local := self._hub.rooms.get(room)) is not None:
            try:
                async with self._check_slots:
                    await self._announcer.announce(list(local.welcomed_members()))
            except RelayError as error:
                log.debug("the members of %s cannot be checked (%s); retrying", room, error)
                await asyncio.sleep(self._lease)
            else:
                return

    def _send_list(self, room: str, *, delay: float = 0) -> None:
        """Send the watchers of a room its member list, after a delay.

        After a new epoch, every worker needs the time of a lease to announce its members. Until then, a member that is
        missing in the list has not left.
        """
        self._tasks.spawn(self._send_list_later(room, delay), f"member list of {room}")

    async def _send_list_later(self, room: str, delay: float) -> None:
        level = logging.WARNING
        await asyncio.sleep(delay)
        while self._hub.rooms.get(room) is not None:
            try:
                async with self._check_slots:
                    roster = await self._lists.read(room)
            except RelayError as error:
                log.log(level, "the members of %s cannot be listed (%s); its watchers have an old list; retrying",
                        room, error)  # fmt: skip
                level = logging.DEBUG
                await asyncio.sleep(self._lease)
            else:
                self._hub.send_roster(room, roster)
                return

    def _note_loss(self, reason: Loss, room: str) -> None:
        if not self._losses:
            asyncio.get_running_loop().call_later(_LOG_DELAY, self._log_losses)
        self._losses.setdefault(reason, []).append(room)

    def _log_losses(self) -> None:
        losses, self._losses = self._losses, {}
        for reason, rooms in losses.items():
            log.warning(
                "%d rooms missed events that cannot be replayed (%s), such as %s; members were sent messages_lost",
                len(rooms), reason, rooms[0],
            )  # fmt: skip
