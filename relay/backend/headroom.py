"""Headroom: the memory that the backend has left, and the levels at which it stores less."""

import logging
from collections.abc import Callable
from enum import IntEnum
from typing import Final

log = logging.getLogger("relay.backend")

_HYSTERESIS: Final = 0.05
"""Share of the memory that must be free again before a level ends, so that levels do not alternate."""


class Level(IntEnum):
    """At AMPLE, the backend stores everything. At LOW, it stores no new rooms and no large messages.

    At FULL, it stores no new members and no messages either. Messages are delivered at any level; those that are not
    stored are missing in replays.
    """

    AMPLE = 0
    LOW = 1
    FULL = 2


_CONSEQUENCES: Final = {
    Level.AMPLE: "everything is stored again",
    Level.LOW: "clients cannot open new rooms (memory_low), and large messages are delivered without being stored for "
    "clients that reconnect; give it more memory, or find the rooms that use it",
    Level.FULL: "clients can only come back to memberships that they have (memory_low), and no message is stored for "
    "clients that reconnect; give it more memory",
}


class Headroom:
    """The level of one backend, from reports of the memory that is used.

    It is LOW from the `share` of the memory on, and FULL half way from there to the limit, or while the memory refuses
    writes. Each change is logged. `memory` names the memory in words, and `scope` the rooms whose memory it is, unless
    it is that of all. `on_share` is called with the share that is used.
    """

    def __init__(
        self,
        share: float = 0.8,
        memory: str = "the memory",
        on_share: Callable[[float], object] = lambda _: None,
        *,
        scope: str = "",
    ) -> None:
        self._marks = {Level.LOW: share, Level.FULL: (1 + share) / 2}
        self._memory = memory
        self._scope = scope
        self._on_share = on_share
        self._by_share = Level.AMPLE
        self._refuses = False
        self._watchers: list[Callable[[Level], None]] = []
        self.level = Level.AMPLE
        self.share: float | None = None
        """The share of the memory that was used at the last report; None if there is no limit, or it is not known."""

    def watch(self, on_change: Callable[[Level], None]) -> None:
        """Call back with each new level, also with the present one."""
        self._watchers.append(on_change)
        on_change(self.level)

    def level_of(self, room: str) -> Level:
        """Return the level of the memory that has a room."""
        return self.level

    def report(self, used: int, limit: int) -> None:
        """Note the bytes that are used, and how many there may be; 0 for no limit."""
        self.share = used / limit if limit else None
        self._by_share = self._level_at(self.share or 0)
        self._on_share(float("nan") if self.share is None else self.share)
        self._update()

    def report_refusal(self, *, refuses: bool) -> None:
        """Note whether the memory refuses writes, which shows also if no limit is known."""
        self._refuses = refuses
        self._update()

    @property
    def text(self) -> str:
        """The state in words, for operators."""
        if self._refuses:
            used = f"all of {self._memory} is used"
        elif self.share is None:
            used = f"{self._memory} has no limit that the relay knows"
        else:
            used = f"{self.share:.0%} of {self._memory} is used"
        return f"{used}: {self._scope}{_CONSEQUENCES[self.level]}" if self.level else used

    def _level_at(self, share: float) -> Level:
        for level in (Level.FULL, Level.LOW):
            mark = self._marks[level]
            if share >= mark or (self._by_share >= level and share > mark - _HYSTERESIS):
                return level
        return Level.AMPLE

    def _update(self) -> None:
        level = Level.FULL if self._refuses else self._by_share
        if self._pass_on(level):
            log.log(logging.ERROR if level is Level.FULL else logging.WARNING, "memory: %s",
                    self.text if level else f"{self.text}; {self._scope}{_CONSEQUENCES[level]}")  # fmt: skip

    def _pass_on(self, level: Level) -> bool:
        """Take a level, and tell the watchers; return whether it is another one than before."""
        if level is self.level:
            return False
        self.level = level
        for watcher in self._watchers:
            watcher(level)
        return True
