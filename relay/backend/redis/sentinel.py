"""The address of the master, from its sentinels (Redis Sentinel: `SENTINEL MASTER`)."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from relay.backend.redis.lookups import Lookups
from relay.backend.redis.replies import RedisUnreachable, reason_of, reply_in, report_of, shown
from relay.backend.redis.tls import TlsConnection
from relay.backend.redis.votes import Answer, Dissent, chosen_of, is_settled, outvotes
from relay.config.redis_url import Address, RedisUrl, Sentinels
from relay.limits import Clock

log = logging.getLogger("relay.backend.redis")

_SHARE: Final = 0.5
"""The part of an attempt's time that the sentinels may take; the rest is for the master."""

_MEMORY: Final = 10.0
"""Seconds for which an answer counts more than later ones that are older than it, or that only a minority gives."""

_LINGER: Final = 0.05
"""Seconds for which the watch waits for the other answers once a majority has decided: one of them may disagree."""

_SWITCHING: Final = frozenset({b"reconf_slaves", b"update_config"})
"""States of a failover in which the sentinel that leads it has the new epoch, and names the old master.

It names the new one when all replicas follow that, or after the failover-timeout. The other sentinels do so before.
"""

NOT_MASTER: Final = "the sentinels name another master"


class MasterFinder:
    """Asks all sentinels of a URL where their master is, each time anew.

    A sentinel that was cut off from the others may name a master of the past. Therefore all are asked at the same time,
    and of the answers the one with the highest configuration epoch counts. Of several with this epoch, that of most
    sentinels counts (see `chosen_of`). The search ends when a majority has answered without a contradiction, or when
    its share of the attempt's time is over and any has. A sentinel that leads a failover has the new epoch before it
    names the new master: the answers of the others count more. `options` are those of redis-py for each connection, and
    `timeout` is that of an attempt. `on_failover` is called when the master is another server than before; two names of
    one server have the same run id. `mapped` has the addresses at which workers reach those that sentinels name.
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
        self._newest: Answer | None = None
        self._newest_at = 0.0
        self._dissent = Dissent(clock)

    @property
    def shown(self) -> str:
        """The last address that was found, for the log and for operators; "" before the first one."""
        return "" if self._newest is None else shown(self._newest.address)

    @property
    def dissent(self) -> str:
        """The sentinels that have named another master for long, for operators; "" if none has."""
        return self._dissent.text

    async def find(self, limit: float | None = None) -> Address:
        """Return the address of the master; raises `RedisUnreachable` if no sentinel names one in time.

        `limit` is the time of this attempt, if it is not the usual one.
        """
        seconds = _SHARE * (limit or self._timeout)
        answers, reports = await self._answers(seconds)
        if not answers:
            raise self._nobody(reports, seconds)
        return self._decide(answers)

    async def agreed(self) -> Address | None:
        """Return the address of the master if a majority of the sentinels has answered, else None.

        The connections are kept for the next question, until `close`.
        """
        answers, _ = await self._answers(_SHARE * self._timeout, keeps=True)
        if len(answers) <= len(self._sentinels.addresses) // 2:
            return None
        return self._decide(answers)

    async def close(self) -> None:
        """Close the connections to sentinels."""
        kept, self._kept = list(self._kept.values()), {}
        for connection in kept:
            await connection.disconnect(nowait=True)

    async def _answers(self, seconds: float, *, keeps: bool = False) -> tuple[list[Answer], list[str]]:
        """Ask all sentinels; return the answers that come in time, and the reports on those without one."""
        tasks = [asyncio.create_task(self._ask(address, seconds, keeps=keeps)) for address in self._sentinels.addresses]
        try:
            return await self._collect(tasks, seconds, _LINGER if keeps else 0)
        finally:
            for task in tasks:
                task.cancel()
            # The connections are closed when the tasks have ended.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _collect(
        self, tasks: Collection["asyncio.Task[Answer]"], seconds: float, linger: float
    ) -> tuple[list[Answer], list[str]]:
        """Return the answers, and the reports on the sentinels without one; wait `linger` once they are decided."""
        answers, reports, pending = list[Answer](), list[str](), set(tasks)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while pending and (left := end - loop.time()) > 0:
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    answers.append(task.result())
                except RedisUnreachable as error:
                    reports.append(error.report)
            if is_settled(answers, len(tasks)):
                end = min(end, loop.time() + linger)
        return answers, reports

    async def _ask(self, sentinel: Address, seconds: float, *, keeps: bool) -> Answer:
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

    async def _ask_over(self, connection: Connection, sentinel: Address, *, keeps: bool) -> Answer:
        """Ask over a connection, which may be kept for the next question if there is an answer."""
        answered = False
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SENTINEL", "MASTER", self._sentinels.service)
            answer = _read(await connection.read_response())
            answered = True
            return answer._replace(address=self._mapped.get(answer.address, answer.address), sentinel=sentinel)
        finally:
            if answered and keeps and sentinel not in self._kept:
                self._kept[sentinel] = connection
            else:
                await connection.disconnect(nowait=True)

    def _decide(self, answers: Sequence[Answer]) -> Address:
        """Return the address in the answer that counts, which may be one of a moment ago.

        After a failover, those sentinels may answer first that do not know of it yet. But sentinels that were set up
        anew count from the beginning: so an answer counts more than older ones only for some time.
        """
        now, known = self._clock(), self._newest
        chosen, number = chosen_of(answers, known), len(self._sentinels.addresses)
        if known is None or outvotes(chosen, known, answers, number) or now - self._newest_at > _MEMORY:
            if known is not None and known.address != chosen.address:
                self._note_change(chosen, known, len(answers))
            elif known is not None and not chosen.run:
                # A sentinel that was started anew learns the run id a little later.
                chosen = chosen._replace(run=known.run)
            self._newest, self._newest_at = chosen, now
            known = chosen
        self._dissent.note(answers, known)
        return known.address

    def _nobody(self, reports: list[str], seconds: float) -> RedisUnreachable:
        number = len(self._sentinels.addresses)
        cause = "; ".join(sorted(set(reports))) or f"no answer within {seconds:g} s"
        # Without the name of the master: in a URL that was written wrongly, it may be a part of a password.
        text = f"none of {number} sentinels names the master of redis-url ({cause})"
        return RedisUnreachable(text, text)

    def _note_change(self, chosen: Answer, known: Answer, answers: int) -> None:
        names = shown(chosen.address), shown(known.address)
        if chosen.is_of(known):
            log.info("the sentinels have another name for the same master: %s, before %s", *names)
            return
        self._on_failover()
        log.warning(
            "the sentinels name another master: %s, before %s (%d of %d sentinels answered)",
            *names, answers, len(self._sentinels.addresses),
        )  # fmt: skip


def _read(reply: Any) -> Answer:
    """Read a reply: names and values in turn; raises `RedisUnreachable`."""
    try:
        fields = dict(zip(reply[::2], reply[1::2], strict=True))
        switching = fields.get(b"failover-state") in _SWITCHING
        address = fields[b"ip"].decode(), int(fields[b"port"])
        return Answer(int(fields[b"config-epoch"]), switching, address, fields.get(b"runid", b"").decode("ascii"))
    except (TypeError, ValueError, KeyError, AttributeError):
        text = "a sentinel: its answer is not that of a sentinel"
        raise RedisUnreachable(text, text) from None
