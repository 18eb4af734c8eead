"""The session of a WebSync client: its deliveries wait in it between two connects."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from relay.gateways.base.guard import Guard
from relay.gateways.base.http import JSON, HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.http_sessions import REPLACED_DELAY, HttpSession, HttpSessions, NoPosts, answer_poll
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.gateways.base.requested_session import RequestedSession
from relay.gateways.websync.codec import now
from relay.gateways.websync.connection import DeliveryConnection, SentFrame
from relay.gateways.websync.ended import EndedSessions
from relay.gateways.websync.errors import WebSyncRefused
from relay.gateways.websync.replies import connected, not_connected
from relay.gateways.websync.subscribers import OtherMembers
from relay.gateways.websync.subscriptions import ClientState
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.errors import ERRORS, REPLACED, CloseReason, Refused, RelayError
from relay.model.member_info import without_vouched
from relay.rooms.admissions import Ticket

IDLE: Final = 30.0
"""Seconds without a connect after which the client counts as lost; it sends the next one at once."""

RETRANSMISSION: Final = 2.0
"""Seconds for which a client whose connection was lost keeps its session: browsers send the same request again."""

SETTLING: Final = 5.0
"""Seconds after its first subscription for which a client that came back keeps the channels that it had before."""

_MOST_FRAMES: Final = 500

_RULES: Final = PollingRules(
    overlap=Overlap.RELEASE_OLDER,
    lost_after=IDLE,
    lost_with_request=True,
    drop_grace=RETRANSMISSION,
    repeated_answers=1,
    frames_per_answer=_MOST_FRAMES,
)


class ForgetChannels(GatewayCommand):
    """The client has had time to subscribe again to the channels that it had before it came back."""

    __slots__ = ()

    about = "subscribe"


class ConnectDialect(NoPosts):
    """Writes the answers to connects: deliveries, or the reply, and never both, after which a client has two streams.

    The token of a poll is the id of its message, as JSON.
    """

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the answer; messages that wait in a session that has ended come again after the next handshake."""
        if answer.closed is not None:
            return not_connected(answer.token, ended(answer.closed))
        if not answer.frames:
            return connected(answer.token)
        return HttpBody(b"[%b]" % b",".join([frame.data for frame in answer.frames]), JSON)


_DIALECT: Final = ConnectDialect()


def ended(reason: CloseReason) -> Refused:
    """Return the error for a client whose session has ended for this reason."""
    if reason.reconnect and reason.name in ERRORS:
        return Refused(reason.name)
    return WebSyncRefused("session_ended", f"{reason.name}: {reason.text}")


class WebSyncSession(RequestedSession[Frame]):
    """Serves one client; its `id` is the name of its `place`, by which each of its requests finds it.

    `unseen` is the error because of which the client does not see the other members; None while there is none.
    """

    __slots__ = ("_delivery", "_ends", "_settling", "_unacknowledged", "place", "unseen")

    def __init__(
        self,
        sessions: HttpSessions[HttpSession[Frame]],
        codecs: CodecPair[Frame],
        ticket: Ticket,
        place: HttpPlace,
        shared: str,
        ends: EndedSessions,
        clock: Callable[[], datetime] = now,
    ) -> None:
        super().__init__(sessions, codecs, ticket, dialect=_DIALECT, rules=_RULES, session_id=place.name)
        self._connection = self._delivery = DeliveryConnection(self.polling, shared, clock)
        self._rooms = JoinedRooms(self._delivery, sessions.worker, codecs, ticket.address)
        self.place = place
        self._ends = ends
        self.unseen: RelayError | None = None
        # The id of the last answer with deliveries that the client has not acknowledged.
        self._unacknowledged = ""
        self._settling: asyncio.TimerHandle | None = None

    @property
    def guard(self) -> Guard | None:
        """The rights of the client, by the token of its handshake; None without auth."""
        return self._guard

    @property
    def subscriptions(self) -> ClientState:
        """The client's subscriptions."""
        return self._delivery.subscriptions

    @property
    def roster(self) -> OtherMembers:
        """The other members of the room."""
        return self._delivery.roster

    async def change(self, draft: ClientState) -> None:
        """Make a draft the client's subscriptions, and show them to the others; raises `RelayError`."""
        info, before = draft.info(), self.subscriptions
        member = self._rooms.member("")
        self._delivery.subscriptions = draft
        if info != without_vouched(member.info):
            try:
                await self._rooms.change_info(info)
            except BaseException:
                if self._delivery.subscriptions is draft:
                    self._delivery.subscriptions = before
                raise
        self._settle_later()

    def _settle_later(self) -> None:
        if self.subscriptions.settles and self._settling is None and not self._ended:
            self._settling = asyncio.get_running_loop().call_later(SETTLING, self._settle)

    def _settle(self) -> None:
        self._settling = None
        if not self._ended:
            self.execute(ForgetChannels())

    async def _forget_restored(self) -> None:
        try:
            await self.change(self.subscriptions.settled())
        finally:
            # If Redis does not answer, the client keeps the channels a while longer.
            self._settle_later()

    def _execute(self, command: Command) -> None:
        if isinstance(command, ForgetChannels):
            self._run_exclusive(self._forget_restored(), command)
        else:
            super()._execute(command)

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        return super().end(goodbye=goodbye)

    # Connects.

    def answers_at_once(self, token: str, *, acknowledges: bool) -> bool:
        """Return whether a connect may be answered although there is nothing new.

        It is repeated, does not acknowledge the last deliveries, or comes while another one is open.
        """
        return not self.polling.idle or self.polling.repeats(token) or self._comes_again(acknowledges=acknowledges)

    def _comes_again(self, *, acknowledges: bool) -> bool:
        return bool(self._unacknowledged) and not acknowledges and self.polling.repeats(self._unacknowledged)

    async def connect(self, exchange: HttpExchange, token: str, *, acknowledges: bool, hold: float) -> None:
        """Answer a connect as soon as there are deliveries, or after `hold` seconds.

        One that does not acknowledge the last deliveries gets them again.
        """
        again = self._comes_again(acknowledges=acknowledges)
        answered, hold = self._unacknowledged if again else token, 0.0 if self._ended else hold
        await answer_poll(exchange, self, self.polling, answered, hold=hold, prepare=partial(self._answering, token))

    async def _answering(self, token: str, answer: PollAnswer) -> PollAnswer:
        """Note the deliveries in an answer, and have it repeat the id of its own connect."""
        if answer.frames and answer.closed is None:
            self._unacknowledged = answer.token
        if answer.superseded or answer.closed is REPLACED:
            await asyncio.sleep(REPLACED_DELAY)
        return answer._replace(token=token)

    # Owner of the connection.

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session after the relay has closed it."""
        if not self.was_refused:
            self._ends.note(self.id, reason)
        super().closed(reason, final)

    def acknowledged(self, frames: Sequence[Frame]) -> None:
        """Note the client's position at once: it may send its next handshake to any worker."""
        self.note_position((frame.id for frame in frames if isinstance(frame, SentFrame)), at_once=True)

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        if about == "presence":
            self.unseen = error
        super()._send_error(error, about=about, key=key, codec=codec, room=room)
