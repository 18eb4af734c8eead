"""Durability: publishers get their receipts once enough replicas of Redis have the messages (`WAIT`).

WAIT counts the writes of its own connection, and Redis takes no further command from that connection until it answers.
So WAIT has a connection of its own, apart from the commands of all rooms. It follows a write of that connection: all
replicas take all writes of their master in one order, and so have the earlier messages once they have that write.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

from relay.awake import AwakeTime
from relay.backend.bus import Published
from relay.backend.redis.client import set_result
from relay.backend.redis.connection import Dialer, Pending, RedisConnection, call, pack, refused
from relay.backend.redis.in_sync import InSyncReplicas
from relay.backend.redis.place import ignore
from relay.backend.redis.reconnect import Reconnector
from relay.backend.redis.replies import RedisUnreachable, leaves, report_of
from relay.backend.redis.run import RedisRun, read_run
from relay.backend.redis.scripts import RUN
from relay.backend.redis.sentinel import NOT_MASTER
from relay.config.redis_url import Address
from relay.logs import LogIntervals
from relay.model.errors import OutcomeUnknown, RelayError
from relay.model.publication import Receipt
from relay.tasks import KeptLoop

log = logging.getLogger("relay.backend.redis")

_MOST: Final = 65_536
"""Receipts of one worker that wait for replicas; further ones fail at once."""

_GRACE: Final = 1.0
"""Seconds beyond the timeout of WAIT after which a connection without an answer is given up."""

_LOG_INTERVAL: Final = 10.0

_PATIENCE: Final = 0.6
"""The share of the timeout for which a replica that leaves still counts, so that what waits for it is in time."""

_COUNTS: Final = 10
"""How often the replicas are counted within the timeout, and once a second at least."""


@dataclass(slots=True)
class _Receipt:
    """A receipt that waits. `run` is the run of Redis that has taken the message."""

    deadline: float
    run: str
    done: Published | None
    receipt: Receipt


class Durability(Protocol):
    """The replicas of all of Redis; `async with` begins and ends to wait for them."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def confirm(self, room: str, done: Published, outcome: Receipt | RelayError) -> None:
        """Pass the receipt of a message in a room on once the replicas have it; called when Redis has answered."""
        ...

    @property
    def problem(self) -> str:
        """Why nothing waits for replicas any more: a loop is dead; "" if all run."""
        ...


