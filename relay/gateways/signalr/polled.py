"""The session of a client that polls, or reads an event stream, and posts."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from relay.gateways.base.http import OCTETS, TEXT, HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.http_sessions import HttpSession, HttpSessions, NoPosts, answer_poll, answer_stream
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.gateways.base.recent_ids import RecentValues
from relay.gateways.base.replies import PostReplies
from relay.gateways.signalr.client import HubClient
from relay.gateways.signalr.codec import RoomEventFrame
from relay.gateways.signalr.connection import Marks
from relay.gateways.signalr.messages import CLOSE, HubMessage
from relay.gateways.signalr.protocols import HubProtocol
from relay.gateways.signalr.session import HubSession
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason, Refused
from relay.rooms.admissions import Ticket
from relay.rooms.large_messages import LARGE

HOLD: Final = 25.0
"""Seconds after which a poll without messages is answered; proxies drop requests that are silent for longer."""

PING: Final = 15.0
"""Seconds without events after which a stream gets a ping: the client gives it up after 30."""

_IDLE: Final = 15.0
"""Seconds without a poll after which a client counts as lost."""

_SAME_POLL: Final = 0.01
"""Seconds after which a poll with the mark of the one before is a repetition of it.

The mark is the client's time in milliseconds: a client that gets its answer within one may poll again with the same.
"""

_MOST_MARK: Final = 40
"""Characters of a mark; a longer one counts as none."""

_NOTED_AFTER: Final = 1.0
"""Seconds from an event in a stream until it is looked whether it has arrived, for the client's position."""

MAX_POSTS: Final = 4
"""Posts of one client at a time."""

_RULES: Final = PollingRules(
    overlap=Overlap.RELEASE_OLDER,
    posts=MAX_POSTS,
    lost_after=_IDLE,
    lost_with_request=True,
    survives_posts=True,
)
"""A client whose post fails tells its page so, and polls on."""

STREAM: Final = _RULES
POLLS: Final = replace(_RULES, hold=HOLD, repeated_answers=1)

_GREETING: Final = b":\r\n\r\n"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class LostHub(NamedTuple):
    """A client that has dropped its stream or poll: the place in which it is held, and its protocol.

    A client that stops drops its stream or poll, and says goodbye at the same time, over another connection.
    """

    place: HttpPlace
    protocol: HubProtocol

    def said_goodbye(self, body: bytes) -> bool:
        """Return whether a post has the last message of the client."""
        try:
            return any(message.kind == CLOSE for message in self.protocol.read(body))
        except Refused:
            return False


