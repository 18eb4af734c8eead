"""Acknowledging published messages in the order in which members receive events."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from relay.model.envelope import MessageId
from relay.model.errors import OutcomeUnknown
from relay.model.events import Ack
from relay.rooms.member import Member
from relay.tasks import guarded

WhenDelivered = Callable[[str, MessageId, Callable[[], None]], None]
"""Calls back when this worker has delivered a room's events up to an id; at once if that is so already."""

Answered = Callable[[Member, str, OutcomeUnknown | None], None]
"""Called once for each message: with its member, its key, and None if the ack was written, else the error to send."""

_EARLY = 0.001
"""Seconds by which a timer may fire early: event loops round to milliseconds."""


class _PendingAck:
    """An ack that waits for its turn. `answered` is None once it was written or timed out."""

    __slots__ = ("answered", "deadline", "key", "member", "message_id")

    def __init__(self, member: Member, message_id: MessageId, key: str, answered: Answered, deadline: float) -> None:
        self.member = member
        self.message_id = message_id
        self.key = key
        self.answered: Answered | None = answered
        self.deadline = deadline


class Acknowledgements:
    """The acks that one session owes its client.

    Redis confirms a publish over one connection, and delivers the room's events over another, so the confirmation may
    overtake earlier events. An ack tells the client the id of its message, and the client resumes from the newest id
    that it knows. If an ack came too early, a client that resumes from its id would miss the events in between. So each
    ack waits until this worker has delivered the room's events up to that id.

    While the worker's subscription is broken, that does not happen. A message that waits longer than `timeout` seconds
    gets `outcome_unknown`, so that the client is not left without an answer.
    """

    __slots__ = ("_pending", "_timeout", "_timer", "_when_delivered")

    def __init__(self, when_delivered: WhenDelivered, timeout: float) -> None:
        self._when_delivered = when_delivered
        self._timeout = timeout
        self._pending: deque[_PendingAck] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of messages that have no answer yet, and answered ones queued behind them."""
        return len(self._pending)

    def add(self, member: Member, message_id: MessageId, key: str, answered: Answered) -> None:
        """Write the ack of a message in its turn; `answered` may be called before this returns."""
        loop = asyncio.get_running_loop()
        ack = _PendingAck(member, message_id, key, answered, loop.time() + self._timeout)
        self._pending.append(ack)
        # The callback stays with the hub until the id was delivered, also after the timeout.
        self._when_delivered(member.room, message_id, lambda: self._delivered(ack))
        if self._pending and self._timer is None:
            # One timer for all: deadlines are in the order of the queue, as every message has the same time. The timer
            # is not cancelled when the queue empties; to make and cancel one for each message costs more.
            self._timer = loop.call_at(ack.deadline, self._expire)

    def _delivered(self, ack: _PendingAck) -> None:
        answered, ack.answered = ack.answered, None
        if answered is None:
            return  # Timed out before.
        self._drop_answered()
        ack.member.send(Ack(ack.member.room, ack.message_id, ack.key))
        answered(ack.member, ack.key, None)

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time() + _EARLY
        while self._pending and self._pending[0].deadline <= now:
            ack = self._pending.popleft()
            answered, ack.answered = ack.answered, None
            if answered is not None:
                error = OutcomeUnknown("Redis has the message, but this worker did not receive it back in time")
                guarded(partial(answered, ack.member, ack.key, error), "an acknowledgement")
        if self._pending and self._timer is None:
            self._timer = loop.call_at(self._pending[0].deadline, self._expire)

    def _drop_answered(self) -> None:
        # Rooms progress independently, so a message may be answered before an earlier one of another room.
        while self._pending and self._pending[0].answered is None:
            self._pending.popleft()
