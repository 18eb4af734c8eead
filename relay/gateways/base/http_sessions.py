"""Sessions of clients that poll, or that read an event stream and post: one mechanism for all protocols that do so.

A gateway reads the request line (path, query, session id), finds the session in its `HttpSessions`, which forwards a
request for a session of another worker, and calls `answer_poll`, `answer_post` or `answer_stream`. `PollingRules` say
what its protocol does with overlapping, late and repeated requests, and its `HttpDialect` reads and writes bodies.
`HttpSession` is a session of a client with one membership; a protocol that shares a connection between several, such as
Engine.IO, has its own `PolledSession`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from relay.gateways.base.http import HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace, forward_to_owner
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling import EventStream, PollingConnection
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.base.replies import PostReplies
from relay.gateways.base.session import Session
from relay.model.codec import Frame, In, Incoming
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, CloseReason, Refused
from relay.rooms.admissions import Ticket
from relay.rooms.buffers import Buffer
from relay.rooms.clients import Client
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

_LAST_ANSWER_SECONDS: Final = 5.0
"""How long the last answer of a session waits for the client's next poll."""

_EVENT_STREAM_KEEPALIVE: Final = 15.0
"""Seconds after which a stream without events sends a keepalive; proxies drop connections that are silent for longer.

The keepalive also detects clients whose connection ended without a close.
"""


REPLACED_DELAY: Final = 1.0
"""Seconds until a poll is answered whose place another one took: two pages with one key would do it for ever."""


Posted = TypeVar("Posted", bound=Incoming, covariant=True)


class PostedRequest(NamedTuple, Generic[Posted]):
    """One request in the body of a post; `reply` is the key of the reply that the response carries, "" for none."""

    incoming: Posted
    reply: str = ""


class AnswerWriter(Protocol):
    """How a protocol writes the responses to the requests of a session."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the response to a poll: frames, none of them (poll again), or the end of the session."""
        ...

    def posted(self, replies: Sequence[Frame]) -> HttpBody:
        """Write the response to a post."""
        ...


class HttpDialect(AnswerWriter, Protocol[Posted]):
    """How a protocol reads and writes the bodies of HTTP requests."""

    def read(self, body: bytes, media_type: bytes) -> Sequence[PostedRequest[Posted]]:
        """Read the requests in the body of a post; raises `Refused`."""
        ...


class NoPosts:
    """The half of a dialect whose gateway reads requests itself: nothing is posted to its sessions."""

    def read(self, body: bytes, media_type: bytes) -> list[PostedRequest[Any]]:
        """Refuse."""
        raise Refused("bad_method")

    def posted(self, replies: Sequence[Frame]) -> HttpBody:
        """Write an empty response."""
        return HttpBody(b"")


class PolledSession(Client, Protocol):
    """A session over HTTP, as `HttpSessions` and the functions of this module see it."""

    @property
    def id(self) -> str:
        """The secret id by which the client's requests name the session."""
        ...

    @property
    def ticket(self) -> Ticket:
        """The admission of the client."""
        ...

    @property
    def writer(self) -> AnswerWriter:
        """How responses are written."""
        ...

    async def posted(self, body: bytes, media_type: bytes, replies: PostReplies) -> None:
        """Handle the body of a post; raises `Refused`."""
        ...


Polled = TypeVar("Polled", bound=PolledSession)


