"""The session of a client over BOSH."""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Final

from relay.gateways.base.http import HttpExchange
from relay.gateways.base.http_sessions import HttpSessions, answer_poll
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling import PollingConnection
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.gateways.base.replies import PostReplies
from relay.gateways.xmpp.bosh.body import BodyWriter, RequestBody, greeting, terminated
from relay.gateways.xmpp.bosh.connection import BoshConnection
from relay.gateways.xmpp.bosh.keys import KeySequence
from relay.gateways.xmpp.bosh.window import REQUESTS, RidPlace, Window
from relay.gateways.xmpp.namespaces import FRAMING
from relay.gateways.xmpp.session import XmppSession
from relay.gateways.xmpp.settings import XmppSettings
from relay.gateways.xmpp.writing import tag
from relay.ids import fingerprint
from relay.model.codec import Frame
from relay.model.errors import BAD_REQUEST, CloseReason, Refused
from relay.rooms.admissions import Ticket
from relay.rooms.large_messages import LARGE

MAX_WAIT: Final = 50
"""Seconds for which a request waits for messages: proxies and browsers drop requests that are silent for longer."""

MAX_PAUSE: Final = 120
"""Seconds for which a client may announce that it sends no request."""

MOST_WAITING: Final = 2 * REQUESTS
"""Requests of one client that wait for those before them, copies included."""


