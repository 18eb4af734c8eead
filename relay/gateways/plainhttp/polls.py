"""Long polling: sessions that wait for the next poll, and the answers to polls."""

import asyncio
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.base.http import JSON, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import HttpSession, HttpSessions, PostedRequest
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling import Overlap, PollAnswer, PollingRules
from relay.gateways.plainhttp.codec import PollFrame, close_fields
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import ERRORS, REPLACED, CloseReason, Refused
from relay.rooms.admissions import Ticket

IDLE: Final = 15.0
"""Seconds without a poll after which the client counts as lost; its place is held from then on."""

_RULES: Final = PollingRules(
    overlap=Overlap.RELEASE_OLDER,
    lost_after=IDLE,
    lost_with_request=True,
    repeated_answers=1,
    frames_per_answer=1000,
)
_SHORT: Final = 1.0
"""Seconds: a poll that waits for less, or lets another one be answered, counts for the rate of HTTP requests.

Without a bound, one client could ask for answers without messages as fast as a worker makes them.
"""

_REPLACED_DELAY: Final = 1.0
"""Seconds until a poll is answered whose place another one took: two programs with one key would do it for ever."""


class PollDialect:
    """Writes the answers to polls: `messages`, `next`, and the other events."""

    def read(self, body: bytes, media_type: bytes) -> list[PostedRequest[Frame]]:
        """Refuse: posts belong to no session."""
        raise Refused("bad_method")

    def posted(self, replies: object) -> HttpBody:
        """Write an empty response."""
        return HttpBody(b"")

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the answer; a client that could not join gets the error, with its status."""
        frames = [frame for frame in answer.frames if isinstance(frame, PollFrame)]
        if answer.closed is not None:
            refusal = next((frame.fields for frame in frames if _refuses(frame)), None)
            if refusal is not None:
                return _refused(refusal)
        content: dict[str, Any] = {
            "messages": [Raw(frame.data) for frame in frames if frame.fields is None],
            "next": next_of(answer),
        }
        told = [frame for frame in frames if frame.fields is not None]
        for frame in told:
            if frame.fields is not None and frame.fields["type"] == "welcome":
                content["peer"], content["resume"] = frame.fields["peer"], frame.fields["resume"]
        if told:
            content["events"] = [Raw(frame.data) for frame in told]
        if answer.closed is not None:
            content["closed"] = close_fields(answer.closed)
        return HttpBody(msgspec.json.encode(content), JSON)


def next_of(answer: PollAnswer) -> str:
    """Return the id with which the client goes on after an answer, "" if there is none yet."""
    positions = (frame.position for frame in reversed(answer.frames) if isinstance(frame, PollFrame))
    return next(filter(None, positions), answer.token)


def _refuses(frame: PollFrame) -> bool:
    fields = frame.fields
    return fields is not None and fields["type"] == "error" and fields.get("about") == "join"


def _refused(fields: Any) -> HttpBody:
    error = {name: value for name, value in fields.items() if name not in ("type", "about")}
    return HttpBody(msgspec.json.encode({"error": error}), JSON, ERRORS[error["code"]][0])


class PollSession(HttpSession[Frame]):
    """The session of a client that polls: between two polls, its messages wait here.

    It goes by the name of the place, so that each poll of the place finds it. `cursor` is the id that its client goes
    on from.
    """

    __slots__ = ("cursor",)

    def __init__(
        self,
        sessions: HttpSessions[HttpSession[Frame]],
        codecs: CodecPair[Frame],
        ticket: Ticket,
        dialect: PollDialect,
        name: str,
    ) -> None:
        super().__init__(sessions, codecs, ticket, dialect=dialect, rules=_RULES, session_id=name)
        self.cursor = ""

    def goes_on(self, since: MessageId | None) -> bool:
        """Return whether a client that has all up to this id goes on here: with what waits, or the last answer."""
        return since is None or str(since) == self.cursor or self.polling.repeats(str(since))

    def answers_at_once(self, since: MessageId | None, wait: float) -> bool:
        """Return whether this poll, or another one because of it, may be answered although there is nothing new."""
        token = self.cursor if since is None else str(since)
        return wait < _SHORT or not self.polling.idle or self.polling.repeats(token)

    async def poll(self, exchange: HttpExchange, since: MessageId | None, wait: float) -> None:
        """Answer a poll as soon as there is something to tell, or after `wait` seconds."""
        # The session may have ended while the poll waited for its turn.
        hold = 0.0 if self._ended else wait
        poll = self.polling.poll(self.cursor if since is None else str(since), hold=hold)
        rest = self._respond(exchange, poll)
        await (rest if poll.done() else exchange.hold(rest))

    async def _respond(self, exchange: HttpExchange, poll: "asyncio.Future[PollAnswer]") -> None:
        answer = await exchange.unless_dropped(poll)
        if answer is None:
            self.polling.drop(poll)
            return
        self.cursor = next_of(answer)
        if self.cursor == answer.token:
            # It has events without an id. The next poll has the same `since`, and must not get them again.
            self.polling.acknowledge_all()
        if answer.closed is REPLACED:
            await asyncio.sleep(_REPLACED_DELAY)
        await exchange.respond(self.writer.answer(answer))

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session; only an end that the client would not find out by coming back waits for its next poll."""
        ends_for_good = not reason.reconnect and reason is not REPLACED
        super().closed(reason, final if ends_for_good else None)