class HubWriter(NoPosts):
    """Writes the responses to one client."""

    __slots__ = ("_client",)

    def __init__(self, client: HubClient) -> None:
        self._client = client

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the messages of a poll; 204 is the end of the connection."""
        data = self._data(answer)
        ended = answer.superseded or self._client.left or (answer.closed is not None and not data)
        return HttpBody(data, TEXT if self._client.is_text else OCTETS, 204 if ended else 200)

    def events(self, answer: PollAnswer) -> bytes:
        """Write the messages of a stream as one event; without any, a ping."""
        data = self._data(answer)
        if not data:
            protocol = self._client.protocol
            if answer.closed is not None or not self._client.greeted or protocol is None:
                return _GREETING
            data = protocol.ping.data
        if b"\n" in data or b"\r" in data:
            # White space between tokens, as strings in JSON have no line ends.
            data = _LINE_END.sub(b"\r\ndata: ", data)
        return b"data: %b\r\n\r\n" % data

    def _data(self, answer: PollAnswer) -> bytes:
        frames = list(answer.frames)
        if answer.closed is not None and (words := self._client.last_words(answer.closed)) is not None:
            frames.append(words)
        return b"".join([frame.data for frame in frames])


class PolledHub(HubSession, HttpSession[Frame]):
    """The session of a client without a WebSocket, by the session id of its connection token.

    A client that is lost, and held, is put into `lost` under the session id.
    """

    __slots__ = ("_lost_hubs", "_mark", "_marked", "_marks", "_noting", "_polls", "_writer", "hub")

    def __init__(
        self,
        sessions: HttpSessions[Any],
        ticket: Ticket,
        hub: HubClient,
        *,
        rules: PollingRules,
        session_id: str,
        lost: RecentValues[LostHub],
    ) -> None:
        self.hub = hub
        self._lost_hubs = lost
        self._writer = HubWriter(hub)
        self._polls = 0
        # The mark of the newest poll, and the time at which it arrived.
        self._mark, self._marked = "", 0.0
        self._noting: asyncio.TimerHandle | None = None
        # The events that a stream has brought; polls acknowledge by themselves.
        self._marks: Marks | None = None
        codecs = hub.codecs["json"]
        super().__init__(sessions, codecs, ticket, dialect=self._writer, rules=rules, session_id=session_id)
        self.await_handshake()

    def received(self, frame: Frame) -> None:
        """Serve a message that was posted."""
        if isinstance(frame, HubMessage):
            self.received_message(frame)

    async def posted(self, body: bytes, media_type: bytes, replies: PostReplies) -> None:
        """Serve the messages of a post; raises `Refused` for a body that has none, or others."""
        for message in self.take(body):
            if self._ended:
                return
            if len(message.data) < LARGE:
                self.received(message)
            else:
                serve = partial(self._received_in_turn, message)
                await self._worker.large_messages.turn(self.ticket.address, serve)
            await replies.until_resumed()

    def said_goodbye(self) -> None:
        """End the session."""
        self.leave()

    def leave(self) -> None:
        """End the session, because the client has closed it."""
        self.hub.left = True
        super().leave()

    async def poll(self, exchange: HttpExchange, mark: str) -> None:
        """Answer a poll as soon as there are messages.

        `mark` is the client's own of this poll, "" for none. A browser sends a poll again by itself, with the same
        mark, if the connection was reset on which it waited: the answer that it has not got is repeated. A poll without
        a mark cannot be told from the next one, so its answer is not.
        """
        now = asyncio.get_running_loop().time()
        marked = 0 < len(mark) <= _MOST_MARK
        repeated = marked and mark == self._mark and now - self._marked >= _SAME_POLL
        if not repeated:
            self._polls += 1
            self._mark, self._marked = mark[:_MOST_MARK], now
        await answer_poll(
            exchange, self, self.polling, str(self._polls), prepare=self._prepare, repeatable=marked
        )  # fmt: skip

    async def _prepare(self, answer: PollAnswer) -> PollAnswer:
        """Note the position of a client whose poll brings nothing: it has got everything before."""
        if not (answer.frames or answer.superseded or answer.closed is not None):
            self._note_reached(self.reached())
        return answer

    def _note_reached(self, position: MessageId | None) -> None:
        members = self._rooms.memberships()
        if position is not None and members:
            self._worker.acknowledge(members[0], position)

    async def stream(self, exchange: HttpExchange) -> None:
        """Stream messages until the client or the relay ends the connection."""
        marks = self._marks = Marks(exchange, every=0)
        sent, events = partial(self._sent, marks), self._writer.events
        await answer_stream(
            exchange, self, self.polling, events, greeting=_GREETING, keepalive=PING, sent=sent,
            reached=self.reached,
        )  # fmt: skip

    def _sent(self, marks: Marks, answer: PollAnswer) -> None:
        """Mark the last event of an answer that was written to a stream."""
        last = next((frame for frame in reversed(answer.frames) if isinstance(frame, RoomEventFrame)), None)
        position = answer.reached if last is None else last.id
        if position is not None:
            marks.add(position, 0)
            self._note_soon()

    def lost(self) -> None:
        """End the session of a client that is lost, and note its position in its stream."""
        self._note_received()
        place, protocol = self.held_place(), self.hub.protocol
        if place is not None and protocol is not None:
            self._lost_hubs.put(self.id, LostHub(place, protocol))
        super().lost()

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session after the relay has closed it."""
        self._note_received()
        super().closed(reason, final)

    def _note_soon(self) -> None:
        """Note the client's position in a while: its worker may be killed before the stream ends."""
        if self._noting is None:
            self._noting = asyncio.get_running_loop().call_later(_NOTED_AFTER, self._note)

    def _note(self) -> None:
        self._noting = None
        if not self._ended:
            self._note_received()
            if self._marks is not None and self._marks.waiting:
                self._note_soon()

    def _note_received(self) -> None:
        self._note_reached(None if self._marks is None else self._marks.received())

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Note the client's position."""
        members = self._rooms.memberships()
        for frame in frames:
            if members and isinstance(frame, RoomEventFrame):
                self._worker.acknowledge(members[0], frame.id)

    def _end_client(self, *, goodbye: bool) -> None:
        if not self._ended:
            self._end_waiting()
            if self._noting is not None:
                self._noting.cancel()
        super()._end_client(goodbye=goodbye)
