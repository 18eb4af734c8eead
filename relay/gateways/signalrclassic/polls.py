"""The transport `longPolling`: sessions that wait for the next poll, and the requests that begin them."""

import asyncio
from typing import Final

from relay.gateways.base.admission import admit
from relay.gateways.base.http import HttpExchange
from relay.gateways.base.http_place import HttpPlace, forward_to_owner
from relay.gateways.base.http_sessions import HttpSession, HttpSessions
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.polling import Overlap, PollAnswer, PollingRules
from relay.gateways.signalrclassic.answers import ClassicDialect, cursor_after
from relay.gateways.signalrclassic.declaration import PROTOCOL
from relay.http_request import counted_client
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, CloseReason
from relay.rooms.admissions import Ticket
from relay.rooms.worker import Worker

HOLD: Final = 25.0
"""Seconds after which a poll without messages is answered; proxies drop requests that are silent for longer."""

IDLE: Final = 30.0
"""Seconds without a poll after which the client counts as lost; its place is held from then on."""

MAX_BODY: Final = 8192
"""Bytes of the form of a poll: the cursor, and a token of groups, of which the relay has none."""

_RULES: Final = PollingRules(
    overlap=Overlap.RELEASE_OLDER,
    lost_after=IDLE,
    lost_with_request=True,
    repeated_answers=1,
    frames_per_answer=1000,
)
_REPLACED_DELAY: Final = 1.0
"""Seconds until a poll is answered whose place another request took: two workers would do it for ever."""


class LongPollSession(HttpSession[Frame]):
    """The session of a client that polls, by the name of its place; `cursor` is the one that the client has."""

    __slots__ = ("cursor",)

    def __init__(
        self,
        sessions: HttpSessions[HttpSession[Frame]],
        codecs: CodecPair[Frame],
        ticket: Ticket,
        dialect: ClassicDialect,
        name: str,
    ) -> None:
        super().__init__(sessions, codecs, ticket, dialect=dialect, rules=_RULES, session_id=name)
        self.cursor = ""

    def goes_on(self, since: MessageId | None) -> bool:
        """Return whether a client with this cursor goes on here: with the frames that wait, or the last answer.

        A browser sends a poll again by itself, if its connection was cut.
        """
        return since is None or str(since) == self.cursor or self.polling.repeats(str(since))

    def answers_at_once(self, since: MessageId | None, hold: float) -> bool:
        """Return whether this poll, or another one because of it, may be answered although there is nothing new."""
        token = self.cursor if since is None else str(since)
        return not hold or not self.polling.idle or self.polling.repeats(token)

    async def poll(self, exchange: HttpExchange, since: MessageId | None, hold: float) -> None:
        """Answer a poll as soon as there is something, or after `hold` seconds."""
        # The session may have ended while the poll waited for its turn.
        poll = self.polling.poll(self.cursor if since is None else str(since), hold=0.0 if self._ended else hold)
        rest = self._respond(exchange, poll)
        await (rest if poll.done() else exchange.hold(rest))

    async def _respond(self, exchange: HttpExchange, poll: "asyncio.Future[PollAnswer]") -> None:
        answer = await exchange.unless_dropped(poll)
        if answer is None:
            self.polling.drop(poll)
            return
        self.cursor = cursor_after(answer)
        if self.cursor == answer.token:
            # Nothing in it has a cursor. The next poll has the same one, and must not get it again.
            self.polling.acknowledge_all()
        if answer.closed is REPLACED:
            await asyncio.sleep(_REPLACED_DELAY)
        await exchange.respond(self.writer.answer(answer))

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session; only an end that the client would not find out by coming back waits for its next poll."""
        ends_for_good = not reason.reconnect and reason is not REPLACED
        super().closed(reason, final if ends_for_good else None)


async def find(
    exchange: HttpExchange, sessions: HttpSessions[HttpSession[Frame]], place: HttpPlace, since: MessageId | None
) -> tuple[LongPollSession | None, bool]:
    """Return the session of a place, if it is here, and whether the poll was answered."""
    session = sessions.get(place.name)
    if isinstance(session, LongPollSession):
        if session.goes_on(since):
            return session, False
        session.lost()
        return None, False
    last = sessions.take_last_answer(place.name, "" if since is None else str(since))
    if last is not None:
        await exchange.respond(last)
        return None, True
    return None, await forward_to_owner(exchange, place, limit=MAX_BODY)


async def begin(
    exchange: HttpExchange,
    sessions: HttpSessions[HttpSession[Frame]],
    codecs: CodecPair[Frame],
    dialect: ClassicDialect,
    request: JoinRequest,
) -> LongPollSession | None:
    """Return a session that has joined, or was refused; None if the client drops the poll before that."""
    place = HttpPlace(request.room, request.peer, request.resume)
    with admit(exchange.scope, PROTOCOL) as ticket:
        # A place has one session. The client has begun again, or another poll of it came first.
        earlier = sessions.get(place.name)
        if earlier is not None:
            earlier.lost()
        session = LongPollSession(sessions, codecs, ticket, dialect, place.name)
    ticket.metrics.handshakes += 1
    dropped = asyncio.create_task(_end_when_dropped(exchange, session))
    await session.enter(lambda: request)
    if dropped.done():
        return None
    dropped.cancel()
    return session


async def take_turn(exchange: HttpExchange) -> None:
    """Count a poll that is answered at once for the rate of HTTP requests; raises `Refused`.

    Without a bound, one client could ask for answers without messages as fast as a worker makes them.
    """
    worker: Worker = exchange.scope["state"]["worker"]
    await worker.requests.admit(counted_client(exchange.scope))


async def _end_when_dropped(exchange: HttpExchange, session: LongPollSession) -> None:
    """End a session whose client gives up: an attempt that is lost takes no place from a newer one."""
    await exchange.until_dropped()
    session.lost()
