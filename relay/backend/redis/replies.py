"""Redis's error replies, and their meaning for the caller.

Redis's own text (with Lua lines and hashes) goes to the operator's log, and so does its meaning. A client gets an error
whose text says only that Redis is away or refuses: the cause would help an attacker alone.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import hiredis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from relay.backend.redis.error_codes import ERROR_CODES, code_of, is_of_script
from relay.backend.redis.lookups import UnknownHost
from relay.config.redis_url import Address
from relay.limits import Clock
from relay.logs import LogIntervals, escape
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable

log = logging.getLogger("relay.backend.redis")

_LOG_INTERVAL = 10.0
"""Seconds between two log lines about errors of the same code: each command of each client may get one."""

_LOGGED_CHARACTERS = 300
_REPORTED_CHARACTERS = 200
_ADDRESS_CHARACTERS = 100


class RedisUnreachable(Exception):
    """Redis could not be reached, or refused the connection.

    `str()` of it is the cause, with addresses and Redis's text, for the log. `report` says it in words of the relay,
    with those of Redis, for operators.
    """

    def __init__(self, cause: str, report: str) -> None:
        super().__init__(cause)
        self.report = report


class ScriptFailed(OutcomeUnknown):
    """A script ended with an error: part of its effects may have happened. `report` says why, for operators."""

    def __init__(self, report: str = "") -> None:
        super().__init__("the relay's request failed inside Redis; it may have been carried out in part")
        self.report = report


def shown(address: Address) -> str:
    """Return an address for logs and operators: nodes tell the addresses of others."""
    host, port = address
    return f"{escape(host[:_ADDRESS_CHARACTERS])}:{port}"


def reply_in(error: RedisError) -> str:
    """Return the error reply that redis-py made this error of, "" for another cause; redis-py cuts known codes off."""
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return f"{code} {error}"
    return str(error) if isinstance(error, ResponseError) else ""


def report_of(text: str) -> str:
    """Return an error reply for operators: its meaning and the remedy if known, and Redis's own words, bounded."""
    words = escape(text[:_REPORTED_CHARACTERS])
    code = ERROR_CODES.get(code_of(text))
    return f"{code.meaning} ({words}); {code.remedy}" if code else f"Redis answers: {words}"


def reason_of(error: BaseException, timeout: float) -> str:
    """Say why a connection failed within `timeout` seconds; redis-py wraps the error of the system in its own."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, TimeoutError):
            return f"no answer within {timeout:g} s"
        if isinstance(cause, UnknownHost):
            return f"the host name {cause.host} cannot be resolved"
        if isinstance(cause, socket.gaierror):
            return "its host name cannot be resolved"
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = escape(cause.verify_message[:_REPORTED_CHARACTERS])
            return f"its TLS certificate is not accepted ({words}); see ssl_ca_certs and ssl_check_hostname in the docs"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, AuthenticationError):
            return ERROR_CODES["WRONGPASS"].meaning
        if isinstance(cause, FileNotFoundError):
            return "a file that redis-url names does not exist"
        if isinstance(cause, UnicodeError):
            return "its host name is not valid"
    return "the connection failed"


class ErrorReplies:
    """Makes errors of error replies; calls `on_error` for each, and logs one in ten seconds of each code.

    `on_leave` is called for each reply after which the relay is to connect anew.
    """

    def __init__(
        self,
        on_error: Callable[[], object],
        clock: Clock = time.monotonic,
        *,
        on_leave: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_error = on_error
        self._on_leave = on_leave
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
            return ScriptFailed(report_of(text))
        return Unavailable().because(report_of(text))

    def unexpected(self, reply: Any) -> RelayError:
        """Return the error for a reply that is none of those that a script gives."""
        self._record(f"unexpected reply {reply!r}")
        return ScriptFailed()

    def _record(self, text: str) -> None:
        self._on_error()
        if leaves(text):
            self._on_leave()
        unlogged = self._lines.due(code_of(text))
        if unlogged is not None:
            log.error(
                "Redis answered with an error, and the command failed: %s (%d more such errors since the last of these "
                "lines)", escape(text[:_LOGGED_CHARACTERS]), unlogged,
            )  # fmt: skip


def leaves(text: str) -> bool:
    """Tell whether the relay is to connect anew after an error reply: another Redis may serve it by now."""
    code = ERROR_CODES.get(code_of(text))
    return code is not None and code.leaves


def serves_nobody(text: str) -> bool:
    """Tell whether an error reply to the first script shows that this Redis serves no worker now."""
    return code_of(text) in ERROR_CODES.keys() - {"NOPERM", "NOSCRIPT"}


def takes_no_writes(text: str) -> bool:
    """Tell whether an error reply shows that this Redis answers, and refuses the writes of all workers for now."""
    return code_of(text) in {"MISCONF", "NOREPLICAS", "BUSY"}


def is_noscript(reply: Any) -> bool:
    """Tell whether a reply says that Redis does not have the script."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")


def _refused(text: str) -> bool:
    code = ERROR_CODES.get(code_of(text))
    return code is not None and (code.in_scripts or not is_of_script(text))