class BoshSession:
    """One client: a `Client` of the worker, a `PolledSession`, and the owner of its connection.

    Requests are served in the order of their ids, one at a time. The elements for the client answer the oldest request
    that is open. `id` is a hash of the client's `sid`, which the relay does not keep.
    """

    __slots__ = (
        "_ended",
        "_keys",
        "_pause_timer",
        "_paused_until",
        "_polling",
        "_serving",
        "_sessions",
        "_stream",
        "_wait",
        "_waiting",
        "_window",
        "id",
        "ticket",
        "writer",
    )  # fmt: skip

    def __init__(
        self,
        sessions: "HttpSessions[BoshSession]",
        codecs: CodecPair[Frame],
        ticket: Ticket,
        first: RequestBody,
        sid: str,
    ) -> None:
        worker = sessions.worker
        inactivity = worker.settings.of(XmppSettings).bosh_inactivity
        hold = min(first.hold, REQUESTS - 1)
        wait = min(first.wait, MAX_WAIT)
        self.id = fingerprint(sid)
        self.ticket = ticket
        self.writer = BodyWriter(
            first.rid,
            greeting(
                sid,
                first.to.lower(),
                wait=wait,
                hold=hold,
                inactivity=math.ceil(inactivity),
                pause=MAX_PAUSE,
                requests=REQUESTS,
            ),
        )
        self._sessions = sessions
        self._wait = float(wait if hold else 0)
        self._window = Window(first)
        self._keys = KeySequence(first.new_key)
        self._serving = self._ended = False
        self._waiting: list[asyncio.Future[bool]] = []
        self._paused_until = 0.0
        self._pause_timer: asyncio.TimerHandle | None = None
        rules = PollingRules(overlap=Overlap.RELEASE_OLDER, lost_after=inactivity, repeated_answers=REQUESTS)
        self._polling = PollingConnection(
            rules, limit=worker.settings.send_buffer, metrics=ticket.metrics, buffering=ticket, owner=self
        )
        self._stream = XmppSession(BoshConnection(self._polling), worker, codecs, ticket)
        sessions.add(self)

    async def begin(self, exchange: HttpExchange, first: RequestBody) -> None:
        """Open the stream, and answer the request that has asked for it."""
        await self._stream.greet()
        self._open_stream(first)
        await self._feed(first)
        await self._answer(exchange, first)

    async def serve(self, exchange: HttpExchange, request: RequestBody) -> None:
        """Serve a request in its turn, and answer it."""
        if not self._must_wait(request):
            await self._serve(exchange, request)
        elif len(self._waiting) < MOST_WAITING:
            await exchange.hold(self._serve_later(exchange, request))
        else:
            await self._break_off(exchange, "item-not-found")

    async def posted(self, body: bytes, media_type: bytes, replies: PostReplies) -> None:
        """Refuse: each request is a post and a poll."""
        raise Refused("bad_method")

    # In turn.

    def _must_wait(self, request: RequestBody) -> bool:
        place = self._window.place(request)
        return not self._ended and (place is RidPlace.AHEAD or (self._serving and place is not RidPlace.OUTSIDE))

    async def _serve_later(self, exchange: HttpExchange, request: RequestBody) -> None:
        while self._must_wait(request):
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            if await exchange.unless_dropped(turn) is None:
                # The client sends the request again.
                if turn in self._waiting:
                    self._waiting.remove(turn)
                return
        await self._serve(exchange, request)

    async def _serve(self, exchange: HttpExchange, request: RequestBody) -> None:
        place = self._window.place(request)
        if self._ended:
            await self._answer(exchange, request)
        elif place is RidPlace.REPEATED:
            await self._repeat(exchange, request)
        elif place is not RidPlace.NEXT or not self._keys.accepts(request):
            await self._break_off(exchange, "item-not-found")
        elif (request.pause or 0) > MAX_PAUSE or not await self._in_turn(request):
            await self._break_off(exchange, "policy-violation")
        elif request.ends:
            self._end(goodbye=True)
            await exchange.respond(terminated(""))
        else:
            # The elements that wait answer the older request, and this one waits for more.
            self._polling.release_poll()
            await self._answer(exchange, request)

    async def _in_turn(self, request: RequestBody) -> bool:
        """Carry out a request, while others wait; False if the client asks too often."""
        self._serving = True
        self._stop_pause()
        try:
            if not await self._may_ask(request):
                return False
            if request.restarts:
                self._open_stream(request)
            await self._feed(request)
            if request.pause is not None:
                self._paused_until = asyncio.get_running_loop().time() + request.pause
            return True
        finally:
            self._serving = False
            self._window.advance(request)
            self._wake()

    async def _answer(self, exchange: HttpExchange, request: RequestBody) -> None:
        if self._ended:
            last = self._sessions.take_last_answer(self.id, str(request.rid))
            await exchange.respond(last or terminated("item-not-found"))
        else:
            hold = self._wait if request.pause is None else 0.0
            await answer_poll(exchange, self, self._polling, str(request.rid), hold=hold)

    async def _repeat(self, exchange: HttpExchange, request: RequestBody) -> None:
        """Answer a request again whose answer the client has not got."""
        token = str(request.rid)
        if not await self._is_in_time():
            await self._break_off(exchange, "policy-violation")
        elif request.rid == self._window.last or self._polling.repeats(token):
            await self._answer(exchange, request)
        else:
            # It had no elements.
            await exchange.respond(self.writer.answer(PollAnswer((), token=token)))

    async def _may_ask(self, request: RequestBody) -> bool:
        """Return whether a request without elements may be answered: one that lets another one be answered at once.

        Without a bound, one client could ask for answers as fast as a worker makes them.
        """
        asks = not request.payloads and not request.ends and not (self._wait and self._polling.idle)
        return not asks or await self._is_in_time()

    async def _is_in_time(self) -> bool:
        try:
            await self._sessions.worker.requests.admit(self.ticket.address)
        except Refused:
            return False
        return True

    async def _break_off(self, exchange: HttpExchange, condition: str) -> None:
        """End the session of a client that breaks the protocol; its memberships end as those of a lost one."""
        self._polling.close(BAD_REQUEST)
        self._end(goodbye=False)
        await exchange.respond(terminated(condition))

    def _open_stream(self, request: RequestBody) -> None:
        opened = tag("open", {"xmlns": FRAMING, "to": request.to, "version": "1.0"})
        self._stream.received(Frame(opened.encode()))

    async def _feed(self, request: RequestBody) -> None:
        """Have the session take the elements of a request, as fast as it reads."""
        for payload in request.payloads:
            if self._ended or self._polling.reason is not None:
                return
            take = partial(self._stream.received, Frame(payload))
            if len(payload) < LARGE:
                take()
            else:
                await self._sessions.worker.large_messages.turn(self.ticket.address, take)
            await self._polling.posts.until_resumed()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(True)

    # Client.

    def close_gracefully(self, reason: CloseReason, *, now: bool = False) -> None:
        """Close the stream."""
        self._stream.close_gracefully(reason, now=now)

    # Owner of the connection.

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session after the relay has closed it; the final answer waits for the next request."""
        if final is not None:
            self._sessions.keep_last_answer(self, final)
        self._end(goodbye=False)

    def lost(self) -> None:
        """End the session of a client that sends no request any more, unless it has announced a pause."""
        if self._serving:
            return
        loop = asyncio.get_running_loop()
        if self._paused_until > loop.time():
            self._pause_timer = loop.call_at(self._paused_until, self._look_after_pause)
            return
        self._polling.note_loss()
        self._end(goodbye=False)

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Take note that the client has got these frames."""

    def _look_after_pause(self) -> None:
        self._pause_timer = None
        if self._polling.idle:
            self.lost()

    def _stop_pause(self) -> None:
        self._paused_until = 0.0
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None

    def _end(self, *, goodbye: bool) -> None:
        if self._ended:
            return
        self._ended = True
        if self._polling.reason is None:
            self.ticket.metrics.count_closed("client" if goodbye else "lost")
        self._stop_pause()
        self._sessions.remove(self)
        self._polling.end()
        self._wake()
        self._stream.end(goodbye=goodbye)
