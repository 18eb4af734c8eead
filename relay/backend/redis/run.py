"""The run of Redis: whether this is the Redis that the fleet has known, or one that may have older data."""

import logging
from collections.abc import Callable
from typing import Any

from relay.backend.redis.connection import pack
from relay.backend.redis.keys import Keys
from relay.backend.redis.replies import is_noscript
from relay.backend.redis.scripts import RUN, milliseconds
from relay.logs import escape

log = logging.getLogger("relay.backend.redis")

_SHOWN = 12
"""Characters of a run id in the log."""


class RedisRun:
    """Learns the run of Redis on each new connection, ahead of all other commands, and with each heartbeat.

    `era` is the time by Redis's clock (microseconds) since when the fleet knows the present run, 0 if no earlier one is
    known. A room whose membership version is older may have lost events with the earlier run, until a worker confirms
    it; see shared.lua. `changes` counts the changes that this worker has met; `on_change` is called at each, before any
    command of the worker reaches the new run. Where Redis does not tell its run id, `era` stays 0.
    """

    def __init__(self, keys: Keys, *, ttl: float, on_change: Callable[[], object]) -> None:
        self._key = keys.run
        self._ttl = milliseconds(ttl)
        self._on_change = on_change
        self._known = ""
        self._untold = False
        self.era = 0
        self.changes = 0

    def command(self) -> bytes:
        """Return the packed command; its reply goes to `note`."""
        return pack("EVALSHA", RUN.sha, 1, self._key, self._ttl, self._known)

    def note(self, reply: Any) -> None:
        """Take the reply of run.lua; an error changes nothing."""
        run, _, era = reply.decode("ascii", "replace").partition(" ") if isinstance(reply, bytes) else ("", "", "")
        if not era.isdecimal():
            if not is_noscript(reply) and not self._untold and not self._known:
                self._untold = True
                log.warning(
                    "Redis does not tell its run id (%s); if all workers restart together with Redis, older data is "
                    "not noticed; give the relay's user +info", escape(repr(reply)[:200]) if reply else "INFO failed",
                )  # fmt: skip
            return
        old, self._known, self.era = self._known.partition(" ")[0], f"{run} {era}", int(era)
        if old and old != run:
            self.changes += 1
            log.warning(
                "Redis was restarted, or another one took its part (run %s, before %s); this worker compares its rooms "
                "with it, and rooms whose data may be older begin a new epoch", run[:_SHOWN], old[:_SHOWN],
            )  # fmt: skip
            self._on_change()
