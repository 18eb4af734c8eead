"""Closing gaps: what a worker may have missed of its rooms is read from the log, or told as lost."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from relay.backend.bus import Bus
from relay.backend.presence import Presence
from relay.model.envelope import MessageId
from relay.model.errors import RelayError
from relay.model.events import Loss, Replay
from relay.rooms.hub import Hub

log = logging.getLogger("relay.rooms.gaps")

_REPAIRS = 100
_RETRY = 0.1
"""Rooms that are repaired at the same time, and seconds between attempts while Redis is away."""

_GATHER = 1.0
"""Seconds for which losses are gathered before they are logged."""

_ARRIVAL = 1.0
"""Seconds after which what was published before is certain to have arrived, if it ever will."""


class GapRecovery:
    """Repairs rooms of the hub's, each on its own.

    `lease` is how long other workers may need to tell of their members, where Redis forgot.
    """

    def __init__(self, hub: Hub, bus: Bus, presence: Presence, *, lease: float) -> None:
        self._hub = hub
        self._bus = bus
        self._presence = presence
        self._lease = lease
        self._repairing: dict[str, None] = {}
        self._losses: dict[Loss, list[str]] = {}
        self._slots = asyncio.Semaphore(_REPAIRS)
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, rooms: Sequence[str]) -> None:
        """Events of these rooms may be missing, and the hub holds back what follows: read them from the log."""
        for room in rooms:
            if room not in self._repairing:
                self._repairing[room] = None
                self._spawn(self._repair(room))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repair(self, room: str) -> None:
        try:
            async with self._slots:
                while (after := self._hub.missing_from(room)) is not None:
                    try:
                        replay = await self._bus.replay(room, after)
                        if replay.lost == "epoch":
                            # What came after the loss, from its beginning, can be had.
                            begun = await self._bus.replay(room, MessageId(replay.id.epoch, 0))
                            replay = Replay(begun.id, begun.events, replay.lost)
                        roster = await self._presence.roster(room) if replay.lost and replay.lost != "epoch" else None
                    except RelayError as error:
                        log.debug("cannot read what is missing in %s: %s; trying again", room, error)
                        await asyncio.sleep(_RETRY)
                        continue
                    if replay.lost == "off":
                        await asyncio.sleep(_ARRIVAL)
                    if replay.lost:
                        self._note_loss(replay.lost, room)
                    self._hub.repair(room, replay, roster)
                    if replay.lost == "epoch":
                        self._spawn(self._list_later(room))
        finally:
            del self._repairing[room]

    async def _list_later(self, room: str) -> None:
        """Where Redis forgot who is here, each worker tells of its own members first: who is missing did not leave."""
        await asyncio.sleep(self._lease)
        try:
            self._hub.tell_roster(room, await self._presence.roster(room))
        except RelayError as error:
            log.warning("cannot learn who is in %s: %s", room, error)

    def _note_loss(self, reason: Loss, room: str) -> None:
        """Whatever loses the events of one room loses those of many: they are logged in one line."""
        if not self._losses:
            asyncio.get_running_loop().call_later(_GATHER, self._log_losses)
        self._losses.setdefault(reason, []).append(room)

    def _log_losses(self) -> None:
        losses, self._losses = self._losses, {}
        for reason, rooms in losses.items():
            log.warning("%d rooms missed what cannot be replayed (%s), such as %s", len(rooms), reason, rooms[0])
