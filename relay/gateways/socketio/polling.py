"""Long polling: a `Connection` whose frames wait until the client asks for them."""

import asyncio
from collections.abc import Callable, Sequence

from relay.gateways.socketio.packets import Framing, Payload
from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.errors import SLOW, CloseReason

OnClose = Callable[[CloseReason, Payload | None], None]


class OverlappingPoll(Exception):
    """A second poll, or a second post, came before the first was answered: their order would be lost."""


class Polling:
    """A `Connection` over HTTP requests, of which one poll and one post may be open at a time.

    Frames written in one turn of the event loop are sent together, in the answer to the open poll. `on_close` is
    called once after the relay has closed the connection. Its second argument is the payload with the last frames and
    the close packet if no poll was open to send it, else None.
    """

    def __init__(self, framing: Framing, *, limit: int, metrics: Metrics, on_close: OnClose) -> None:
        self._framing = framing
        self._limit = limit
        self._metrics = metrics
        self._on_close: OnClose | None = on_close
        self._frames: list[Frame] = []
        self._bytes = 0
        self._poll: asyncio.Future[Payload] | None = None
        self._answer_scheduled = False
        self._may_post = asyncio.Event()
        self._may_post.set()
        self.posting = False
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        """Keep a frame for the open poll, or for the next one; above the limit, drop all frames and close."""
        if self.reason is not None:
            return
        self._frames.extend(frame.parts)
        self._bytes += sum(len(part.data) for part in frame.parts)
        if self._bytes > self._limit:
            self._frames.clear()
            self.close(SLOW)
        elif self._poll is not None and not self._answer_scheduled:
            self._answer_scheduled = True
            asyncio.get_running_loop().call_soon(self._answer_later)

    def write_batch(self, batch: Batch) -> None:
        """Write the frames one by one; they still leave in one payload."""
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        """Answer the open poll with all frames and a close packet, and call `on_close` in the next turn."""
        if self.reason is None:
            self.reason = reason
            self._metrics.closed.labels(reason.name).inc()
            self._frames.append(self._framing.control.close)
            self._answer()
            # Not now: the hub may be delivering to a room's members, which `on_close` would change.
            asyncio.get_running_loop().call_soon(self._report_close, reason)

    def pause_reading(self, *, paused: bool) -> None:
        """Hold back the response to the open post: a client sends the next post only after that."""
        if paused:
            self._may_post.clear()
        else:
            self._may_post.set()

    # The client's requests.

    def poll(self) -> "asyncio.Future[Payload]":
        """Open a poll; the future gets its payload as soon as there are frames. Raises `OverlappingPoll`."""
        if self._poll is not None:
            raise OverlappingPoll
        self._poll = asyncio.get_running_loop().create_future()
        poll = self._poll
        if self._frames:
            self._answer()
        return poll

    def release_poll(self) -> None:
        """Answer the open poll, with a noop packet if there are no frames."""
        if self._poll is not None:
            self._frames = self._frames or [self._framing.control.noop]
            self._answer()

    async def until_resumed(self) -> None:
        """Wait while reading is paused, unless polling ends."""
        await self._may_post.wait()

    def end(self) -> Sequence[Frame]:
        """End polling: release the open poll and return the frames that no poll has taken.

        `on_close` is not called any more, and not referred to, so that connection and session are no cycle.
        """
        unsent, self._frames = self._frames, []
        self.release_poll()
        self._may_post.set()
        self._on_close = None
        return unsent

    def _report_close(self, reason: CloseReason) -> None:
        if self._on_close is not None:
            self._on_close(reason, self._framing.write_payload(self._frames) if self._frames else None)

    def _answer_later(self) -> None:
        self._answer_scheduled = False
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
