"""A `Connection` over HTTP requests: its frames wait until the client polls, or leave in an event stream."""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NoReturn

from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingOwner, PollingRules
from relay.gateways.base.replies import OpenPosts, PostReplies
from relay.model.codec import Frame
from relay.model.errors import BAD_PACKET, CloseReason, Refused
from relay.protocol_metrics import ProtocolMetrics
from relay.rooms.buffers import Buffering
from relay.rooms.connection import BufferedConnection, Transfer

_SHORTEST_WAIT: Final = 0.01

_LARGE: Final = 16_384
"""Bytes of an answer from which it may take a client seconds."""

_LARGE_SECONDS: Final = 120.0
"""Seconds in which a client takes a large answer; after that it counts as idle although it is still reading."""

_NO_ANSWERS: Final[Mapping[str, PollAnswer]] = MappingProxyType({})
"""Shared by all idle connections: a dictionary that was used takes 300 bytes, even when it is empty."""


class _OpenPoll:
    """A poll that waits for frames."""

    __slots__ = ("answer", "timer", "token")

    def __init__(self, token: str) -> None:
        self.answer: asyncio.Future[PollAnswer] = asyncio.get_running_loop().create_future()
        self.token = token
        self.timer: asyncio.TimerHandle | None = None

    def give(self, answer: PollAnswer) -> None:
        """Answer, unless the request was dropped."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.answer.done():
            self.answer.set_result(answer)


class PollingConnection(BufferedConnection):
    """The connection of one HTTP session: `limit` is the most bytes that wait for its client.

    Frames written in one turn of the event loop leave together. They answer the open poll, or wait for the next one.
    The owner is called once at the end, in a later turn, because the hub may be going through a room's members.
    """

    __slots__ = (
        "_answer_scheduled",
        "_answered",
        "_behind",
        "_given",
        "_idle_since",
        "_idle_timer",
        "_lost",
        "_owner",
        "_poll",
        "_proven",
        "_rules",
        "_said_closed",
        "_stream",
        "posts",
    )  # fmt: skip

    def __init__(
        self,
        rules: PollingRules,
        *,
        limit: int,
        metrics: ProtocolMetrics,
        buffering: Buffering,
        owner: PollingOwner,
    ) -> None:
        # A list: an empty deque takes a kilobyte, and of most lists all frames are taken together.
        super().__init__([], limit=limit, metrics=metrics, buffering=buffering)
        self._rules = rules
        self._owner: PollingOwner | None = owner
        self._poll: _OpenPoll | None = None
        self._stream: EventStream | None = None
        self._answer_scheduled = False
        self._said_closed = False
        self._answered = _NO_ANSWERS
        self._lost = False
        self._behind = False
        # Bytes of all answers, and of the answers that the client has certainly got.
        self._given = self._proven = 0
        self.posts = OpenPosts()
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._start_idle()

    # Connection.

    @property
    def lost(self) -> bool:
        """Whether the client is gone: one that gives its request up while it joins.

        A connection that has ended is not lost by that: the session may go on over a WebSocket.
        """
        return self._lost

    def note_loss(self) -> None:
        """Note that the client is gone."""
        self._lost = True

    def write(self, frame: Frame) -> None:
        """Keep a frame for the open poll, or for the next one; a `Reply` goes to the post that waits for it."""
        if self.reason is None and not self.posts.take(frame):
            super().write(frame)

    def progress(self) -> Transfer | None:
        """Return how much was written, and how much of it is in answers that the client must have got.

        That is an answer before the newest poll, unless it may still be given again. None if the relay is closing the
        connection. Not for streams.
        """
        if self.reason is not None:
            return None
        return Transfer(self._given + self._bytes - self._unacknowledged(), self._proven)

    def pause_reading(self, *, paused: bool) -> None:
        """Delay the responses to posts; see `OpenPosts.pause`."""
        self.posts.pause(paused=paused)

    def _filled(self) -> None:
        if self._poll is not None and not self._answer_scheduled:
            self._answer_scheduled = True
            asyncio.get_running_loop().call_soon(self._answer_later)

    def _closed(self, reason: CloseReason) -> None:
        self._answered = _NO_ANSWERS
        self._answer()
        self.posts.end()
        asyncio.get_running_loop().call_soon(self._report_close, reason)

    # Polls.

    @property
    def idle(self) -> bool:
        """Whether the client has neither a poll nor a stream open."""
        return self._poll is None and self._stream is None

    @property
    def waits(self) -> bool:
        """Whether there are frames that no answer has taken."""
        return bool(self._frames)

    @property
    def behind(self) -> bool:
        """Whether the client has not polled since a large answer, which takes a while on a slow link."""
        return self._behind

    def response_began(self) -> None:
        """Note that the response with an answer begins: while the client takes a large one, it is not idle."""
        if self._behind:
            self._idle_since = asyncio.get_running_loop().time() + _LARGE_SECONDS

    def response_ended(self) -> None:
        """Note that the server has taken the last piece of the response: the client had read those before it."""
        if self._behind:
            self._idle_since = asyncio.get_running_loop().time()

    def poll(self, token: str = "", *, hold: float | None = None) -> "asyncio.Future[PollAnswer]":
        """Open a poll; the future gets its answer as soon as there are frames. Raises `Refused` (`poll_overlap`).

        `token` is the client's mark of this poll, such as a cursor or a number; a client that missed the answer polls
        again with the same one. A poll with another token acknowledges the answers before it. `hold` replaces that of
        the rules.
        """
        self._begin()
        return self._open(token, hold)

    def repeats(self, token: str) -> bool:
        """Return whether a poll with this token is open, or has an answer that is given again.

        The commands that such a request carries were executed when it came first.
        """
        return token in self._answered or (self._poll is not None and self._poll.token == token)

    def acknowledge_all(self) -> None:
        """Note that the client has got all answers so far, as another request than a poll has shown."""
        while self._answered:
            self._acknowledge_oldest()
        self._note_proven()

    def release_poll(self) -> None:
        """Answer the open poll, with frames or without."""
        if self._poll is not None:
            self._answer()

    def drop(self, poll: "asyncio.Future[PollAnswer]") -> None:
        """Withdraw a poll whose request the client has dropped; with `lost_with_request`, the session is lost."""
        poll.cancel()
        if self._poll is not None and self._poll.answer is poll:
            self._poll.give(PollAnswer(()))
            self._poll = None
        if self.idle:
            self._start_idle()
        self.request_dropped()

    def answer_dropped(self, answer: PollAnswer, *, repeatable: bool) -> None:
        """Note that the client has dropped its poll after it was answered, and before the answer was written.

        With `lost_with_request`, the session is lost, unless the client may get the answer by the same poll again: by a
        `repeatable` one.
        """
        if answer.superseded or (repeatable and answer.token and self.repeats(answer.token)):
            return
        # A client that polls on, and has missed nothing, stays.
        if answer.frames or self.idle:
            self.request_dropped()

    def request_dropped(self) -> None:
        """Note that the client has dropped a request; with `lost_with_request`, the session is lost."""
        if not self._rules.lost_with_request:
            return
        if self._rules.drop_grace:
            # A browser sends a request again whose connection is lost.
            loop = asyncio.get_running_loop()
            loop.call_later(self._rules.drop_grace, self._lose_if_idle_since, self._idle_since)
        else:
            self._report_loss()

    def post_dropped(self) -> None:
        """Note that the client has dropped a post; see `PollingRules`."""
        if not self._rules.survives_posts:
            self.request_dropped()

    def open_stream(self) -> "EventStream":
        """Open a stream of all frames from now on. Raises `Refused` (`poll_overlap`)."""
        self._begin()
        self._stream = EventStream(self)
        return self._stream

    def next_of(self, stream: "EventStream", seconds: float) -> "asyncio.Future[PollAnswer]":
        """Return the next frames of a stream; see `EventStream.next`."""
        if self._stream is stream:
            return self._open("", seconds)
        poll = _OpenPoll("")
        poll.give(PollAnswer((), self.reason, superseded=True))
        return poll.answer

    def stream_ended(self, stream: "EventStream") -> None:
        """Note that the client has dropped a stream, or has its last frames; see `EventStream.close`."""
        if self._stream is stream:
            self._supersede()
            self._start_idle()
            self.request_dropped()

    def end(self) -> Sequence[Frame]:
        """End the connection: release all requests, and return the frames that the client has not acknowledged.

        The owner is not called any more, and not referred to, so that connection and session are no cycle.
        """
        self._owner = None
        self.release()
        unsent: list[Frame] = []
        # The stream takes the last frames of a session that the relay has closed, also when it is behind.
        if self._stream is None or self.reason is None:
            unsent.extend(frame for answer in self._answered.values() for frame in answer.frames)
            unsent.extend(self._frames)
            self._frames.clear()
            self._stream = None
        self._answered = _NO_ANSWERS
        self.release_poll()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.posts.end()
        return unsent

    # Posts.

    def posting(self) -> PostReplies:
        """Open a post, for a `with` statement. Raises `Refused` (`poll_overlap`) if too many are open."""
        if self.posts.count >= self._rules.posts:
            self._refuse_overlap()
        return PostReplies(self.posts, self.write)

    # Internal.

    def _begin(self) -> None:
        """End the open poll or stream, because a new one replaces it."""
        if not self.idle:
            if self._rules.overlap is Overlap.REFUSE:
                self._refuse_overlap()
            self._supersede()

    def _refuse_overlap(self) -> NoReturn:
        self.close(BAD_PACKET)
        raise Refused("poll_overlap")

    def _open(self, token: str, hold: float | None) -> "asyncio.Future[PollAnswer]":
        poll = _OpenPoll(token)
        repeated = self._answered.get(token) if token else None
        if repeated is not None:
            self._start_idle()
            poll.give(repeated)
            return poll.answer
        self._acknowledge()
        self._note_proven()
        self._poll = poll
        self._behind = False
        seconds = self._rules.hold if hold is None else hold
        if self._frames or self.reason is not None:
            self._answer()
        elif seconds or hold is not None:
            poll.timer = asyncio.get_running_loop().call_later(seconds, self._expire, poll)
        return poll.answer

    def _expire(self, poll: _OpenPoll) -> None:
        if self._poll is poll:
            self._answer()

    def _answer_later(self) -> None:
        self._answer_scheduled = False
        if self._frames:
            self._answer()

    def _answer(self) -> None:
        poll, self._poll = self._poll, None
        if poll is None or poll.answer.done():
            return
        frames = self._take()
        # In most cases the answer has all frames that count.
        all_sent = not self._frames and not self._answered
        size = self._bytes if all_sent else sum([len(frame.data) for frame in frames])
        answer = PollAnswer(frames, self.reason, token=poll.token)
        if frames and poll.token and self._rules.repeated_answers:
            # These bytes count until the client acknowledges them.
            self._answered = {**self._answered, poll.token: answer}
        else:
            self._subtract(size)
        self._given += size
        self._count_sent(len(frames), size)
        self._said_closed = self.reason is not None
        self._behind = size > _LARGE
        poll.give(answer)
        self._start_idle()

    def _take(self) -> Sequence[Frame]:
        limit = self._rules.frames_per_answer
        taken = self._frames
        self._frames = []
        if limit and self.reason is None:
            self._frames.extend(taken[limit:])
            del taken[limit:]
        return taken

    def _acknowledge(self) -> None:
        """Forget the answers that a client must have got that polls with a new token.

        A client that may have several requests open may still repeat all but the oldest of them.
        """
        while len(self._answered) >= max(1, self._rules.repeated_answers):
            self._acknowledge_oldest()

    def _acknowledge_oldest(self) -> None:
        oldest, *others = self._answered
        frames = self._answered[oldest].frames
        self._answered = {token: self._answered[token] for token in others} if others else _NO_ANSWERS
        self._subtract(sum([len(frame.data) for frame in frames]))
        if self._owner is not None:
            self._owner.acknowledged(frames)

    def _note_proven(self) -> None:
        self._proven = self._given - self._unacknowledged()

    def _unacknowledged(self) -> int:
        """Return the bytes of the answers that may be given again; all others of `_bytes` wait for an answer."""
        return sum([len(frame.data) for answer in self._answered.values() for frame in answer.frames])

    def _supersede(self) -> None:
        self._stream = None
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.give(PollAnswer((), superseded=True, token=poll.token))

    def _report_close(self, reason: CloseReason) -> None:
        if self._owner is not None:
            taken = self._said_closed or self._stream is not None
            self._owner.closed(reason, None if taken else PollAnswer(self._take(), reason))

    # The end of a client that no longer polls.

    def _start_idle(self) -> None:
        seconds = self._rules.lost_after
        if seconds and self._owner is not None:
            loop = asyncio.get_running_loop()
            self._idle_since = loop.time()
            # One timer, which looks at the time again: to cancel and make one for each poll costs more.
            if self._idle_timer is None:
                self._idle_timer = loop.call_later(seconds, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_timer = None
        if not self.idle:
            return
        loop = asyncio.get_running_loop()
        remaining = self._idle_since + self._rules.lost_after - loop.time()
        if remaining > 0:
            seconds = min(remaining, self._rules.lost_after)
            self._idle_timer = loop.call_later(max(_SHORTEST_WAIT, seconds), self._check_idle)
        else:
            self._report_loss()

    def _lose_if_idle_since(self, time: float) -> None:
        if self.idle and self._idle_since == time:
            self._report_loss()

    def _report_loss(self) -> None:
        if self._owner is not None:
            self._owner.lost()


class EventStream:
    """One open stream of a session: takes its frames until a newer request replaces it, or the session ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: PollingConnection) -> None:
        self._connection = connection

    def next(self, seconds: float) -> "asyncio.Future[PollAnswer]":
        """Return the next frames; after `seconds` without any, an answer without frames."""
        return self._connection.next_of(self, seconds)

    def close(self) -> None:
        """End the stream; with `lost_with_request` the session is lost, unless a newer request has replaced this."""
        self._connection.stream_ended(self)
