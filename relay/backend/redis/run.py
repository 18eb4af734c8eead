"""The run of Redis: whether this is the Redis that the fleet has known, or one that may have older data."""

import logging
import time
from collections.abc import Callable
from typing import Any

from relay.backend.redis.connection import pack
from relay.backend.redis.error_codes import code_of
from relay.backend.redis.keys import Keys
from relay.backend.redis.replies import is_noscript, report_of, takes_no_writes
from relay.backend.redis.scripts import RUN, milliseconds
from relay.model.errors import RelayError

log = logging.getLogger("relay.backend.redis")

_SHOWN = 12
"""Characters of a run id in the log."""


class RedisRun:
    """Learns the run of Redis on each new connection, ahead of all other commands, and with each heartbeat.

    `era` is the time by Redis's clock (microseconds) since when the fleet knows the present run, 0 if no earlier one is
    known. A room whose membership version is older may have lost events with the earlier run, until a worker confirms
    it; see shared.lua. `changes` counts the changes that this worker has met; `on_change` is called at each, before any
    command of the worker reaches the new run. `node` is the address of a node of a cluster, for log lines. Where Redis
    does not tell its run id, `era` stays 0.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        ttl: float,
        on_change: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
        node: str = "",
    ) -> None:
        self.key = keys.run
        """The key in which the fleet has the run; of a node of a cluster, one in a slot that the node has."""
        self._ttl = milliseconds(ttl)
        self._on_change = on_change
        self._name = f"Redis at {node}" if node else "Redis"
        self._known = ""
        self._untold = False
        self._clock = clock
        self._changed_at = float("-inf")
        self.era = 0
        self.changes = 0
        self.refusal = ""
        """Why Redis has refused the last call of run.lua, as it takes no writes; for operators, "" if it has not."""

    @property
    def age(self) -> float:
        """Seconds since this worker met the present run after an earlier one; infinite if it has not."""
        return self._clock() - self._changed_at

    @property
    def present(self) -> str:
        """The present run, as far as this worker knows; "" if it does not."""
        return self._known.partition(" ")[0]

    def command(self) -> bytes:
        """Return the packed command; its reply goes to `note`."""
        return pack("EVALSHA", RUN.sha, 1, self.key, self._ttl, self._known)

    def renewal(self) -> bytes:
        """Return a packed command that renews the record of the run; its reply is 1, or 0 if Redis has lost it."""
        return pack("PEXPIRE", self.key, self._ttl)

    def note(self, reply: Any) -> None:
        """Take the reply of run.lua; an error changes nothing but `refusal`."""
        run, era = read_run(reply)
        self.refusal = report_of(str(reply)) if isinstance(reply, Exception) and takes_no_writes(str(reply)) else ""
        if not run:
            # A connection that was lost says nothing of the rights of the relay's user, or of its script.
            no_answer = isinstance(reply, RelayError) or is_noscript(reply)
            if not no_answer and not self._untold and not self._known:
                self._untold = True
                _warn_of_unknown_run(self._name, reply)
            return
        old, self._known, self.era = self.present, f"{run} {era}", int(era)
        if old and old != run:
            self.changes += 1
            self._changed_at = self._clock()
            log.warning(
                "%s was restarted, or another one took its part (run %s, before %s); this worker compares its rooms "
                "with it, and rooms whose data may be older begin a new epoch", self._name, run[:_SHOWN], old[:_SHOWN],
            )  # fmt: skip
            self._on_change()


def read_run(reply: Any) -> tuple[str, str]:
    """Return the run and the era of a reply of run.lua; both are "" if it has none."""
    run, _, era = reply.decode("ascii", "replace").partition(" ") if isinstance(reply, bytes) else ("", "", "")
    return (run, era) if era.isdecimal() else ("", "")


def _warn_of_unknown_run(name: str, reply: Any) -> None:
    """Log why the run is not known: the script has failed, or Redis does not allow it to ask."""
    if isinstance(reply, Exception):
        why, advice = report_of(str(reply)), "the relay's script for it has failed, and other scripts may fail as well"
        if code_of(str(reply)) == "NOPERM":
            advice = "let the relay's user run scripts on the keys that begin with redis-prefix"
    else:
        why, advice = "INFO failed in a script", "give the relay's user +info, and allow INFO in scripts"
    log.warning(
        "%s does not tell its run id (%s); if all workers restart together with Redis, older data is not noticed; %s",
        name, why, advice,
    )  # fmt: skip
