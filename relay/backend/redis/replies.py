"""Redis's error replies, and their meaning for the caller.

Redis's own text (with Lua lines and hashes) goes to the operator's log, and so does its meaning. A client gets an error
whose text says only that Redis is away or refuses: the cause would help an attacker alone.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import hiredis
from redis.exceptions import RedisError, ResponseError

from relay.limits import Clock
from relay.logs import LogIntervals, escape
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable

log = logging.getLogger("relay.backend.redis")

_LOG_INTERVAL = 10.0
"""Seconds between two log lines about errors of the same code: each command of each client may get one."""

_LOGGED_CHARACTERS = 300
_REPORTED_CHARACTERS = 200

REFUSALS = {
    "OOM": "Redis has no memory left",
    "READONLY": "this Redis is a replica, which takes no writes",
    "MISCONF": "Redis cannot save to its disk, and takes no writes",
    "NOREPLICAS": "Redis has too few replicas, and takes no writes",
    "DENIED": "this Redis is in protected mode",
    "MASTERDOWN": "this Redis is a replica that has lost its master",
    "LOADING": "Redis is still loading its data",
    "BUSY": "Redis is busy with a script",
    "NOAUTH": "Redis asks for a password",
    "WRONGPASS": "Redis does not accept the user or the password",
    "NOPERM": "the Redis user lacks a permission",
    "NOSCRIPT": "Redis does not keep the relay's scripts",
    "MOVED": "this Redis is a part of a cluster",
    "CLUSTERDOWN": "the Redis cluster is down",
    "CROSSSLOT": "this Redis is a part of a cluster",
}
"""Codes with which Redis refuses a command or a script that has not had any effect, and the meaning of each.

Redis raises the first four inside a script as well, but only at its first write: it accepts
that a later one exceeds the memory limit, since it could not undo the earlier ones. All others come before a script
begins.
"""

_AT_FIRST_WRITE = frozenset({"OOM", "READONLY", "MISCONF", "NOREPLICAS"})

_IN_SCRIPT = " script: "
"""Part of the text of each error that was raised inside a script, ahead of the script's hash."""


class RedisUnreachable(Exception):
    """Redis could not be reached, or refused the connection.

    `str()` of it is the cause, with addresses and Redis's text, for the log. `report` says it in words of the relay,
    with those of Redis, for operators.
    """

    def __init__(self, cause: str, report: str) -> None:
        super().__init__(cause)
        self.report = report


class ScriptFailed(OutcomeUnknown):
    """A script ended with an error: part of what it does may have happened. The operator's log has Redis's text."""

    def __init__(self) -> None:
        super().__init__("the relay's request failed inside Redis; it may have been carried out in part")


def code_of(text: str) -> str:
    """Return the code at the beginning of an error reply."""
    return text.partition(" ")[0]


def reply_in(error: RedisError) -> str:
    """Return the error reply that redis-py made this error of, "" for another cause; redis-py cuts known codes off."""
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return f"{code} {error}"
    return str(error) if isinstance(error, ResponseError) else ""


def report_of(text: str) -> str:
    """Return an error reply for operators: Redis's own words, escaped and bounded, after their meaning if known."""
    words = escape(text[:_REPORTED_CHARACTERS])
    code = code_of(text)
    return f"{REFUSALS[code]} ({words})" if code in REFUSALS else f"Redis answers: {words}"


class ErrorReplies:
    """Makes errors of error replies; calls `on_error` for each, and logs one in ten seconds of each code.

    `on_read_only` is called for each reply of a Redis that is a replica.
    """

    def __init__(
        self,
        on_error: Callable[[], object],
        clock: Clock = time.monotonic,
        *,
        on_read_only: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_error = on_error
        self._on_read_only = on_read_only
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    def error_of(self, reply: Any, *, script: bool) -> RelayError | None:
        """Return the error that a reply is, if it is one: `Unavailable` if the command certainly had no effect.

        A plain command that gets an error reply had none. A script may have had one, unless Redis refused it.
        """
        if isinstance(reply, RelayError):
            return reply
        if not isinstance(reply, Exception):
            return None
        text = str(reply)
        self._record(text)
        if script and not _refused(text):
            return ScriptFailed()
        return Unavailable().because(report_of(text))

    def unexpected(self, reply: Any) -> RelayError:
        """Return the error for a reply that is none of those that a script gives."""
        self._record(f"unexpected reply {reply!r}")
        return ScriptFailed()

    def _record(self, text: str) -> None:
        self._on_error()
        if is_read_only(text):
            self._on_read_only()
        unlogged = self._lines.due(code_of(text))
        if unlogged is not None:
            log.error(
                "Redis answered with an error, and the command failed: %s (%d more such errors since the last of these "
                "lines)", escape(text[:_LOGGED_CHARACTERS]), unlogged,
            )  # fmt: skip


def is_read_only(text: str) -> bool:
    """Tell whether the text of an error reply says that this Redis is a replica."""
    return code_of(text) == "READONLY"


def is_noscript(reply: Any) -> bool:
    """Tell whether a reply says that Redis does not have the script."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")


def _refused(text: str) -> bool:
    code = code_of(text)
    return code in REFUSALS and (code in _AT_FIRST_WRITE or _IN_SCRIPT not in text)
