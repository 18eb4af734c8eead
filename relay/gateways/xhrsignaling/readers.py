"""The pages that poll for one place: mostly one, but all tabs of a browser have the same cookie."""

import asyncio
from collections import deque
from typing import Final

from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.xhrsignaling.codec import RowFrame
from relay.model.errors import Refused

_PATIENCE: Final = 2.0
"""Seconds for which a row waits for a page that has not polled again; pages do so after at most 400 ms."""

_AGAIN: Final = 5.0
"""Seconds of rows that all pages get again when there is one page more; pages drop those that they have had."""

_MOST_GIVEN: Final = 32
_MOST_BYTES: Final = 65_536
"""Rows, and their bytes, that are kept to be given again."""

MAX_PAGES: Final = 16
"""Polls of one place that are open at a time: a browser has six connections to an origin."""

_NO_ROW: Final = PollAnswer(())


class Readers:
    """The open polls of the pages of one place, which get the same rows: each row answers the polls of all pages.

    Polls do not name their page. So a row is given only when as many polls are open as there are pages, or when a page
    has not come for a while. When more polls are open than there were pages, there is a new page, or one that has
    missed a row: the rows of the last seconds are given once more.
    """

    __slots__ = ("_given", "_pages", "_patience", "_polling", "_polls", "_rows", "_taking", "_waiting")

    def __init__(self, polling: PollingConnection) -> None:
        self._polling = polling
        self._pages = 1
        self._polls = 0
        self._waiting: dict[asyncio.Future[PollAnswer], asyncio.TimerHandle] = {}
        self._rows: deque[RowFrame] = deque()
        self._given: deque[tuple[float, RowFrame]] = deque(maxlen=_MOST_GIVEN)
        self._taking: asyncio.Future[PollAnswer] | None = None
        self._patience: asyncio.TimerHandle | None = None

    def wait(self, hold: float) -> "asyncio.Future[PollAnswer]":
        """Open a poll; the future gets an answer with one row, or without any after `hold` seconds.

        The answer also comes, without a row, when the session ends; `closed` says why the relay has ended it. Raises
        `Refused` (`too_many_connections`) beyond `MAX_PAGES`.
        """
        if len(self._waiting) >= MAX_PAGES:
            raise Refused("too_many_connections", f"a place has at most {MAX_PAGES} open polls")
        # An idle page is to cost no more than its poll, also after it was given messages.
        self._forget_given()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[PollAnswer] = loop.create_future()
        self._waiting[answer] = loop.call_later(hold, self._expire, answer)
        if len(self._waiting) > self._pages:
            self._pages = len(self._waiting)
            self._give_again()
        self._serve()
        return answer

    def drop(self, answer: "asyncio.Future[PollAnswer]") -> bool:
        """Withdraw the poll of a page that is gone; returns whether it was the last page."""
        timer = self._waiting.pop(answer, None)
        if timer is not None:
            timer.cancel()
        last = self._pages == 1
        self._pages = max(1, self._pages - 1)
        self._serve()
        return last

    def _serve(self) -> None:
        """Give the next row, or wait for it."""
        if not self._waiting:
            self._stop_taking()
        elif len(self._waiting) < self._pages:
            if self._patience is None:
                self._patience = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up)
        else:
            self._stop_patience()
            while self._waiting and not self._rows and self._taking is None:
                self._take()
            if self._waiting and self._rows:
                self._give_row(self._rows.popleft())

    def _take(self) -> None:
        """Take the next row out of the connection, now or when it has come."""
        # Each poll of another token acknowledges the row before it: all pages have polled again.
        self._polls += 1
        taking = self._polling.poll(str(self._polls))
        if taking.done():
            self._took(taking.result())
        else:
            self._taking = taking
            taking.add_done_callback(self._taken)

    def _taken(self, taking: "asyncio.Future[PollAnswer]") -> None:
        if self._taking is taking:
            self._taking = None
        if not taking.cancelled():
            self._took(taking.result())
            self._serve()

    def _took(self, answer: PollAnswer) -> None:
        if answer.closed is not None or not answer.frames:
            self._answer_all(answer)
        else:
            self._rows.extend(frame for frame in answer.frames if isinstance(frame, RowFrame))

    def _give_row(self, row: RowFrame) -> None:
        self._given.append((asyncio.get_running_loop().time(), row))
        while sum(len(given.data) for _, given in self._given) > _MOST_BYTES:
            self._given.popleft()
        self._answer_all(PollAnswer((row,)))

    def _give_again(self) -> None:
        self._rows.extendleft(reversed([row for _, row in self._given]))
        self._given.clear()

    def _forget_given(self) -> None:
        """Forget the rows that no page gets again."""
        since = asyncio.get_running_loop().time() - _AGAIN
        while self._given and self._given[0][0] < since:
            self._given.popleft()

    def _answer_all(self, answer: PollAnswer) -> None:
        waiting, self._waiting = self._waiting, {}
        for poll, timer in waiting.items():
            timer.cancel()
            if not poll.done():
                poll.set_result(answer)

    def _expire(self, poll: "asyncio.Future[PollAnswer]") -> None:
        if self._waiting.pop(poll, None) is not None and not poll.done():
            poll.set_result(_NO_ROW)
        if not self._waiting:
            self._stop_taking()

    def _give_up(self) -> None:
        """Serve the pages that wait without those that do not."""
        self._patience = None
        self._pages = max(1, len(self._waiting))
        self._serve()

    def _stop_taking(self) -> None:
        """Leave rows in the connection, which knows then that no client polls."""
        self._stop_patience()
        taking, self._taking = self._taking, None
        if taking is not None and not taking.done():
            self._polling.drop(taking)

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
