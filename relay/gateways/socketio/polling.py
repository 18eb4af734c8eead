"""Long polling: a `Connection` whose frames wait until the client asks for them."""

import asyncio
from collections.abc import Callable, Sequence

from relay.gateways.socketio.packets import Framing, Payload
from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.errors import SLOW, CloseReason


class OverlappingPoll(Exception):
    """A second poll, or a second post, came before the first was answered: their order would be lost."""


class Polling:
    """See `Connection`. One poll waits at a time; what is written in one turn of the event loop answers it together.

    `on_close` is called after the relay has closed; a poll is answered with what is left, and with a packet that says
    so. Where none waits, `on_close` gets that payload.
    """

    def __init__(
        self, framing: Framing, *, limit: int, metrics: Metrics, on_close: Callable[[CloseReason, Payload | None], None]
    ) -> None:
        self._framing = framing
        self._limit = limit
        self._metrics = metrics
        self._on_close = on_close
        self._frames: list[Frame] = []
        self._bytes = 0
        self._poll: asyncio.Future[Payload] | None = None
        self._due = False
        self.posting = False
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        """See `Connection.write`."""
        if self.reason is not None:
            return
        self._frames.extend(frame.parts)
        self._bytes += sum(len(part.data) for part in frame.parts)
        if self._bytes > self._limit:
            self._frames.clear()
            self.close(SLOW)
        elif self._poll is not None and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._answer_if_due)

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        if self.reason is None:
            self.reason = reason
            self._metrics.closed.labels(reason.name).inc()
            self._frames.append(self._framing.wording.close)
            self._answer()
            # Not at once: this may be in the middle of what the hub delivers to others.
            asyncio.get_running_loop().call_soon(self._closed, reason)

    # The client's requests.

    def poll(self) -> "asyncio.Future[Payload]":
        """Ask for frames: the payload, once there is one. Raises `OverlappingPoll`."""
        if self._poll is not None:
            raise OverlappingPoll
        self._poll = asyncio.get_running_loop().create_future()
        waiting = self._poll
        if self._frames:
            self._answer()
        return waiting

    def release(self) -> None:
        """Let a poll that waits go, with nothing."""
        if self._poll is not None:
            self._frames = self._frames or [self._framing.wording.noop]
            self._answer()

    def end(self) -> Sequence[Frame]:
        """Polling is over: a poll that waits is let go, and what it was not given is returned."""
        left, self._frames = self._frames, []
        self.release()
        return left

    def _closed(self, reason: CloseReason) -> None:
        self._on_close(reason, self._framing.write_payload(self._frames) if self._frames else None)

    def _answer_if_due(self) -> None:
        self._due = False
        if self._frames:
            self._answer()

    def _answer(self) -> None:
        poll, self._poll = self._poll, None
        if poll is None or poll.done():
            return
        traffic = self._metrics.traffic
        traffic.messages_out += len(self._frames)
        traffic.bytes_out += self._bytes
        frames, self._frames, self._bytes = self._frames, [], 0
        poll.set_result(self._framing.write_payload(frames))
