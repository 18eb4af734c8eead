"""Copies of the rules of rooms that this worker serves, in case Redis loses them or goes back in time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from relay.backend.rules import RoomRulesStore, StoredRules, read_rules
from relay.model.errors import RelayError
from relay.model.events import RulesChanged
from relay.model.rules import RoomRules
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.rules")

_ATTEMPTS = 3
"""Attempts to give rules back, one after the other; the next client that wants to come in asks for them again."""


_NONE: Final = RoomRules()
"""The rules of a room that has none, which its members know of without being told."""


class RuleCopies:
    """The newest rules that this worker has seen of its rooms (`is_ours`): those with listeners or held members here.

    A copy is made when a listener comes, and follows each change. It ends when the last one here has gone. While the
    room has members here, connected or held (`has_members`), its rules do not end, so that the rules in Redis must be
    as new; with observers alone, the copy only counts right after Redis has lost data. `on_newer` is called with rules
    that this worker learned otherwise than by an event, so that its members have not been told.
    """

    def __init__(
        self,
        store: RoomRulesStore,
        tasks: BackgroundTasks,
        *,
        is_ours: Callable[[str], bool],
        has_members: Callable[[str], bool],
        on_newer: Callable[[str, RoomRules], None] = lambda room, rules: None,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._is_ours = is_ours
        self._has_members = has_members
        self._on_newer = on_newer
        self._copies: dict[str, StoredRules] = {}
        # The rules that the members here know of.
        self._told: dict[str, RoomRules] = {}
        # Rooms whose rules the backend may ask for.
        self._kept: set[str] = set()

    def __len__(self) -> int:
        """Of how many rooms there is a copy."""
        return len(self._copies)

    def get(self, room: str) -> StoredRules | None:
        """Return the rules of a room, as far as this worker knows them."""
        return self._copies.get(room)

    def version(self, room: str) -> int:
        """Return the version that the backend must have, 0 for none."""
        copy = self._copies.get(room)
        return copy.version if copy is not None and self._has_members(room) else 0

    def learn(self, room: str, rules: StoredRules | None) -> None:
        """Take over rules that came with the answer to a join; the event about them may follow."""
        if rules is not None:
            self._told.setdefault(room, rules.public)
            self._put(room, rules)

    def note(self, event: RulesChanged) -> bool:
        """Take over the rules of an event; return whether they are news for the members here."""
        rules = read_rules(event.stored)
        if rules is not None and self._is_ours(event.room):
            if not self._put(event.room, rules):
                return False
        elif event.room not in self._copies:
            return True
        news = self._told.get(event.room, _NONE) != event.rules
        self._told[event.room] = event.rules
        return news

    def forget(self, room: str) -> None:
        """Forget the rules of a room that was closed."""
        self._copies.pop(room, None)
        self._told.pop(room, None)
        self._stop_keeping(room)

    def drop(self, rooms: Iterable[str]) -> None:
        """Forget the rules of these rooms, but for rooms with listeners or members here."""
        for room in rooms:
            if not self._is_ours(room):
                self.forget(room)
            elif not self._has_members(room):
                self._stop_keeping(room)

    def is_ours(self, room: str) -> bool:
        """Whether the room has listeners or held members here."""
        return self._is_ours(room)

    async def fetch(self, rooms: Iterable[str]) -> None:
        """Make copies of the rules of rooms in which this worker has got listeners or members without a join."""
        missing = [room for room in dict.fromkeys(rooms) if room not in self._copies]
        found = await asyncio.gather(*map(self._store.read, missing))
        for room, rules in zip(missing, found, strict=True):
            if self._is_ours(room):
                self.learn(room, rules)

    def restore_all(self) -> None:
        """Give all rules back; the requests are sent when this returns, ahead of all later ones."""
        self.refresh(list(self._copies))

    def refresh(self, rooms: Iterable[str]) -> None:
        """Give the rules of these rooms back, as `restore_all` does, or read them if there is no copy."""
        for room in rooms:
            if room in self._copies:
                restored = self._store.restore(room, self._copies[room])
                self._tasks.spawn(self._restored(room, restored), "rules of a room")
            else:
                self._tasks.spawn(self._fetch(room), "rules of a room")

    async def _fetch(self, room: str) -> None:
        try:
            await self.fetch([room])
        except RelayError as error:
            log.debug("the rules of room %s could not be read (%s)", room, error)

    async def restore(self, room: str) -> None:
        """Give the rules of a room back, and return once the backend has them, or newer ones."""
        copy = self._copies.get(room)
        if copy is not None:
            self._take(room, await self._store.restore(room, copy))

    async def _restored(self, room: str, answer: Awaitable[StoredRules]) -> None:
        for attempt in range(_ATTEMPTS):
            copy = self._copies.get(room)
            if copy is None:
                return
            try:
                self._take(room, await (self._store.restore(room, copy) if attempt else answer))
            except RelayError as error:
                log.debug("the rules of room %s could not be given back (%s); retrying", room, error)
            else:
                return
        log.warning(
            "the rules of room %s could not be given back to Redis; the worker tries again when a client wants to join",
            room,
        )

    def _take(self, room: str, rules: StoredRules) -> None:
        """Take over rules that the backend has, if they are newer."""
        if room in self._copies and self._put(room, rules) and self._told.get(room, _NONE) != rules.public:
            self._told[room] = rules.public
            self._on_newer(room, rules.public)

    def _put(self, room: str, rules: StoredRules) -> bool:
        """Take over rules, unless there are newer ones; returns whether these count."""
        known = self._copies.get(room)
        if known is not None and rules.version < known.version:
            return False
        self._copies[room] = rules
        if room in self._kept:
            if known is not None and known.history != rules.history:
                self._store.keep(room, rules)
        elif self._has_members(room):
            self._kept.add(room)
            self._store.keep(room, rules)
        return True

    def _stop_keeping(self, room: str) -> None:
        if room in self._kept:
            self._kept.remove(room)
            self._store.keep(room, None)
