"""The queue of the webhook's events in a process without Redis."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from msgspec import structs

from relay.backend.settings import WebhookQueueSettings
from relay.backend.webhooks import Outboxes, WebhookBatch
from relay.limits import Clock
from relay.model.events import MemberJoined, MemberLeft, TakenOver
from relay.model.webhook_events import PresenceChange, WebhookEvent

_FIXED: Final = 64
"""Bytes of an event without its texts."""

_EVENT_BYTES: Final = 1024
"""Bytes that an event of a full queue has on average, at most."""


class MemoryWebhookQueue:
    """Numbered events, in two parts: those that the sender has taken, and the rest. The process is the sender.

    `wall_clock` is the Unix time. `on_dropped` is called with the number of events that are dropped. A room that has an
    event is `noted`, which wakes the loop that would move it elsewhere.
    """

    def __init__(
        self,
        settings: WebhookQueueSettings,
        wall_clock: Clock,
        noted: Outboxes,
        *,
        on_dropped: Callable[[int], object],
    ) -> None:
        self._most = settings.events
        self._bytes = 0
        self._clock = wall_clock
        self._noted = noted
        self._on_dropped = on_dropped
        self._taken: deque[tuple[int, WebhookEvent]] = deque()
        self._rest: deque[tuple[int, WebhookEvent]] = deque()
        self._number = 0
        self._dropped = 0
        # The dropped events that batches tell of, until one of them is done.
        self._told = 0
        self._notice = ""

    def add_join(
        self,
        joined: MemberJoined | TakenOver,
        *,
        first: bool,
        info: bytes = b"",
        subject: str = "",
        restored: bool = False,
    ) -> None:
        """Add the events of a member that joined, as the `first` one or not."""
        if first:
            self._add(structs.replace(self._event("room_opened", joined), restored=restored))
        event = self._event("joined", joined)
        self._add(structs.replace(event, info=info, subject=subject, restored=restored))

    def add_leave(self, left: MemberLeft, *, last: bool, reason: str) -> None:
        """Add the events of a member that left, as the `last` one or not."""
        self._add(structs.replace(self._event("left", left), reason=reason))
        if last:
            self._add(self._event("room_closed", left))

    async def move(self, rooms: Sequence[str]) -> Sequence[str]:
        """Do nothing: events go into the queue at once."""
        return ()

    async def take(self, most: int, *, done: WebhookBatch | None = None) -> WebhookBatch | None:
        """Remove the sent events, and return the oldest ones of the rest."""
        if done is not None:
            self._remove(done)
        while self._rest and len(self._taken) < most:
            self._taken.append(self._rest.popleft())
        batch = list(islice(self._taken, most))
        if self._dropped and not self._notice:
            # The number of an event is told once.
            self._told, self._dropped, self._notice = self._dropped, 0, f"{self._now()}-{self._number}"
        return WebhookBatch(
            events=[event for _, event in batch],
            dropped=self._told,
            notice=self._notice,
            last=str(batch[-1][0]) if batch else "",
            queued=len(self._taken) + len(self._rest),
        )

    async def renew(self) -> None:
        """Do nothing: there is no other worker."""

    async def release(self) -> None:
        """Do nothing: there is no other worker."""

    def _add(self, event: WebhookEvent) -> None:
        self._number += 1
        self._rest.append((self._number, event))
        self._noted.note([event.room])
        self._bytes += _size(event)
        # No event that the sender has taken is dropped: the receiver may have got it.
        while self._rest and (
            len(self._taken) + len(self._rest) > self._most or self._bytes > self._most * _EVENT_BYTES
        ):
            self._bytes -= _size(self._rest.popleft()[1])
            self._dropped += 1
            self._on_dropped(1)

    def _remove(self, done: WebhookBatch) -> None:
        while done.last and self._taken and self._taken[0][0] <= int(done.last):
            self._bytes -= _size(self._taken.popleft()[1])
        if done.notice and done.notice == self._notice:
            self._told, self._notice = 0, ""

    def _event(self, kind: PresenceChange, event: MemberJoined | TakenOver | MemberLeft) -> WebhookEvent:
        return WebhookEvent(type=kind, room=event.room, position=str(event.id), time=self._now(), peer=event.peer)

    def _now(self) -> int:
        return round(self._clock() * 1000)


def _size(event: WebhookEvent) -> int:
    return _FIXED + len(event.room) + len(event.peer) + len(event.info) + len(event.subject)
