"""The record of one client's signals that wait: another session of the client, on any worker, goes on with them."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from relay.gateways.peerjs.codec import Signal, connection_id, stored_signal
from relay.model.waiting import WaitingMessage
from relay.rooms.late_messages import LateMessages
from relay.rooms.member import Member

_MOST_EXPIRED: Final = 64
"""Connections to absent peers that are remembered: a late candidate of one begins no second wait."""


class RecordedSignals:
    """Records the signals that wait, and the connections whose wait is over.

    `place` returns the client's membership, None once it may be that of another connection: then nothing is recorded
    or forgotten any more. Every key begins with the beginning of the membership, so that a later client with the same
    id does not go on with the signals of an earlier one.
    """

    __slots__ = ("_expired", "_messages", "_place", "_random_key")

    def __init__(
        self, messages: LateMessages, place: Callable[[], Member | None], random_key: Callable[[], str]
    ) -> None:
        self._messages = messages
        self._place = place
        self._random_key = random_key
        self._expired: OrderedDict[str, None] = OrderedDict()

    async def resume(self, member: Member) -> Sequence[tuple[Signal, float]]:
        """Return the signals that wait from a client that has joined, each with the seconds for which it does so."""
        signals, foreign = list[tuple[Signal, float]](), list[str]()
        for one in await self._messages.sent_by(member.room, member.peer):
            if not one.key.startswith(_prefix(member)):
                foreign.append(one.key)
            elif one.receiver:
                signals.append((stored_signal(one.envelope, one.receiver, one.key), one.seconds))
            else:
                self._remember(one.envelope.decode())
        if foreign:
            self._messages.drop(member.room, member.peer, foreign)
        return signals

    @property
    def has_any(self) -> bool:
        """Whether the wait of any connection is over."""
        return bool(self._expired)

    def new_key(self) -> str:
        """Return a key for a signal."""
        member = self._place()
        return f"{_prefix(member)}{self._random_key()}" if member else self._random_key()

    def keep(self, signal: Signal, seconds: float) -> None:
        """Record a signal that waits for so many seconds more."""
        self._keep(signal.dst, signal.key, signal.envelope, seconds)

    def drop(self, signals: Iterable[Signal]) -> None:
        """Forget signals that do not wait any more."""
        if (member := self._place()) is not None:
            self._messages.drop(member.room, member.peer, [signal.key for signal in signals])

    def drop_all(self) -> None:
        """Forget everything: the client leaves."""
        if (member := self._place()) is not None:
            self._messages.drop(member.room, member.peer)

    def expire(self, signals: Iterable[Signal]) -> None:
        """Note that the wait of these signals, and so that of their connections, is over."""
        for connection in dict.fromkeys(map(connection_id, signals)):
            if connection:
                self._remember(connection)
                self._keep("", self.new_key(), connection.encode(), 0)
        self.drop(signals)

    def has_expired(self, signal: Signal) -> bool:
        """Return whether the wait of a signal's connection is over; a new offer begins anew."""
        return signal.kind != "OFFER" and connection_id(signal) in self._expired

    def _keep(self, receiver: str, key: str, text: bytes, seconds: float) -> None:
        member = self._place()
        if member is not None and member.can_resume:
            self._messages.keep(member.room, WaitingMessage(member.peer, receiver, key, text, seconds))

    def _remember(self, connection: str) -> None:
        self._expired[connection] = None
        self._expired.move_to_end(connection)
        while len(self._expired) > _MOST_EXPIRED:
            self._expired.popitem(last=False)


def _prefix(member: Member) -> str:
    return f"{member.began}."