class Replicas:
    """Holds receipts back until all replicas in sync, at least `number`, have the writes before them.

    They wait for `timeout` seconds at most. `InSyncReplicas` says why all have to have them.

    One WAIT is on its way at a time, and the next one is for all receipts that came meanwhile: the cost does not grow
    with the rate of messages. A receipt that waits too long becomes `OutcomeUnknown`, and so does one whose Redis has
    lost its part to another one meanwhile. A message counts only on the run of Redis that has taken it: another master
    may lack it, however many replicas that has. `on_unconfirmed` is called for each receipt that fails. Times count as
    `awake` does.
    """

    def __init__(
        self,
        dialer: Dialer,
        run: RedisRun,
        *,
        number: int,
        timeout: float,
        on_reconnect: Callable[[], object],
        on_unconfirmed: Callable[[], object] = lambda: None,
        awake: AwakeTime | None = None,
    ) -> None:
        self._awake = awake or AwakeTime()
        self._dialer = dialer
        self._of_node = dialer.of_node
        self._run = run
        self._number = number
        self._timeout = timeout
        self._on_unconfirmed = on_unconfirmed
        self._lines = LogIntervals(_LOG_INTERVAL)
        self._waiting: deque[_Receipt] = deque()
        # The receipts that the present WAIT is for, and when the connection is given up; None without a WAIT.
        self._asked: list[_Receipt] | None = None
        self._silent_at = 0.0
        self._connection: RedisConnection | None = None
        # The run of Redis on that connection.
        self._its_run = ""
        self._in_sync = InSyncReplicas(number, timeout * _PATIENCE)
        # Seconds between two counts. WAIT holds them up, so one for more replicas than `number` takes no longer.
        self._interval = min(1.0, timeout / _COUNTS)
        self._counting = False
        self._count_timer: asyncio.TimerHandle | None = None
        self._pending = Pending()
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._problem = ""
        self._reconnector = Reconnector(f"replicas{dialer.of_node}", self._connect, on_reconnect)
        self._kept: KeptLoop | None = None

    async def __aenter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Begin to connect, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._awake.open()
        self._kept = KeptLoop(self._reconnector.run, "redis replicas")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            await self._kept.stop()
            self._awake.close()
        for timer in (self._timer, self._count_timer):
            if timer is not None:
                timer.cancel()
        if self._connection is not None:
            self._connection.abort()
        self._fail([*(self._asked or ()), *self._waiting], "this worker stops")
        self._asked, self._waiting = None, deque()

    @property
    def problem(self) -> str:
        """Why the connection is not kept open any more; "" if it is."""
        return f"{self._kept.name} {self._kept.problem}" if self._kept is not None and self._kept.problem else ""

    def confirm(self, room: str, done: Published, outcome: Receipt | RelayError) -> None:
        """Call `after`: one Redis has all rooms."""
        self.after(done, outcome)

    @property
    def report(self) -> str:
        """Why the last receipts were not confirmed, for operators; "" if they were."""
        return self._reconnector.report or self._problem

    def after(self, done: Published, outcome: Receipt | RelayError) -> None:
        """Pass a receipt on once the replicas have the message, or an error in its place; pass errors on at once."""
        if not isinstance(outcome, Receipt):
            done(outcome)
            return
        if len(self._waiting) >= _MOST:
            self._fail([_Receipt(0, "", done, outcome)], f"{_MOST} messages wait for replicas already")
            return
        deadline = self._awake.now + self._timeout
        self._waiting.append(_Receipt(deadline, self._run.present, done, outcome))
        self._flush_soon()
        # Deadlines never decrease, so a timer that is set already is early enough.
        if self._timer is None:
            self._timer = self._awake.call_at(deadline, self._check_deadlines)

    def follow(self, master: Address) -> None:
        """Connect anew if the connection leads to another Redis than the master."""
        if self._connection is not None and self._connection.address != master:
            self._give_up(self._connection, RedisUnreachable(NOT_MASTER, NOT_MASTER))

    # Asking.

    def _flush_soon(self) -> None:
        """Ask at the end of this turn of the event loop: once for all messages whose receipts arrived in it."""
        if not self._flushing and self._asked is None and self._connection is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        connection = self._connection
        if connection is None or self._asked is not None or not self._waiting:
            return
        waiting, self._waiting = self._waiting, deque()
        asked = [one for one in waiting if one.run == self._its_run]
        others = [one for one in waiting if one.run != self._its_run]
        present = self._run.present
        gone = [one for one in others if one.run != present]
        self._fail(gone, "another Redis has taken the part of the one that had it")
        # The other connection of this worker has met a newer run: this one is on a Redis of the past.
        self._waiting.extend(one for one in others if one.run == present)
        if self._waiting:
            self._put_back(asked)
            self._give_up(connection, RedisUnreachable("on an earlier run of Redis", "on an earlier run of Redis"))
        elif asked:
            self._ask(connection, asked)

    def _ask(self, connection: RedisConnection, asked: list[_Receipt]) -> None:
        now, needed = self._awake.now, self._in_sync.needed
        left = asked[-1].deadline - now
        milliseconds = max(1, round((min(left, self._interval) if self._in_sync.has_spare else left) * 1000))
        self._asked, self._silent_at = asked, now + milliseconds / 1000 + _GRACE
        # A write that takes no memory, of a key that has a time to live already.
        connection.send(self._run.renewal())
        connection.send(pack("WAIT", needed, milliseconds))
        written: list[Any] = []
        self._pending.add(0, written.append)
        self._pending.add(0, partial(self._answered, connection, written, needed))

    def _count_later(self) -> None:
        if self._count_timer is not None:
            self._count_timer.cancel()
        self._count_timer = self._awake.call_at(self._awake.now + self._interval, self._count)

    def _count(self) -> None:
        """Ask which replicas are in sync, also while no message waits: the next one may meet a master of the past."""
        self._count_timer = None
        if self._connection is None:
            return
        if not self._counting:
            self._counting = True
            self._connection.send(pack("INFO", "replication"))
            self._pending.add(0, partial(self._counted, self._its_run))
        self._count_later()

    def _counted(self, run: str, reply: Any) -> None:
        self._counting = False
        self._in_sync.count(run, reply, self._awake.now)

    def _answered(self, connection: RedisConnection, written: Sequence[Any], needed: int, reply: Any) -> None:
        asked, self._asked = self._asked or [], None
        if isinstance(reply, RelayError):
            # The connection is lost. Replicas may have the messages: another connection asks again.
            self._put_back(asked)
            return
        error = next((str(one) for one in (*written, reply) if isinstance(one, Exception)), "")
        if not error and not isinstance(reply, int):
            self._fail(asked, "Redis answers to WAIT without a number")
        elif error or written[0] != 1:
            # Redis is a replica now, has lost its data, or does not allow WAIT.
            self._fail(asked, report_of(error) if error else "Redis has lost its data")
            if not error or leaves(error):
                self._give_up(connection, refused(error or self._problem))
        elif reply >= needed:
            self._confirm(asked)
        elif needed > self._number:
            # By the next count, one of the replicas may have left.
            self._put_back(asked)
        else:
            self._fail(asked, f"{reply} of {self._number} replicas had it within {self._timeout:g} s")
        self._flush_soon()

    def _confirm(self, asked: Sequence[_Receipt]) -> None:
        self._problem = ""
        for one in asked:
            _pass_on(one, one.receipt)

    def _put_back(self, asked: Sequence[_Receipt]) -> None:
        self._waiting.extendleft(reversed([one for one in asked if one.done is not None]))

    # Failing.

    def _fail(self, receipts: Sequence[_Receipt], cause: str) -> None:
        failed = [one for one in receipts if one.done is not None]
        if not failed:
            return
        self._problem = cause
        unlogged = self._lines.due("")
        if unlogged is not None:
            log.warning(
                "messages%s are in Redis, and not confirmed by %d of its replicas (%s); their senders get "
                "outcome_unknown (%d more of these lines since the last one)",
                self._of_node, self._number, cause, unlogged,
            )  # fmt: skip
        for one in failed:
            self._on_unconfirmed()
            _pass_on(
                one, OutcomeUnknown("Redis has the message, and too few of its replicas have confirmed it in time")
            )

    def _check_deadlines(self) -> None:
        self._timer = None
        now = self._awake.now
        each = [*(self._asked or ()), *self._waiting]
        late = [one for one in each if one.deadline <= now]
        self._fail(late, self._reconnector.report or f"no answer within {self._timeout:g} s")
        self._waiting = deque(one for one in self._waiting if one.done is not None)
        if self._asked is not None and self._connection is not None and now >= self._silent_at:
            text = f"no answer within {self._timeout + _GRACE:g} s"
            self._give_up(self._connection, RedisUnreachable(text, text))
        times = [one.deadline for one in each if one.done is not None]
        times += [self._silent_at] if self._asked is not None else []
        if times:
            self._timer = self._awake.call_at(min(times), self._check_deadlines)

    # The connection.

    async def _connect(self) -> None:
        pending = Pending()
        connection = await self._dialer.open(pending.resolve, lambda: self._lost(connection, pending))
        try:
            # Within a time limit: a stopped Redis accepts connections, and does not answer.
            async with self._awake.limit(self._timeout):
                told: asyncio.Future[Any] = self._loop.create_future()
                connection.send(pack("SCRIPT", "LOAD", RUN.source))
                pending.add(0, ignore)
                connection.send(self._run.command())
                pending.add(0, partial(set_result, told))
                its_run = _read(await told)
                counted: asyncio.Future[Any] = self._loop.create_future()
                connection.send(pack("INFO", "replication"))
                pending.add(0, partial(set_result, counted))
                self._in_sync.count(its_run, _read_info(await counted), self._awake.now)
        except BaseException as error:
            connection.abort()
            if isinstance(error, TimeoutError):
                text = f"no answer within {self._timeout:g} s"
                raise RedisUnreachable(text, text) from None
            raise
        self._connection, self._pending, self._its_run = connection, pending, its_run
        self._counting = False
        self._count_later()
        self._reconnector.confirmed()
        self._flush_soon()

    def _give_up(self, connection: RedisConnection, cause: RedisUnreachable) -> None:
        connection.abort()
        self._lost(connection, self._pending, cause)

    def _lost(self, connection: RedisConnection, pending: Pending, cause: RedisUnreachable | None = None) -> None:
        if self._connection is connection:
            self._connection = None
            self._reconnector.disconnected(cause)
        pending.fail(OutcomeUnknown())


def _read(reply: Any) -> str:
    """Return the run in a reply of run.lua; raises `RedisUnreachable` if there is none."""
    if isinstance(reply, RelayError):
        raise RedisUnreachable("connection lost while the run id was asked for", "connection lost")
    if isinstance(reply, Exception):
        raise refused(str(reply))
    run, _ = read_run(reply)
    if not run:
        text = "Redis does not tell its run id, without which no replica can be counted: give the relay's user +info"
        raise RedisUnreachable(text, text)
    return run


def _read_info(reply: Any) -> Any:
    """Return a reply to INFO; raises `RedisUnreachable` if there is none, or an error."""
    if isinstance(reply, RelayError):
        raise RedisUnreachable("connection lost while the replicas were asked for", "connection lost")
    if isinstance(reply, Exception):
        raise refused(str(reply))
    return reply


def _pass_on(one: _Receipt, outcome: Receipt | RelayError) -> None:
    """Hand the outcome to the publisher, unless it has one already."""
    done, one.done = one.done, None
    if done is not None:
        call(done, outcome)
