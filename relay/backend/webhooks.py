"""The interface between a worker and the backend's queue of events for the webhook.

The step that adds or removes a member writes its event into the *outbox* of the room, so that neither can be without
the other. From there a worker *moves* it into the fleet's queue, from which one worker at a time, the *sender*, takes
the events and sends them. In memory, events go into the queue at once.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from relay.model.errors import Unavailable
from relay.model.webhook_events import WebhookEvent

OUTBOX_EVENTS: Final = 1000
"""Most events of one outbox; further ones are counted as dropped."""

BATCH_BYTES: Final = 524_288
"""Most bytes of the events that `WebhookQueue.take` returns, but always one event."""


class WebhookBatch(Struct, frozen=True, kw_only=True):
    """The oldest events of the queue, and their number in the whole queue.

    `dropped` events, all older than these, were dropped since the last batch that was sent; `notice` identifies this
    number until it is `done`. `last` is the backend's own mark of the last event.
    """

    events: Sequence[WebhookEvent] = ()
    dropped: int = 0
    notice: str = ""
    last: str = ""
    queued: int = 0


class PartlyMoved(Unavailable):
    """The events of some rooms could not be moved, as their part of the backend is away or refuses: those `left`.

    Rooms with more events are among them; all other rooms are done.
    """

    def __init__(self, left: Sequence[str]) -> None:
        super().__init__()
        self.left = left


class WebhookQueue(Protocol):
    """The fleet's queue, bounded by number and bytes: of too many events, the oldest are dropped and counted.

    The events of one room stay in the room's order. An event may be in the queue twice, if a worker died while it moved
    it. Every method raises `Unavailable` or `OutcomeUnknown` when Redis does not answer.
    """

    async def move(self, rooms: Sequence[str]) -> Sequence[str]:
        """Move the events of these rooms' outboxes into the queue, a bounded number of each; return those with more.

        Raises `PartlyMoved` if some rooms failed alone.
        """
        ...

    async def take(self, most: int, *, done: WebhookBatch | None = None) -> WebhookBatch | None:
        """Become the sender, unless another worker is, and return a batch of up to `most` events; they stay queued.

        None means that another worker is the sender. A worker stops to be it when it has not called for the time of
        its claim. The events of the batch that is `done` were sent: they are removed first.
        """
        ...

    async def renew(self) -> None:
        """Go on to be the sender, while a batch is on its way."""
        ...

    async def release(self) -> None:
        """Stop to be the sender: another worker need not wait."""
        ...


class Outboxes:
    """The rooms whose outbox may have events that are not in the queue yet, as far as this worker knows.

    A room stays in it until all was moved. Until then the worker stays registered for the room: if it dies, the worker
    that takes its rooms over moves the events.
    """

    def __init__(self) -> None:
        self._noted: dict[str, None] = {}
        self._moving: Sequence[str] = ()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many rooms wait, without those whose events are being moved."""
        return len(self._noted)

    def __contains__(self, room: object) -> bool:
        return room in self._noted or room in self._moving

    def note(self, rooms: Iterable[str]) -> None:
        """Note rooms in which a script may have written an event."""
        self._noted.update(dict.fromkeys(rooms))
        if self._noted:
            self._some.set()

    async def wait(self) -> None:
        """Wait until a room is noted."""
        await self._some.wait()

    def take(self, most: int) -> Sequence[str]:
        """Return rooms whose events are to be moved now, those first that were noted first."""
        rooms = list(self._noted)[:most]
        for room in rooms:
            del self._noted[room]
        self._moving = rooms
        if not self._noted:
            self._some.clear()
        return rooms

    def moved(self, more: Iterable[str]) -> Sequence[str]:
        """Note that the rooms of the last `take` are done, but for rooms with more events; returns the done ones."""
        moving, self._moving = self._moving, ()
        self.note(more)
        return [room for room in moving if room not in self._noted]
