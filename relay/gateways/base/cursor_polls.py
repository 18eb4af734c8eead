"""Long polling with a cursor: each poll names the place of its client, and the last message that the client has."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from relay.gateways.base.admission import admit
from relay.gateways.base.http import HttpExchange
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.http_sessions import (
    REPLACED_DELAY,
    HttpDialect,
    HttpSession,
    HttpSessions,
    answer_poll,
    ends_for_good,
)
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, CloseReason
from relay.rooms.admissions import Ticket
from relay.rooms.worker import Worker

_SHORT: Final = 1.0
"""Seconds: a poll that waits for less, or lets another one be answered, counts for the rate of HTTP requests.

Without a bound, one client could ask for answers without messages as fast as a worker makes them.
"""


class CursorFrame(Frame):
    """A frame for a client that polls; with it, the client has this `cursor`, "" if its cursor stays as it is."""

    __slots__ = ("cursor",)

    def __init__(self, data: bytes, cursor: str) -> None:
        super().__init__(data)
        self.cursor = cursor


def cursor_after(answer: PollAnswer) -> str:
    """Return the cursor of a client after an answer.

    It is that of the last frame with one; else the id that the client has reached, or the cursor of its poll.
    """
    cursors = (frame.cursor for frame in reversed(answer.frames) if isinstance(frame, CursorFrame))
    return next(filter(None, cursors), answer.token if answer.reached is None else str(answer.reached))


class CursorSession(HttpSession[Frame]):
    """The session of a client that polls: between two polls, its messages wait here.

    It goes by the `name` of the place, so that each poll of the place finds it. `cursor` is the one that its client
    goes on from. Those of the frames that move it are `CursorFrame`.
    """

    __slots__ = ("cursor",)

    def __init__(
        self,
        sessions: HttpSessions[Any],
        codecs: CodecPair[Frame],
        ticket: Ticket,
        *,
        dialect: HttpDialect[Frame],
        rules: PollingRules,
        name: str,
    ) -> None:
        super().__init__(sessions, codecs, ticket, dialect=dialect, rules=rules, session_id=name)
        self.cursor = ""

    def goes_on(self, since: MessageId | None) -> bool:
        """Return whether a client with this cursor goes on here: with the frames that wait, or the last answer.

        A browser sends a poll again by itself, if its connection was cut.
        """
        return since is None or str(since) == self.cursor or self.polling.repeats(str(since))

    def answers_at_once(self, since: MessageId | None, hold: float) -> bool:
        """Return whether this poll, or another one because of it, may be answered although there is nothing new."""
        return hold < _SHORT or not self.polling.idle or self.polling.repeats(self._token(since))

    async def poll(self, exchange: HttpExchange, since: MessageId | None, hold: float) -> None:
        """Answer a poll as soon as there is something to tell, or after `hold` seconds."""
        # The session may have ended while the poll waited for its turn.
        hold = 0.0 if self._ended else hold
        await answer_poll(exchange, self, self.polling, self._token(since), hold=hold, prepare=self._advance)

    async def _advance(self, answer: PollAnswer) -> PollAnswer:
        """Move the cursor to where it is after an answer."""
        if answer.closed is None and not answer.superseded:
            answer = answer._replace(reached=self.reached())
        self.cursor = cursor_after(answer)
        if self.cursor == answer.token:
            # Nothing in it has a cursor. The next poll has the same one, and must not get it again.
            self.polling.acknowledge_all()
        if answer.closed is REPLACED:
            await asyncio.sleep(REPLACED_DELAY)
        return answer

    def _token(self, since: MessageId | None) -> str:
        return self.cursor if since is None else str(since)

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session; only an end that the client would not find out by coming back waits for its next poll."""
        super().closed(reason, final if ends_for_good(reason) else None)


Enter = Callable[[CursorSession, JoinRequest], Awaitable[None]]
"""Has a session join its room with a request."""


async def _enter(session: CursorSession, request: JoinRequest) -> None:
    await session.enter(lambda: request)


class CursorPolls(HttpSessions[CursorSession]):
    """The sessions of one gateway on one worker, and the polls that they answer.

    `protocol` is the gateway's name. `idle` is after how many seconds without a poll a client counts as lost; its place
    is held from then on. `limit` is for the body of a poll, in bytes. `enter` lets a session join.
    """

    def __init__(self, worker: Worker, protocol: str, *, idle: float, limit: int = 0, enter: Enter = _enter) -> None:
        super().__init__(worker)
        self._enter = enter
        self._protocol = protocol
        self._limit = limit
        self._rules = PollingRules(
            overlap=Overlap.RELEASE_OLDER,
            lost_after=idle,
            lost_with_request=True,
            repeated_answers=1,
            frames_per_answer=1000,
        )

    async def go_on(self, exchange: HttpExchange, place: HttpPlace, since: MessageId | None, hold: float) -> bool:
        """Answer a poll of a client that has a session, here or on another worker; return False if it has none.

        A session whose client does not go on from where it is, ends. `since` is None if the client does not say, and
        `hold` as in `CursorSession.poll`. Raises `Refused` (`too_many_requests`).
        """
        session = self.get(place.name)
        if session is None:
            token = "" if since is None else str(since)
            return await self.answer_without_session(exchange, place, token=token, limit=self._limit)
        if not session.goes_on(since):
            session.lost()
            return False
        if session.answers_at_once(since, hold):
            await self.worker.requests.admit(counted_client(exchange.scope))
        await session.poll(exchange, since, hold)
        return True

    async def begin(
        self,
        exchange: HttpExchange,
        codecs: CodecPair[Frame],
        dialect: HttpDialect[Frame],
        request: JoinRequest,
        hold: float,
    ) -> None:
        """Join the room with the place in a request, and answer the poll that has brought it; raises `Refused`.

        A client that may not join has the reason in the answer.
        """
        place = HttpPlace(request.room, request.peer, request.resume)
        with admit(exchange.scope, self._protocol) as ticket:
            # A place has one session. The one that is here did not answer the poll: the client has begun again, or
            # another poll of the place has begun the session in the meantime.
            earlier = self.get(place.name)
            if earlier is not None:
                earlier.lost()
            session = CursorSession(self, codecs, ticket, dialect=dialect, rules=self._rules, name=place.name)
        ticket.metrics.handshakes += 1
        dropped = asyncio.create_task(_end_when_dropped(exchange, session))
        await self._enter(session, request)
        if not dropped.done():
            dropped.cancel()
            await session.poll(exchange, request.since, hold)


async def _end_when_dropped(exchange: HttpExchange, session: CursorSession) -> None:
    """End a session whose client gives up: an attempt that is lost takes no place from a newer one."""
    await exchange.until_dropped()
    session.lost()
