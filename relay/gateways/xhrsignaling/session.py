"""The session of a place: rows wait in it between two polls."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from relay.gateways.base.http import JSON, Headers, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import REPLACED_DELAY, HttpSession, HttpSessions, NoPosts, ends_for_good
from relay.gateways.base.join_request import CodecPair, JoinRequest, ObserveRequest
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.base.requested_session import RequestedSession
from relay.gateways.xhrsignaling.codec import NO_ROW, RowFrame
from relay.gateways.xhrsignaling.readers import Readers
from relay.model.codec import Frame
from relay.model.errors import REPLACED, CloseReason
from relay.rooms.admissions import Ticket

HOLD: Final = 20.0
"""Seconds after which a poll without messages is answered; proxies drop requests that are silent for longer."""

_IDLE: Final = 75.0
"""Seconds without a poll after which a place counts as lost: browsers let hidden pages run once a minute."""

_RULES: Final = PollingRules(lost_after=_IDLE, repeated_answers=1, frames_per_answer=1)

_GONE: Final = 410
"""The status for a place that the relay has ended for good: after any but 200, a page asks no more."""


class RowDialect(NoPosts):
    """Writes the answers of polls."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write a row, or that there is none; a page whose place has ended for good gets the reason, and a status."""
        reason = answer.closed
        if reason is not None and ends_for_good(reason):
            error = {"code": reason.name, "text": reason.text}
            return HttpBody(msgspec.json.encode({"error": error}), JSON, _GONE)
        row = next((frame.data for frame in answer.frames if isinstance(frame, RowFrame)), NO_ROW)
        return HttpBody(row if reason is None else NO_ROW, JSON)


_DIALECT: Final = RowDialect()


class PlaceSession(RequestedSession[Frame]):
    """The session of the pages of one place, by whose name each of their polls finds it.

    `entering` is done when the place has joined or could not, and None from then on.
    """

    __slots__ = ("_readers", "entering")

    def __init__(
        self,
        sessions: HttpSessions[HttpSession[Frame]],
        codecs: CodecPair[Frame],
        ticket: Ticket,
        name: str,
    ) -> None:
        super().__init__(sessions, codecs, ticket, dialect=_DIALECT, rules=_RULES, session_id=name)
        self._readers = Readers(self.polling)
        self.entering: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()

    async def enter(self, read_request: Callable[[], JoinRequest | ObserveRequest]) -> None:
        """Join the room; other requests of the place may wait for that meanwhile."""
        try:
            await super().enter(read_request)
        finally:
            entering, self.entering = self.entering, None
            if entering is not None:
                entering.set_result(None)

    def open_poll(self, hold: float) -> "asyncio.Future[PollAnswer]":
        """Open a poll: its answer has a row as soon as there is one, or none after `hold` seconds.

        Raises `Refused` (`too_many_connections`).
        """
        return self._readers.wait(hold)

    async def answer(self, exchange: HttpExchange, poll: "asyncio.Future[PollAnswer]", headers: Headers) -> None:
        """Respond to a poll, with these `headers`; with the last page that drops its poll, the place is lost."""
        answer = await exchange.unless_dropped(poll)
        if answer is not None:
            if answer.closed is REPLACED:
                await asyncio.sleep(REPLACED_DELAY)
            await exchange.respond(self.writer.answer(answer), headers=headers)
        missed = answer is None or (exchange.lost and answer.frames)
        if missed and self._readers.drop(poll):
            self.lost()

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Note the rows that the pages have got, so that another worker goes on from there."""
        self.note_position(frame.id for frame in frames if isinstance(frame, RowFrame))

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session; only an end that the page would not find out by coming back waits for its next poll."""
        super().closed(reason, final if ends_for_good(reason) else None)
