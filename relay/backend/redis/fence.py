"""The fence of calls that publish events: a time after which Redis must not execute them any more.

A master that stands still for so long that another one takes its part may go on, and then executes the commands that
waited for it: its events would have the ids of other events. So each of these calls has the time at which the worker
gives the connection up, by Redis's clock: a call that the worker takes for unanswered is not executed later.
"""

import math
from typing import Final

from relay.backend.redis.clock import RedisClock
from relay.backend.redis.connection import Pending

_RENEWAL: Final = 0.05
"""Seconds for which a fence is used again."""


class Fenced(bytes):
    """A packed command whose last part is missing: the fence, which is added when the command is sent."""

    __slots__ = ()


NO_FENCE: Final = b"$13\r\n" + b"0" * 13 + b"\r\n"
"""The last part of a command that Redis may execute at any time."""


GIVEN_UP: Final = [b"given up"]
"""The reply to a call that Redis has taken too late; see fence.lua."""


def fenced(command: bytes) -> Fenced:
    """Return a whole packed command as one that ends with a fence."""
    end = command.index(b"\r")
    return Fenced(b"*%d%b" % (int(command[1:end]) + 1, command[end:]))


def unfenced(command: bytes) -> bytes:
    """Return a fenced command whole, without a limit of time: a worker that got an answer has not given up."""
    return b"%b%b" % (command, NO_FENCE)


class Fence:
    """Makes the last part of fenced commands. A reply is awaited for `timeout` seconds."""

    def __init__(self, clock: RedisClock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._part = b""
        self._until = 0.0
        # By how much the worker's clock was ahead of `now` when this period began, and the one before.
        self._lags = 0.0, 0.0
        self._period = -math.inf

    def part(self, pending: Pending, now: float) -> bytes:
        """Return the fence of a command that is sent now, in RESP; `pending` has the commands that are unanswered.

        It says 0 as long as Redis's clock is not known: then there is no fence.
        """
        if now >= self._until:
            self._part = b"$13\r\n%013d\r\n" % self._clock.in_future(self._left(pending.deadline, now))
            self._until = now + _RENEWAL
        return self._part

    def _left(self, oldest: float | None, now: float) -> float:
        """Return for how many seconds Redis may execute a call: not after the `oldest` unanswered one is given up.

        While this worker stands still, `now` does, and the fences of the unanswered calls end all the same. A later
        call must not outlast them: Redis would execute it, and not the ones before it.
        """
        lag = self._clock.time - now
        # Nothing that was sent before a whole period is unanswered.
        if oldest is None or now >= self._period + 2 * self._timeout:
            self._lags, self._period = (lag, lag), now
        elif now >= self._period + self._timeout:
            self._lags, self._period = (self._lags[1], lag), now
        if oldest is None:
            return self._timeout
        return min(self._timeout, oldest - now - max(0.0, lag - min(self._lags)))

    def renew(self) -> None:
        """Make the next fence anew: the clock of Redis, or the connection, is another one."""
        self._until, self._period = 0.0, -math.inf
