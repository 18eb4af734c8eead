"""The sessions of clients without a WebSocket: those that poll, and those that read an event stream."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_sessions import AnswerWriter, HttpSessions, answer_poll
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.gateways.base.replies import PostReplies
from relay.gateways.firebase.codec import IGNORED
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.scripts import first_answer, script_of
from relay.gateways.firebase.segments import Segment, Segments, TooLarge
from relay.gateways.firebase.session import FirebaseSession, RoomConnection
from relay.model.codec import Frame
from relay.model.errors import UNFINISHED, BadFrame, CloseReason, Refused
from relay.rooms.admissions import Ticket
from relay.rooms.large_messages import LARGE

_POLLS: Final = PollingRules(
    overlap=Overlap.RELEASE_OLDER,
    # Two of the client, and as many that it has given up after 25 seconds.
    posts=8,
    hold=30.0,
    # A client whose request fails connects anew.
    lost_with_request=True,
)


def polling_rules(inactivity: float) -> PollingRules:
    """Return the rules for clients that poll, which count as lost after so many seconds without a poll."""
    return replace(_POLLS, lost_after=inactivity)


class FirebaseHttpSession(FirebaseSession):
    """A session whose connection is made of requests; it is registered by its secret id."""

    __slots__ = ("_polling", "_sessions", "id", "writer")

    def __init__(
        self,
        sessions: "HttpSessions[FirebaseHttpSession]",
        codecs: CodecPair[Frame],
        ticket: Ticket,
        places: Places,
        rules: PollingRules,
        writer: AnswerWriter,
    ) -> None:
        worker = sessions.worker
        self._polling = PollingConnection(
            rules, limit=worker.settings.send_buffer, metrics=ticket.metrics, buffering=ticket, owner=self
        )
        super().__init__(RoomConnection(self._polling), worker, codecs, ticket, places)
        self._sessions = sessions
        self.writer = writer
        self.id = sessions.new_id()
        sessions.add(self)

    @property
    def polling(self) -> PollingConnection:
        """The connection."""
        return self._polling

    async def posted(self, body: bytes, media_type: bytes, replies: PostReplies) -> None:
        """Refuse: clients send messages in URLs."""
        raise Refused("bad_method")

    def leave(self) -> "asyncio.Future[None] | None":
        """End the session, because the client has closed it; the future is that of `Session.end`."""
        return self._end_client(goodbye=True)

    # Owner of the connection.

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session after the relay has closed it: the client learns it from its next poll."""
        self._end_client(goodbye=False)

    def lost(self) -> None:
        """End the session of a client whose requests have ended."""
        self._polling.note_loss()
        self._end_client(goodbye=False)

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Take note that the client has got these frames."""

    def _end_client(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        if self._ended:
            return None
        if self._polling.reason is None:
            self._metrics.count_closed("client" if goodbye else "lost")
        self._sessions.remove(self)
        self._polling.end()
        return self.end(goodbye=goodbye)


class _ScriptWriter:
    """Writes the answers to polls."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the answer to a poll."""
        return script_of(answer)

    def posted(self, replies: object) -> HttpBody:
        """Write an empty response."""
        return HttpBody(b"")


_WRITER: Final = _ScriptWriter()


class FirebasePollSession(FirebaseHttpSession):
    """Serves a client that polls. Its answers have numbers without holes, from 0 on."""

    __slots__ = ("_answers", "_in_order", "_segments")

    def __init__(
        self,
        sessions: HttpSessions[FirebaseHttpSession],
        codecs: CodecPair[Frame],
        ticket: Ticket,
        places: Places,
        rules: PollingRules,
    ) -> None:
        super().__init__(sessions, codecs, ticket, places, rules, _WRITER)
        settings = self._worker.settings
        new_buffer = partial(ticket.buffer, self._drop_segments)
        self._segments = Segments(settings.max_message, new_buffer, settings.message_timeout, self._drop_segments)
        self._answers = 0
        # While a large message waits for its turn, the messages of another request wait for it.
        self._in_order = asyncio.Lock()

    async def begin_polling(self, exchange: HttpExchange, callback: str) -> None:
        """Answer the request that has begun the session; `callback` is the number of the page's functions."""
        answer = await exchange.unless_dropped(self._polling.poll(self._next_token()))
        if answer is None:
            self.lost()
        else:
            await exchange.respond(first_answer(callback, self.id, answer), session_id=self.id)

    async def serve_poll(self, exchange: HttpExchange, segments: list[Segment]) -> None:
        """Take the messages of a poll, and answer it as soon as there are others for the client.

        Raises `Refused` (`bad_query`, `poll_overlap`, `unknown_session`).
        """
        with self._polling.posting() as replies:
            async with self._in_order:
                await self._take(segments)
            await replies.until_resumed()
        if self._ended:
            raise Refused("unknown_session")
        await answer_poll(exchange, self, self._polling, self._next_token())

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session."""
        self._segments.stop()
        return super().end(goodbye=goodbye)

    def _next_token(self) -> str:
        # Polls are answered in the order in which they are opened.
        number, self._answers = self._answers, self._answers + 1
        return str(number)

    async def _take(self, segments: list[Segment]) -> None:
        messages = False
        for one in self._segments.add(segments):
            if self._ended:
                return
            messages = True
            match one:
                case Frame() if len(one.data) >= LARGE:
                    await self._worker.large_messages.turn(self.ticket.address, partial(self._received_in_turn, one))
                case Frame():
                    self.received(one)
                case TooLarge():
                    self.execute(BadFrame("too_large", about="request", key=one.key), one.size)
                case _:
                    self._metrics.messages_in += 1
                    self._metrics.bytes_in += one
                    self.execute(IGNORED, one)
        if not messages and not self._polling.idle:
            # The open poll is answered at once: without a rate, a client could have answers without end.
            self.execute(IGNORED)

    def _received_in_turn(self, message: Frame) -> None:
        if not self._ended:
            self.received(message)

    def _drop_segments(self) -> None:
        self._segments.stop()
        self._connection.close(UNFINISHED)
