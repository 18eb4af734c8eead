"""The webhook's loops: one moves this worker's events into the fleet's queue, the other sends the queue's events."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from relay.backend.webhooks import Outboxes, PartlyMoved, WebhookBatch, WebhookQueue
from relay.limits import Clock
from relay.logs import LogIntervals
from relay.metrics import Metrics
from relay.model.errors import RelayError
from relay.model.webhook_events import WebhookEvent
from relay.tasks import BackgroundTasks
from relay.webhooks.body import encode_body
from relay.webhooks.posted import Posted

log = logging.getLogger("relay.rooms.webhooks")

_T = TypeVar("_T")

_GATHER: Final = 0.01
"""Seconds for which rooms are gathered before their events are moved together."""

_ROOMS: Final = 50
"""Rooms whose events are moved together."""

_AGAIN: Final = 0.5
"""Seconds after which a step that failed, as Redis did not answer, is repeated."""

_POLL, _FOLLOW = 0.2, 1.0
"""Seconds between two looks at an empty queue; and at a queue of which another worker is the sender."""

_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0
"""Seconds until a request that failed is repeated: doubled each time, up to the longest."""

_LAST: Final = 0.5
"""Seconds in which a worker that stops sends the waiting events."""

_REMEMBERED: Final = 10_000
"""Ids of events that the receiver has accepted: an event that is in the queue twice is sent once, as a rule."""

_LOG_INTERVAL: Final = 60.0


class WebhookMover:
    """Moves the events of the rooms that this worker has noted; `on_moved` is called with each that has no more."""

    def __init__(self, queue: WebhookQueue, outboxes: Outboxes, on_moved: Callable[[str], None]) -> None:
        self._queue = queue
        self._outboxes = outboxes
        self._on_moved = on_moved
        self.added = asyncio.Event()
        """Set after each move: the queue has new events."""

    async def run(self) -> None:
        """Move until cancelled."""
        while True:
            await self._outboxes.wait()
            await asyncio.sleep(_GATHER)
            if not await self.move():
                await asyncio.sleep(_AGAIN)

    async def move(self) -> bool:
        """Move the events of some of the rooms; return whether Redis took them all. Rooms that failed stay noted."""
        rooms = self._outboxes.take(_ROOMS)
        more: Sequence[str] = rooms
        try:
            more = await self._queue.move(rooms)
        except PartlyMoved as error:
            log.debug("moving the events of %d of %d rooms failed; retrying", len(error.left), len(rooms))
            more = error.left
            self.added.set()
            return False
        except RelayError as error:
            log.debug("moving the events of %d rooms failed (%s); retrying", len(rooms), error)
            return False
        finally:
            # Also if this task is cancelled meanwhile: outboxes that were not moved must stay noted.
            for room in self._outboxes.moved(more):
                self._on_moved(room)
        self.added.set()
        return True


class EventReceiver(Protocol):
    """The operator's server, as `relay.webhooks.receiver` calls it."""

    async def post(self, body: bytes) -> Posted:
        """Send a body."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class WebhookSender:
    """Sends the queue's events in batches, one at a time, while this worker is the sender of the fleet.

    A batch stays in the queue until the receiver has accepted it. So an event is sent at least once, and those of one
    room in order: a batch that fails keeps the later ones waiting. `added` is set when the queue may have new events,
    `claim` is for how many seconds this worker stays the sender.
    """

    def __init__(
        self,
        queue: WebhookQueue,
        receiver: EventReceiver,
        added: asyncio.Event,
        *,
        batch: int,
        claim: float,
        wall_clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._receiver = receiver
        self._added = added
        self._most = batch
        self._renewal = claim / 3
        self._clock = wall_clock
        self._metrics = metrics
        self._done: WebhookBatch | None = None
        self._accepted: OrderedDict[str, None] = OrderedDict()
        self._failures = 0
        self._failed = LogIntervals(_LOG_INTERVAL)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._added.clear()
            try:
                pause = await self.step()
            except RelayError as error:
                log.debug("the queue of the webhook could not be read (%s); retrying", error)
                pause = _AGAIN
            if self._failures:
                await self._as_sender(asyncio.sleep(pause))
            elif pause:
                await self._wait(pause)

    async def step(self) -> float:
        """Send one batch, if there is one; return the seconds until the next step, unless events are added before."""
        batch = await self._queue.take(self._most, done=self._done)
        self._done = None
        if batch is None:
            self._failures = 0
            self._note_queue(0, ())
            return _FOLLOW
        self._note_queue(batch.queued, batch.events)
        events = [event for event in batch.events if event.id not in self._accepted]
        if not events and not batch.dropped:
            self._done = batch if batch.events else None
            self._failures = 0
            return 0 if batch.events else _POLL
        return await self._send(batch, list({event.id: event for event in events}.values()))

    async def finish(self) -> None:
        """Let another worker be the sender, and close the connection to the receiver."""
        try:
            await self._queue.take(0, done=self._done)
            await self._queue.release()
        finally:
            await self._receiver.close()

    async def _send(self, batch: WebhookBatch, events: Sequence[WebhookEvent]) -> float:
        body = encode_body(events, dropped=batch.dropped, notice=batch.notice, now=round(self._clock() * 1000))
        posted = await self._as_sender(self._receiver.post(body))
        self._metrics.webhook_requests.labels(posted.outcome).inc()
        if posted.outcome != "accepted":
            self._failures += 1
            pause = min(_LONGEST_RETRY, _FIRST_RETRY * 2.0 ** min(self._failures - 1, 10))
            self._log_failure(posted, pause, batch.queued)
            return pause
        if self._failures:
            log.info("the webhook accepts events again; %d wait", batch.queued - len(batch.events))
        if batch.dropped:
            log.warning("the webhook was told that %d events were dropped, as the queue was full", batch.dropped)
        self._failures, self._done = 0, batch
        self._metrics.webhook_events.inc(len(events))
        self._accepted.update(dict.fromkeys(event.id for event in events))
        while len(self._accepted) > _REMEMBERED:
            self._accepted.popitem(last=False)
        return 0

    async def _as_sender(self, work: Awaitable[_T]) -> _T:
        """Wait for something, and go on to be the sender meanwhile."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                await asyncio.wait([task], timeout=self._renewal)
                if task.done():
                    return task.result()
                try:
                    await self._queue.renew()
                except RelayError as error:
                    log.debug("this worker may not be the sender any more (%s)", error)
        finally:
            task.cancel()

    async def _wait(self, seconds: float) -> None:
        """Wait until events are added, at most for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._added.wait()

    def _note_queue(self, queued: int, events: Sequence[WebhookEvent]) -> None:
        self._metrics.webhook_queue.set(queued)
        self._metrics.webhook_age.set(max(0.0, self._clock() - events[0].time / 1000) if events else 0)

    def _log_failure(self, posted: Posted, pause: float, queued: int) -> None:
        unlogged = self._failed.due()
        if unlogged is not None:
            log.warning(
                "the receiver of the webhook did not accept events: %s; the relay repeats them in %.1f s, and %d wait "
                "(%d more failures since the last of these lines)", posted.why, pause, queued, unlogged,
            )  # fmt: skip


class Webhook:
    """The two loops of a worker that has a webhook."""

    def __init__(self, mover: WebhookMover, sender: WebhookSender, outboxes: Outboxes) -> None:
        self._mover = mover
        self._sender = sender
        self._outboxes = outboxes

    def start(self, tasks: BackgroundTasks) -> None:
        """Run both loops."""
        tasks.keep(self._mover.run, "webhook outboxes")
        tasks.keep(self._sender.run, "webhook sender")

    async def stop(self) -> None:
        """Move the last events, send them, and let another worker be the sender; called after the loops have ended.

        Events that the receiver does not take in a moment are left to other workers. Raises `Unavailable` or
        `OutcomeUnknown`: then a worker that takes the rooms over moves the events.
        """
        while self._outboxes and await self._mover.move():
            pass
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST):
                    while not await self._sender.step():
                        pass
        finally:
            await self._sender.finish()
