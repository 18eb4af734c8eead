"""The session of a PeerJS client."""

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import structs

from relay.gateways.base.inbox import weight
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.session import WebSocketSession
from relay.gateways.peerjs.codec import LEAVE, Signal, expire
from relay.gateways.peerjs.connection import PeerConnection
from relay.gateways.peerjs.guesses import WrongTokens
from relay.gateways.peerjs.record import RecordedSignals
from relay.gateways.peerjs.waiting import TRANSIENT, Sent, WaitingSignals
from relay.model.codec import Frame
from relay.model.commands import Publish
from relay.model.errors import OutcomeUnknown, Refused, RelayError
from relay.model.publication import Receipt
from relay.rooms.admissions import Ticket
from relay.rooms.member import Member
from relay.rooms.worker import Worker


class PeerJSSession(WebSocketSession):
    """Serves a PeerJS client: its signals to peers that are not there wait, as those of PeerServer do.

    PeerJS has no acknowledgements. When its connection is lost, the system says which messages have arrived: those
    alone are not sent again when the client comes back. A second answer would be an error, and a second offer would end
    the connection that the first one began.
    """

    __slots__ = ("_counted", "_waiting", "_wrong_tokens")

    def __init__(
        self,
        connection: PeerConnection,
        worker: Worker,
        codecs: CodecPair[Frame],
        ticket: Ticket,
        wrong_tokens: WrongTokens,
    ) -> None:
        super().__init__(connection, worker, codecs, ticket)
        self._counted = connection
        self._wrong_tokens = wrong_tokens
        # Made for the first signal that has to wait.
        self._waiting: WaitingSignals | None = None

    def disconnected(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """End the session, and note how far the client has got."""
        received, members = self._counted.received(), self._rooms.memberships()
        if received is not None and members:
            self._worker.acknowledge(members[0], received)
        return super().disconnected(code, relay_closed)

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session; signals that wait are dropped, or the client goes on with them when it comes back."""
        if self._waiting is not None:
            self._waiting.end(goodbye=goodbye)
            self._waiting = None
        return super().end(goodbye=goodbye)

    async def _enter(self, request: JoinRequest) -> None:
        address, room, peer = self.ticket.address, request.room, request.peer
        self._wrong_tokens.check(address, room, peer)
        try:
            await super()._enter(request)
        except Refused as error:
            if error.code == "peer_taken" and request.resume:
                self._wrong_tokens.note(address, room, peer, request.resume)
            raise
        record, member = self._record(), self._rooms.member("")
        signals = await record.resume(member)
        if self._place() is not None and (signals or record.has_any):
            self._waiting = WaitingSignals(self, record, self.ticket.buffer)
            self._waiting.resume(signals)

    # Signals.

    def _publish(self, command: Publish) -> None:
        if not isinstance(command, Signal):
            super()._publish(command)
            return
        if self._guard is not None:
            self._guard.check(command, self._rooms.own_room)
        if self._waiting is not None and command.dst in self._waiting:
            self._wait(command)
        else:
            self.send(command)

    def send(self, signal: Signal, done: Sent | None = None) -> None:
        """Publish a signal; `done` is called with the outcome, if it is given."""
        try:
            member = self._rooms.member("")
        except Refused as error:
            (done or partial(self._sent, signal))(error)
            return
        pace = self._pace or self._make_pace()
        if not pace.stored.open and pace.stored.is_used_up:
            signal = structs.replace(signal, stored=False)
        units = weight(len(signal.envelope))
        self._inbox.in_flight += units
        held = self._worker.publish(member, signal, partial(self._ended_publish, units, signal, done))
        if held:
            pace.hold(held)

    def expire(self, peer: str) -> None:
        """Tell the client that a peer did not come."""
        self._connection.write(expire(peer, self._rooms.peer))

    def await_arrival(self, peer: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when a peer joins the client's room, until the returned function is called."""
        return self._worker.await_arrival(self._rooms.own_room, peer, callback)

    def _ended_publish(self, units: int, signal: Signal, done: Sent | None, outcome: Receipt | RelayError) -> None:
        if done is not None:
            done(outcome)
        elif not isinstance(outcome, Receipt):
            self._sent(signal, outcome)
        self._end_publish(units)

    def _sent(self, signal: Signal, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, Receipt) or self._ended or self._connection.reason is not None:
            return
        if outcome.code in TRANSIENT:
            self._wait(signal)
            return
        self._send_error(outcome, about=signal.kind)
        if isinstance(outcome, OutcomeUnknown) and signal.kind != LEAVE:
            # Sent again, an offer could arrive twice, and would end its own call. The page may call again.
            self.expire(signal.dst)

    def _wait(self, signal: Signal) -> None:
        if self._waiting is None:
            self._waiting = WaitingSignals(self, self._record(), self.ticket.buffer)
        try:
            self._waiting.add(signal)
        except Refused as error:
            self._send_error(error, about=signal.kind)

    def _record(self) -> RecordedSignals:
        return RecordedSignals(self._worker.late_messages, self._place, self._worker.random.resume_key)

    def _place(self) -> Member | None:
        """Return the client's membership; None once it may be that of another connection."""
        if self._ended or self._connection.reason is not None:
            return None
        return next(iter(self._rooms.memberships()), None)