class HttpSessions(Generic[Polled]):
    """The sessions of one gateway on one worker, by their ids, which are secret."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._sessions: dict[str, Polled] = {}
        self._last_answers: dict[str, tuple[AnswerWriter, PollAnswer, Buffer]] = {}

    def __len__(self) -> int:
        """Return how many sessions there are."""
        return len(self._sessions)

    def new_id(self) -> str:
        """Make the id of a new session."""
        return self.worker.session_ids.issue()

    def get(self, session_id: str) -> Polled | None:
        """Return the session with this id, if it is on this worker."""
        return self._sessions.get(session_id)

    async def find(
        self, exchange: HttpExchange, session_id: str, *, polls: bool, limit: int, token: str = ""
    ) -> Polled | None:
        """Return the session that a request names; None if the response was sent in its stead.

        A request that `polls`, with this `token`, gets the last answer of a session that has ended. The worker that has
        the session answers a request for one that is not here, whose body has at most `limit` bytes.
        Raises `Refused`: `unknown_session`, or as `Forwarder.forward` does.
        """
        session = self._sessions.get(session_id)
        if session is None:
            last_answer = self.take_last_answer(session_id, token) if polls else None
            if last_answer is not None:
                await exchange.respond(last_answer)
            elif not await exchange.forward(session_id, limit=limit):
                raise Refused("unknown_session")
        return session

    async def answer_without_session(self, exchange: HttpExchange, place: HttpPlace, *, token: str, limit: int) -> bool:
        """Respond to a poll of a place that has no session here; return False if the place can be served here.

        The response is the last answer of the session that has ended here, or that of the worker with the session.
        `token` and `limit` are as in `find`.
        """
        last_answer = self.take_last_answer(place.name, token)
        if last_answer is None:
            return await forward_to_owner(exchange, place, limit=limit)
        await exchange.respond(last_answer)
        return True

    def add(self, session: Polled) -> None:
        """Register a session that begins."""
        self._sessions[session.id] = session
        self.worker.clients.add(session)

    def remove(self, session: Polled) -> None:
        """Forget a session that has ended, and release its ticket."""
        del self._sessions[session.id]
        self.worker.clients.remove(session)
        session.ticket.release()

    def keep_last_answer(self, session: Polled, final: PollAnswer) -> None:
        """Keep the end of a session for a client that is between two polls, for a few seconds."""
        buffer = session.ticket.buffer(partial(self._forget_last_answer, session.id))
        self._last_answers[session.id] = session.writer, final, buffer
        for frame in final.frames:
            buffer.keep(frame.data)
        asyncio.get_running_loop().call_later(_LAST_ANSWER_SECONDS, self._forget_last_answer, session.id)

    def take_last_answer(self, session_id: str, token: str = "") -> HttpBody | None:
        """Write the last answer of a session that has ended, to a poll with this token; None if it was taken before."""
        kept = self._last_answers.get(session_id)
        if kept is None:
            return None
        self._forget_last_answer(session_id)
        writer, final, _ = kept
        return writer.answer(final._replace(token=token))

    def _forget_last_answer(self, session_id: str) -> None:
        kept = self._last_answers.pop(session_id, None)
        if kept is not None:
            kept[2].clear()


class HttpSession(Session[In]):
    """The session of a client with one membership that uses HTTP requests alone.

    `sessions` are those of its own class, in which it has the `session_id`, "" for a new one. Begins registered and
    without a poll; a client that never polls is lost as `PollingRules.lost_after` says.
    """

    __slots__ = ("_dialect", "_polling", "_sessions", "id")

    def __init__(
        self,
        sessions: HttpSessions[Any],
        codecs: CodecPair[In],
        ticket: Ticket,
        *,
        dialect: HttpDialect[In],
        rules: PollingRules,
        session_id: str = "",
    ) -> None:
        worker = sessions.worker
        self._polling = PollingConnection(
            rules, limit=worker.settings.send_buffer, metrics=ticket.metrics, buffering=ticket, owner=self
        )
        super().__init__(self._polling, worker, codecs, ticket)
        self._sessions = sessions
        self._dialect = dialect
        self.id = session_id or sessions.new_id()
        sessions.add(self)

    @property
    def writer(self) -> AnswerWriter:
        """How responses are written."""
        return self._dialect

    @property
    def polling(self) -> PollingConnection:
        """The connection."""
        return self._polling

    async def posted(self, body: bytes, media_type: bytes, replies: PostReplies) -> None:
        """Serve the requests in the body of a post; raises `Refused`."""
        for request in self._dialect.read(body, media_type):
            if self._ended:
                return
            if request.reply:
                replies.expect(request.reply)
            if len(request.incoming.data) < LARGE:
                self.received(request.incoming)
            else:
                serve = partial(self._received_in_turn, request.incoming)
                await self._worker.large_messages.turn(self.ticket.address, serve)
            await replies.until_resumed()

    def _received_in_turn(self, incoming: In) -> None:
        if not self._ended:
            self.received(incoming)

    def reached(self) -> MessageId | None:
        """Return the newest id of the client's room, if answers have taken everything up to it; else None."""
        newest = self.newest_id()
        return None if self._polling.waits else newest

    def leave(self) -> None:
        """End the session, because the client has closed it."""
        self._end_client(goodbye=True)

    # Owner of the connection.

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session after the relay has closed it; the final answer waits for the next poll."""
        if final is not None:
            self._sessions.keep_last_answer(self, final)
        self._end_client(goodbye=False)

    def lost(self) -> None:
        """End the session of a client that no longer polls; its membership is held."""
        self.polling.note_loss()
        self._end_client(goodbye=False)

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Take note that the client has got these frames."""

    def _end_client(self, *, goodbye: bool) -> None:
        if self._ended:
            return
        if self._polling.reason is None:
            self._metrics.count_closed("client" if goodbye else "lost")
        self._sessions.remove(self)
        self._polling.end()
        self.end(goodbye=goodbye)


