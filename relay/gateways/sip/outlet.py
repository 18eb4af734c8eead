"""The outlet of a SIP session: messages to its client and to other members, and the refusals of requests."""

import logging
from functools import partial
from typing import Final

import msgspec
from msgspec import structs

from relay.gateways.base.inbox import weight
from relay.gateways.base.session import WebSocketSession
from relay.gateways.sip.codec import ReceivedRequest, UnservedRequest
from relay.gateways.sip.declaration import CHANNEL
from relay.gateways.sip.message import SipMessage, SipRequest
from relay.gateways.sip.registration import SHORTEST
from relay.gateways.sip.replies import ALLOWED, refusal
from relay.gateways.sip.transactions import Done
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command, Publish
from relay.model.errors import BAD_PACKET, BadFrame, RelayError
from relay.model.publication import Receipt
from relay.rooms.member import Member

log = logging.getLogger("relay.session")

_encode: Final = msgspec.json.Encoder().encode


class SipOutlet(WebSocketSession):
    """The `Outlet` of transactions and of the proxy; a subclass serves requests, and makes the challenges."""

    __slots__ = ()

    @property
    def peer(self) -> str:
        """The client's peer id."""
        return self._rooms.peer

    def to_client(self, message: SipMessage) -> None:
        """Write a message."""
        self._connection.write(Frame(message.encode()))

    def to_peer(self, peer: str, message: SipMessage, done: Done | None = None) -> None:
        """Send a message to a member, as a direct envelope."""
        text = message.encode().decode()
        command = Publish(_encode({"to": peer, "channel": CHANNEL, "message": text}), (peer,), CHANNEL)
        try:
            self._allowed(command)
            member = self._rooms.member("")
        except RelayError as error:
            self._note(done, error)
            return
        self._send(member, command, partial(self._note, done))

    def _send(self, member: Member, command: Publish, done: Done) -> None:
        pace = self._pace or self._make_pace()
        if not pace.stored.open and pace.stored.is_used_up:
            command = structs.replace(command, stored=False)
        units = weight(len(command.envelope))
        self._inbox.in_flight += units

        def published(outcome: Receipt | RelayError) -> None:
            if not self._ended:
                done(outcome if isinstance(outcome, RelayError) else None)
            self._end_publish(units)

        held = self._worker.publish(member, command, published)
        if held:
            pace.hold(held)

    def _note(self, done: Done | None, error: RelayError | None) -> None:
        if error is not None:
            self._metrics.refused(error.code)
        if done is not None:
            done(error)

    # Refusals.

    def _challenge(self, *, stale: bool) -> str:
        """Return the value of WWW-Authenticate for a client that has to log in."""
        raise NotImplementedError

    def _refuse(self, request: SipRequest, error: RelayError) -> None:
        """Answer a request that failed; an ACK has no answer."""
        self._metrics.refused(error.code)
        log.debug("a SIP request was refused: %s", error.code)
        if request.method == "ACK":
            return
        answer = refusal(request, error)
        more = {
            401: ("WWW-Authenticate", self._challenge(stale="stale" in error.detail)),
            405: ("Allow", ALLOWED),
            420: ("Unsupported", str(error.detail.get("unsupported", ""))),
            423: ("Min-Expires", str(SHORTEST)),
        }.get(answer.status)
        self.to_client(answer if more is None else refusal(request, error, [more]))

    def _too_large(self, command: Command, size: int) -> BadFrame:
        return _with_request(super()._too_large(command, size), command)

    def _too_fast(self, request: Command | BadFrame) -> BadFrame:
        return _with_request(super()._too_fast(request), request)

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        if isinstance(error, UnservedRequest):
            self._refuse(error.request, error)
            return
        self._metrics.refused(error.code)
        if error.code == BAD_PACKET.name:
            self._connection.close(BAD_PACKET)


def _with_request(error: BadFrame, of: Command | BadFrame) -> BadFrame:
    if isinstance(of, UnservedRequest):
        return UnservedRequest(error, of.request)
    return UnservedRequest(error, of.request) if isinstance(of, ReceivedRequest) else error
