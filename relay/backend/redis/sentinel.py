"""The address of the master, from its sentinels (Redis Sentinel: `SENTINEL MASTER`)."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from relay.backend.redis.lookups import Lookups
from relay.backend.redis.replies import RedisUnreachable, reason_of, reply_in, report_of
from relay.backend.redis.tls import TlsConnection
from relay.config.redis_url import RedisUrl, Sentinels
from relay.limits import Clock
from relay.logs import escape

log = logging.getLogger("relay.backend.redis")

_SHARE: Final = 0.5
"""The part of an attempt's time that the sentinels may take; the rest is for the master."""

_MEMORY: Final = 10.0
"""Seconds for which an answer counts more than later ones that are older than it."""

_SWITCHING: Final = frozenset({b"reconf_slaves", b"update_config"})
"""States of a failover in which the sentinel that leads it has the new epoch, and names the old master.

It names the new one when all replicas follow that, or after the failover-timeout. The other sentinels do so before.
"""

_SHOWN: Final = 200
"""Characters of an address that are logged: it comes from a server."""

NOT_MASTER: Final = "the sentinels name another master"

Address = tuple[str, int]
"""Host and port."""


class _Answer(NamedTuple):
    """The answer of a sentinel; of two, the one with the higher epoch is newer.

    Of two with the same epoch, the one that is not `switching` is newer: see `_SWITCHING`.
    """

    epoch: int
    switching: bool
    address: Address

    @property
    def age_key(self) -> tuple[int, bool]:
        """A key by which newer answers come after older ones."""
        return self.epoch, not self.switching