def ends_for_good(reason: CloseReason) -> bool:
    """Return whether a client that polls is to stop after this; a replaced one finds out by its next poll."""
    return not reason.reconnect and reason is not REPLACED


async def answer_poll(
    exchange: HttpExchange,
    session: PolledSession,
    connection: PollingConnection,
    token: str = "",
    *,
    hold: float | None = None,
    prepare: Callable[[PollAnswer], Awaitable[PollAnswer]] | None = None,
    repeatable: bool = True,
) -> None:
    """Respond to a poll, once there are frames; see `PollingConnection.poll`. Raises `Refused` (`poll_overlap`).

    `prepare` is called with the answer, unless the client has dropped the poll; it returns the answer that is written.
    A poll is not `repeatable` if the client cannot send the same `token` again, as it is not the client's own.
    """
    poll = connection.poll(token, hold=hold)
    rest = _respond_to_poll(exchange, session, connection, poll, prepare, repeatable=repeatable)
    # A client takes a large answer slowly, and only of a held response is it known whether it has taken all of it.
    await (rest if poll.done() and not connection.behind else exchange.hold(rest))


async def _respond_to_poll(
    exchange: HttpExchange,
    session: PolledSession,
    connection: PollingConnection,
    poll: "asyncio.Future[PollAnswer]",
    prepare: Callable[[PollAnswer], Awaitable[PollAnswer]] | None,
    *,
    repeatable: bool,
) -> None:
    answer = await exchange.unless_dropped(poll)
    if answer is None:
        connection.drop(poll)
        return
    written = answer if prepare is None else await prepare(answer)
    connection.response_began()
    await exchange.respond(session.writer.answer(written), session_id=session.id)
    connection.response_ended()
    if exchange.lost:
        connection.answer_dropped(answer, repeatable=repeatable)


async def answer_post(
    exchange: HttpExchange, session: PolledSession, connection: PollingConnection, limit: int
) -> None:
    """Handle a post, and respond when all its replies have come and the client may post again.

    `limit` is in bytes. Raises `Refused`: `poll_overlap`, `too_large`, or an error of the session.
    """
    with connection.posting() as replies:
        body = await exchange.read_body(limit)
        if body is None:
            connection.post_dropped()
            return
        await session.posted(body, exchange.media_type, replies)
        await replies.until_resumed()
        frames: Sequence[Frame] = ()
        if replies.expected:
            complete = await exchange.unless_dropped(replies.complete())
            if complete is None:
                connection.post_dropped()
                return
            frames = complete
            replies.delivered()
    await exchange.respond(session.writer.posted(frames), session_id=session.id)


async def answer_stream(
    exchange: HttpExchange,
    session: PolledSession,
    connection: PollingConnection,
    write: Callable[[PollAnswer], bytes],
    *,
    greeting: bytes = b":\n\n",
    keepalive: float | None = None,
    sent: Callable[[PollAnswer], None] | None = None,
    reached: Callable[[], MessageId | None] | None = None,
) -> None:
    """Send the session's frames as Server-Sent Events, until the client drops the stream or the session ends.

    `write` makes the text of an answer; for one without frames, a comment that keeps the stream alive. `greeting` is
    sent at once, because browsers wait for it. `sent` is called with each answer that the server has taken. `reached`
    gives that field of answers without frames. While the client reads too slowly, frames wait in the connection, up to
    its limit. Raises `Refused` (`poll_overlap`).
    """
    keepalive = _EVENT_STREAM_KEEPALIVE if keepalive is None else keepalive
    stream = connection.open_stream()
    await exchange.hold(_send_events(exchange, session.id, stream, write, greeting, keepalive, sent, reached))


async def _send_events(
    exchange: HttpExchange,
    session_id: str,
    stream: EventStream,
    write: Callable[[PollAnswer], bytes],
    greeting: bytes,
    keepalive: float,
    sent: Callable[[PollAnswer], None] | None,
    reached: Callable[[], MessageId | None] | None,
) -> None:
    try:
        await exchange.start_stream(session_id)
        await exchange.send_chunk(greeting)
        ended = False
        while not ended:
            answer = await exchange.unless_dropped(stream.next(keepalive))
            if answer is None:
                return
            ended = answer.superseded or answer.closed is not None
            if reached is not None and not (ended or answer.frames):
                answer = answer._replace(reached=reached())
            text = b"" if answer.superseded else write(answer)
            await exchange.send_chunk(text, last=ended)
            if sent is not None:
                sent(answer)
    finally:
        stream.close()
