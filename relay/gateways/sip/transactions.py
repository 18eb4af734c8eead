"""The requests of one client that have no final answer yet: a proxy's part of RFC 3261, sections 16.6 to 16.10.

They are in the memory of the client's worker, and nowhere else. A request goes to each of its targets by a *branch*.
Its client gets the provisional responses of all branches, each 2xx of an INVITE, and otherwise one final response: the
first 2xx, or else the best one when all branches have theirs.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.message import SipMessage, SipRequest, SipResponse
from relay.gateways.sip.replies import acknowledgement, cancel, refusal, reply
from relay.gateways.sip.via import ViaSeal
from relay.model.errors import RelayError

MOST_BRANCHES: Final = 8
"""Targets of one request."""

MOST_TRANSACTIONS: Final = 64
"""Requests of one client without a final answer."""

MOST_BYTES: Final = 1_048_576
"""Bytes of these requests, if there is more than one."""

ELSEWHERE: Final = 'SIP;cause=200;text="Call completed elsewhere"'
"""The Reason of the CANCEL for a branch that another one has won (RFC 3326)."""

Done = Callable[[RelayError | None], None]
"""Called once with the error if a message was not sent to a peer."""


@dataclass(frozen=True, slots=True)
class Timers:
    """Seconds: timer B of an INVITE and F of other requests, C of an INVITE that rings (RFC 3261, table 4)."""

    answer: float = 32.0
    ring: float = 180.0


class Outlet(Protocol):
    """The session of the client."""

    @property
    def peer(self) -> str:
        """The peer id of the client."""
        ...

    def to_client(self, message: SipMessage) -> None:
        """Write a message to the client."""
        ...

    def to_peer(self, peer: str, message: SipMessage, done: Done | None = None) -> None:
        """Send a message to another member."""
        ...


class _Branch:
    """The way of a request to one target; `response` is its final one."""

    __slots__ = ("ended", "forwarded", "response", "rings", "target", "timer")

    def __init__(self, target: str, forwarded: SipRequest) -> None:
        self.target = target
        self.forwarded = forwarded
        self.response: SipResponse | None = None
        self.rings = self.ended = False
        self.timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Forget the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Transaction:
    """A request and its branches, by their ids; `answered` once the client has a final response.

    It is `cancelled` once: a client that repeats its CANCEL causes no further ones.
    """

    __slots__ = ("answered", "branches", "cancelled", "request", "size")

    def __init__(self, request: SipRequest) -> None:
        self.request = request
        self.size = len(request.encode())
        self.branches: dict[str, _Branch] = {}
        self.answered = self.cancelled = False

    @property
    def rings(self) -> bool:
        """Whether it is an INVITE."""
        return self.request.method == "INVITE"


class ClientTransactions:
    """Forwards the requests of one client, and chooses the responses that it gets."""

    def __init__(self, outlet: Outlet, seal: ViaSeal, timers: Timers) -> None:
        self._outlet = outlet
        self._seal = seal
        self._timers = timers
        self._open: dict[tuple[str, str, str, int], _Transaction] = {}
        self._branches: dict[str, tuple[_Transaction, _Branch]] = {}
        self._bytes = 0
        # Fingerprints of INVITEs that were refused: their ACK ends here. The oldest are forgotten.
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many requests have no final response of all branches yet."""
        return len(self._open)

    def begin(self, request: SipRequest, targets: Sequence[str]) -> int:
        """Forward a request to these peers, and return to how many; one that is under way is not forwarded again.

        Raises `SipRefused` (`too_many_transactions`).
        """
        key = request.transaction
        if key in self._open:
            return 0
        transaction = _Transaction(request)
        if len(self._open) >= MOST_TRANSACTIONS or (self._open and self._bytes + transaction.size > MOST_BYTES):
            raise SipRefused("too_many_transactions")
        self._open[key] = transaction
        self._bytes += transaction.size
        if transaction.rings:
            self._outlet.to_client(reply(request, 100))
        loop = asyncio.get_running_loop()
        for target in targets[:MOST_BRANCHES]:
            forwarded = request.forwarded().with_via(self._seal.value(request, self._outlet.peer, target))
            branch = _Branch(target, forwarded)
            transaction.branches[forwarded.via.branch] = branch
            self._branches[forwarded.via.branch] = (transaction, branch)
            branch.timer = loop.call_later(self._timers.answer, self._silent, transaction, branch)
        for branch in [*transaction.branches.values()]:
            self._outlet.to_peer(branch.target, branch.forwarded, partial(self._sent, transaction, branch))
        return len(targets[:MOST_BRANCHES])

    def receive(self, response: SipResponse, sender: str) -> bool:
        """Take a response with the relay's own Via on top; False if it belongs to no request that is known here."""
        found = self._branches.get(response.via.branch)
        if found is None:
            return False
        transaction, branch = found
        if branch.target != sender or response.sequence.method != transaction.request.method:
            # Of a peer that was not asked; or the answer to a CANCEL of the relay.
            return True
        if response.status < 200:
            self._rang(transaction, branch, response)
        elif response.status < 300:
            self._won(transaction, branch, response)
        else:
            if transaction.rings:
                self._outlet.to_peer(branch.target, acknowledgement(branch.forwarded, response))
            self._end(transaction, branch, response.without_via())
        return True

    def is_open(self, request: SipRequest) -> bool:
        """Return whether a request is under way, or the one that a CANCEL is for."""
        return request.transaction in self._open

    def cancel(self, request: SipRequest) -> bool:
        """Cancel an INVITE that rings; False if it is not known here."""
        transaction = self._open.get(request.transaction)
        if transaction is None:
            return False
        if not (transaction.answered or transaction.cancelled):
            transaction.cancelled = True
            self._cancel(transaction, request.values("reason"))
        return True

    def takes(self, acknowledgement_: SipRequest) -> bool:
        """Return whether an ACK is for a refusal, and so ends here."""
        refused = _fingerprint(acknowledgement_)
        if refused in self._refused:
            del self._refused[refused]
            return True
        return acknowledgement_.transaction in self._open

    def end(self, *, goodbye: bool) -> None:
        """Forget all: the client has gone. With `goodbye`, nobody will answer, and calls that ring are cancelled."""
        for transaction in self._open.values():
            if goodbye and transaction.rings and not transaction.answered:
                self._cancel(transaction, ())
            for branch in transaction.branches.values():
                branch.stop()
        self._open.clear()
        self._branches.clear()
        self._bytes = 0

    # Responses.

    def _rang(self, transaction: _Transaction, branch: _Branch, response: SipResponse) -> None:
        if branch.ended or not transaction.rings:
            return
        branch.stop()
        branch.rings = True
        branch.timer = asyncio.get_running_loop().call_later(self._timers.ring, self._unanswered, transaction, branch)
        if response.status > 100 and not transaction.answered:
            self._outlet.to_client(response.without_via())

    def _won(self, transaction: _Transaction, branch: _Branch, response: SipResponse) -> None:
        if transaction.rings or not transaction.answered:
            self._outlet.to_client(response.without_via())
        first, transaction.answered = not transaction.answered, True
        if first and transaction.rings:
            self._cancel(transaction, (ELSEWHERE,), besides=branch)
        self._end(transaction, branch, response)

    def _end(self, transaction: _Transaction, branch: _Branch, response: SipResponse | None) -> None:
        """Take the final response of a branch, None for silence; answer the client if that decides."""
        if branch.ended:
            return
        branch.stop()
        branch.ended, branch.response = True, response
        if response is not None and response.status >= 600 and not transaction.answered:
            self._answer(transaction, response)
            if transaction.rings:
                self._cancel(transaction, ())
        if all(one.ended for one in transaction.branches.values()):
            responses = [one.response for one in transaction.branches.values() if one.response is not None]
            if responses and not transaction.answered:
                self._answer(transaction, _best(responses))
            self._forget(transaction)

    def _answer(self, transaction: _Transaction, response: SipResponse) -> None:
        transaction.answered = True
        if transaction.rings:
            self._refused[_fingerprint(transaction.request)] = None
            if len(self._refused) > MOST_TRANSACTIONS:
                self._refused.popitem(last=False)
        self._outlet.to_client(response)

    def _forget(self, transaction: _Transaction) -> None:
        if self._open.pop(transaction.request.transaction, None) is not None:
            self._bytes -= transaction.size
        for branch in transaction.branches:
            self._branches.pop(branch, None)

    # Failures.

    def _sent(self, transaction: _Transaction, branch: _Branch, error: RelayError | None) -> None:
        if error is not None:
            self._end(transaction, branch, refusal(transaction.request, error))

    def _silent(self, transaction: _Transaction, branch: _Branch) -> None:
        """End a branch after timer B or F: an INVITE with 408, any other request without an answer (RFC 4320)."""
        branch.timer = None
        if not transaction.rings:
            self._end(transaction, branch, None)
            return
        if not branch.rings:
            # The peer may be held, and get the INVITE when it comes back.
            self._outlet.to_peer(branch.target, cancel(branch.forwarded, ()))
        self._end(transaction, branch, refusal(transaction.request, SipRefused("no_answer")))

    def _unanswered(self, transaction: _Transaction, branch: _Branch) -> None:
        """Cancel a branch after timer C; its answer to that is its final response."""
        self._cancel_branch(branch, ())
        self._await_end(transaction, branch)

    def _cancel(self, transaction: _Transaction, reasons: Sequence[str], besides: _Branch | None = None) -> None:
        for branch in transaction.branches.values():
            if branch is not besides and not branch.ended:
                self._cancel_branch(branch, reasons)
                self._await_end(transaction, branch)

    def _cancel_branch(self, branch: _Branch, reasons: Sequence[str]) -> None:
        self._outlet.to_peer(branch.target, cancel(branch.forwarded, reasons))

    def _await_end(self, transaction: _Transaction, branch: _Branch) -> None:
        branch.stop()
        branch.timer = asyncio.get_running_loop().call_later(self._timers.answer, self._silent, transaction, branch)
        branch.rings = True


def _fingerprint(request: SipRequest) -> bytes:
    """Return a short key of a transaction: its parts are as long as the client has made them."""
    return hashlib.blake2b(repr(request.transaction).encode("utf-8", "replace"), digest_size=16).digest()


def _best(responses: Sequence[SipResponse]) -> SipResponse:
    """Return the response of the lowest class, and in it the lowest status; one of 6xx before all (section 16.7)."""
    return min(responses, key=lambda one: (one.status < 600, one.status))