class MasterFinder:
    """Asks all sentinels of a URL where their master is, each time anew.

    A sentinel that was cut off from the others may name a master of the past. Therefore all are asked at the same time,
    and of the answers the one with the highest configuration epoch counts. The search ends when a majority has
    answered, or when its share of the attempt's time is over and any has. A sentinel that leads a failover has the new
    epoch before it names the new master: the answers of the others count more. `options` are those of redis-py for each
    connection, and `timeout` is that of an attempt. `on_failover` is called when the master is another
    one than before. `mapped` has the addresses at which workers reach those that sentinels name.
    """

    def __init__(
        self,
        url: RedisUrl,
        options: Mapping[str, Any],
        lookups: Lookups,
        on_failover: Callable[[], object] = lambda: None,
        clock: Clock = time.monotonic,
        *,
        timeout: float,
        mapped: Mapping[Address, Address] = MappingProxyType({}),
    ) -> None:
        if url.sentinels is None:
            raise ValueError("the URL names no sentinels")
        self._sentinels: Sentinels = url.sentinels
        self._class = TlsConnection if url.is_encrypted else Connection
        self._timeout = timeout
        self._options = {
            **options,
            **url.tls,
            "username": self._sentinels.username or None,
            "password": self._sentinels.password or None,
        }
        self._lookups = lookups
        self._on_failover = on_failover
        self._mapped = mapped
        self._kept: dict[Address, Connection] = {}
        self._clock = clock
        self._newest: _Answer | None = None
        self._newest_at = 0.0
        self._last: Address | None = None

    @property
    def shown(self) -> str:
        """The last address that was found, for the log and for operators; "" before the first one."""
        return "" if self._last is None else _shown(self._last)

    async def find(self, limit: float | None = None) -> Address:
        """Return the address of the master; raises `RedisUnreachable` if no sentinel names one in time.

        `limit` is the time of this attempt, if it is not the usual one.
        """
        seconds = _SHARE * (limit or self._timeout)
        answers, reports = await self._answers(seconds)
        if not answers:
            raise self._nobody(reports, seconds)
        return self._newest_of(answers)

    async def agreed(self) -> Address | None:
        """Return the address of the master if a majority of the sentinels has answered, else None.

        The connections are kept for the next question, until `close`.
        """
        answers, _ = await self._answers(_SHARE * self._timeout, keeps=True)
        if len(answers) <= len(self._sentinels.addresses) // 2:
            return None
        return self._newest_of(answers)

    async def close(self) -> None:
        """Close the connections to sentinels."""
        kept, self._kept = list(self._kept.values()), {}
        for connection in kept:
            await connection.disconnect(nowait=True)

    async def _answers(self, seconds: float, *, keeps: bool = False) -> tuple[list[_Answer], list[str]]:
        """Ask all sentinels; return the answers that come in time, and the reports on those without one."""
        tasks = [asyncio.create_task(self._ask(address, seconds, keeps=keeps)) for address in self._sentinels.addresses]
        try:
            return await self._collect(tasks, seconds)
        finally:
            for task in tasks:
                task.cancel()
            # The connections are closed when the tasks have ended.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _collect(self, tasks: list["asyncio.Task[_Answer]"], seconds: float) -> tuple[list[_Answer], list[str]]:
        """Return the answers, and the reports on the sentinels without one."""
        answers, reports = list[_Answer](), list[str]()
        with suppress(TimeoutError):
            for done in asyncio.as_completed(tasks, timeout=seconds):
                try:
                    answers.append(await done)
                except RedisUnreachable as error:
                    reports.append(error.report)
                if len(answers) > len(tasks) // 2:
                    break
        return answers, reports

    async def _ask(self, sentinel: Address, seconds: float, *, keeps: bool) -> _Answer:
        """Ask one sentinel, over the connection to it if there is one; raises `RedisUnreachable`."""
        host, port = sentinel
        # Taken out, so that no other question uses it, and none at all after an answer that did not come.
        if (kept := self._kept.pop(sentinel, None)) is not None:
            with suppress(OSError, RedisError, TimeoutError):
                return await self._ask_over(kept, sentinel, keeps=keeps)
            # The sentinel has closed it, or does not answer over it: another connection shows which.
        try:
            await self._lookups.find(host)
            options = {**self._options, "socket_timeout": seconds, "socket_connect_timeout": seconds}
            connection = self._class(host=host, port=port, **options)
            return await self._ask_over(connection, sentinel, keeps=keeps)
        except RedisUnreachable:
            raise
        # Not only the errors of the network: redis-py raises any kind for options and host names that it cannot use,
        # and one such sentinel must not keep the worker from the others.
        except Exception as error:
            reply = reply_in(error) if isinstance(error, RedisError) else ""
            report = report_of(reply) if reply else reason_of(error, seconds)
            raise RedisUnreachable(str(error), f"a sentinel: {report}") from None

    async def _ask_over(self, connection: Connection, sentinel: Address, *, keeps: bool) -> _Answer:
        """Ask over a connection, which may be kept for the next question if there is an answer."""
        answered = False
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SENTINEL", "MASTER", self._sentinels.service)
            answer = _read(await connection.read_response())
            answered = True
            return answer._replace(address=self._mapped.get(answer.address, answer.address))
        finally:
            if answered and keeps and sentinel not in self._kept:
                self._kept[sentinel] = connection
            else:
                await connection.disconnect(nowait=True)

    def _newest_of(self, answers: Sequence[_Answer]) -> Address:
        """Return the address in the newest answer, which may be one of a moment ago.

        After a failover, those sentinels may answer first that do not know of it yet. But sentinels that were set up
        anew count from the beginning: so an answer counts more than older ones only for some time.
        """
        now, newest = self._clock(), max(answers, key=lambda one: one.age_key)
        known = self._newest
        if known is None or newest.age_key >= known.age_key or now - self._newest_at > _MEMORY:
            self._newest, self._newest_at = newest, now
            known = newest
        self._note(known.address, len(answers))
        return known.address

    def _nobody(self, reports: list[str], seconds: float) -> RedisUnreachable:
        number = len(self._sentinels.addresses)
        cause = "; ".join(sorted(set(reports))) or f"no answer within {seconds:g} s"
        # Without the name of the master: in a URL that was written wrongly, it may be a part of a password.
        text = f"none of {number} sentinels names the master of redis-url ({cause})"
        return RedisUnreachable(text, text)

    def _note(self, address: Address, answers: int) -> None:
        if self._last is not None and self._last != address:
            self._on_failover()
            log.warning(
                "the sentinels name another master: %s, before %s (%d of %d sentinels answered)",
                _shown(address), _shown(self._last), answers, len(self._sentinels.addresses),
            )  # fmt: skip
        self._last = address


def _read(reply: Any) -> _Answer:
    """Read a reply: names and values in turn; raises `RedisUnreachable`."""
    try:
        fields = dict(zip(reply[::2], reply[1::2], strict=True))
        switching = fields.get(b"failover-state") in _SWITCHING
        return _Answer(int(fields[b"config-epoch"]), switching, (fields[b"ip"].decode(), int(fields[b"port"])))
    except (TypeError, ValueError, KeyError, AttributeError):
        text = "a sentinel: its answer is not that of a sentinel"
        raise RedisUnreachable(text, text) from None


def _shown(address: Address) -> str:
    host, port = address
    return f"{escape(host[:_SHOWN])}:{port}"
