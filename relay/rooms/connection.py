"""A client's connection, as the hub sees it: takes frames without blocking, up to a bound.

There are two. With the relay's own server, a connection writes into the server's buffer (`WireConnection`). With any
other ASGI server, it has a queue and a task that writes (`QueuedConnection`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableSequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from mypy_extensions import mypyc_attr

from relay.model.codec import Batch, Frame
from relay.model.errors import SLOW, CloseReason
from relay.protocol_metrics import ProtocolMetrics
from relay.rooms.buffers import FREE, Buffer, Buffering

WIRE_EXTENSION: Final = "relay.wire"
"""The key of the connection's `Wire` in a WebSocket scope's `extensions`; only the relay's own server has it."""

ARRIVED_EXTENSION: Final = "relay.arrived"
"""The key of the time (of `time.monotonic`) at which the request arrived, in a WebSocket scope's `extensions`."""

ABORT_EXTENSION: Final = "relay.abort"
"""The key of a function that ends the connection at once, in an HTTP scope's `extensions`."""

CLOSED_EXTENSION: Final = "relay.closed"
"""The key of the reason in a `websocket.disconnect` message, if the server, and not the client, has closed."""

GREETING_EXTENSION: Final = "relay.greeting"
"""The key of True in a `websocket.accept` message, if the application is about to send a first frame.

The relay's own server lets its answer to the handshake wait for that frame for a moment, and sends both in one write.
"""

CLOSE_TIMEOUT = 1.0
"""Seconds in which a client can read the last frames when its connection is closed."""


class Transfer(NamedTuple):
    """Bytes that were written to a connection so far, and how many of these its other end has received.

    The other end is the client, or a load balancer in between. Only two values of the same connection compare.
    """

    written: int
    received: int


class Receiver(Protocol):
    """Takes the messages that a connection receives; in most cases a session."""

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched, so that its loss must be noticed soon."""
        ...

    def received(self, frame: Frame) -> None:
        """Take a message; an exception closes the connection with 1011."""
        ...

    def disconnected(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """Take note that the connection has ended; called once.

        `code` is the close code, `relay_closed` the reason if the relay closed the connection, and not the client. If a
        future is returned, the answer to the client's close frame waits for it, for `CLOSE_TIMEOUT` seconds at most.
        """
        ...


class Wire(Protocol):
    """A connection that the server hands over: once attached, it stays open when the ASGI call returns.

    An ASGI call is a task with queues, which an idle client would keep for hours. A connection that is handed over has
    none. Nothing is sent or received by ASGI then.
    """

    @property
    def lost(self) -> bool:
        """Whether the other end is gone without a close frame. Asks the system, so before the event loop finds out."""
        ...

    def attach(self, receiver: Receiver, *, keepalive: bool = True) -> None:
        """Deliver all further messages, and the end of the connection, to `receiver`; call it after the accept.

        Without `keepalive`, the server stops sending WebSocket pings: the client protocol has a heartbeat of its own.
        """
        ...

    def write(self, data: bytes) -> int:
        """Send whole frames; returns how many bytes wait for the client, or 0 while they are certainly few."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close when the client has read all written frames, or the close timeout is over."""
        ...

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back once, when the client has taken nearly all that was written, or the connection has ended."""
        ...

    def pause_reading(self, *, paused: bool) -> None:
        """Stop reading, or go on; a few messages that were read before may still be received."""
        ...

    def transfer(self) -> Transfer | None:
        """Return how much was written and received; None if that is not known, or the connection has ended."""
        ...


class Connection(Protocol):
    """A client's connection: takes the frames for it, and never blocks.

    A client that reads so slowly that more bytes wait for it than the limit is closed; no other client waits for it.
    `reason` is why the relay closes the connection; None while it stays open. No callback runs before `write` has
    returned: its caller may be iterating over a room's members, which a callback could change.
    """

    reason: CloseReason | None

    @property
    def lost(self) -> bool:
        """Whether the client is gone without a close frame, as far as the system knows at this moment."""
        ...

    def write(self, frame: Frame) -> None:
        """Send a frame; ignored when the connection is closing."""
        ...

    def write_batch(self, batch: Batch) -> None:
        """Send several frames in one write."""
        ...

    def close(self, reason: CloseReason) -> None:
        """Close when the client has read all written frames, or after a second. Only the first call counts."""
        ...

    def pause_reading(self, *, paused: bool) -> None:
        """Stop reading from the client, or go on; messages that were read before may still be received."""
        ...

    def transfer(self) -> Transfer | None:
        """Return how much was written and received; None if that is not known, or the connection is closing.

        While a lost connection reports its end, `received` is known.
        """
        ...


class WireConnection:
    """Writes into the buffer of the relay's own server, at once.

    `_buffer` counts the bytes that wait there; it is None while the client reads as fast as the relay sends.
    """

    __slots__ = ("_buffer", "_buffering", "_limit", "_metrics", "_wire", "reason")

    def __init__(self, wire: Wire, *, limit: int, metrics: ProtocolMetrics, buffering: Buffering) -> None:
        self._wire = wire
        self._limit = limit
        self._metrics = metrics
        self._buffering = buffering
        self._buffer: Buffer | None = None
        self.reason: CloseReason | None = None

    @property
    def lost(self) -> bool:
        """Whether the client is gone without a close frame."""
        return self._wire.lost

    def write(self, frame: Frame) -> None:
        """Write a frame; close a client for which more than the limit waits then."""
        if self.reason is None:
            metrics = self._metrics
            metrics.messages_out += 1
            metrics.bytes_out += len(frame.data)
            data = frame.wire
            waiting = self._wire.write(data)
            if waiting:
                self._keep(data, waiting)

    def write_batch(self, batch: Batch) -> None:
        """Write several frames at once; the batch has them in one piece, made once for all members."""
        if self.reason is None:
            metrics = self._metrics
            metrics.messages_out += len(batch.frames)
            metrics.bytes_out += batch.size
            data = batch.wire
            waiting = self._wire.write(data)
            if waiting:
                self._keep(data, waiting)

    def close(self, reason: CloseReason) -> None:
        """Close through the server, which waits for the client to read all written frames."""
        if self.reason is None:
            self.reason = reason
            self._metrics.count_closed(reason.name)
            self._clear()
            self._wire.close(reason.code, reason.name)

    def pause_reading(self, *, paused: bool) -> None:
        """Pause in the server, so that TCP slows the client down."""
        self._wire.pause_reading(paused=paused)

    def transfer(self) -> Transfer | None:
        """Ask the server. Nothing is written any more once the connection is closing, so nothing is known then."""
        return self._wire.transfer() if self.reason is None else None

    def _keep(self, data: bytes, waiting: int) -> None:
        """Count data that waits behind other data, `waiting` bytes in all."""
        if waiting > self._limit:
            self.close(SLOW)
            return
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = self._buffering.buffer(partial(self.close, SLOW))
            self._wire.when_drained(self._clear)
        buffer.keep(data)
        buffer.trim(waiting)

    def _clear(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.clear()


@mypyc_attr(allow_interpreted_subclasses=True)
class BufferedConnection:
    """The common part of connections whose frames wait until they can be sent, up to `limit` bytes.

    A subclass sends `_frames`, which it gives, and calls `_subtract` with the size of the frames that it has sent.
    `_buffer` counts the frames; None while their bytes are few.
    """

    __slots__ = ("_buffer", "_buffering", "_bytes", "_frames", "_limit", "_metrics", "reason")

    def __init__(
        self, frames: MutableSequence[Frame], *, limit: int, metrics: ProtocolMetrics, buffering: Buffering
    ) -> None:
        self._limit = limit
        self._metrics = metrics
        self._buffering = buffering
        self._buffer: Buffer | None = None
        self._frames = frames
        self._bytes = 0
        self.reason: CloseReason | None = None

    @property
    def lost(self) -> bool:
        """Return False: where frames wait for a task or a poll, only the session knows the end of the connection."""
        return False

    def write(self, frame: Frame) -> None:
        """Keep a frame until it can be sent; above the limit, drop all frames and close the client."""
        if self.reason is not None:
            return
        parts = frame.parts
        self._frames.extend(parts)
        self._bytes += sum([len(part.data) for part in parts])
        if self._bytes > self._limit:
            self._give_up()
            return
        if self._buffer is not None:
            for part in parts:
                self._buffer.keep(part.data)
        elif self._bytes > FREE:
            self._begin_buffer()
        self._filled()

    def write_batch(self, batch: Batch) -> None:
        """Keep the frames one by one; they still leave together."""
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        """Close when the frames have been sent."""
        if self.reason is None:
            self.reason = reason
            self._metrics.count_closed(reason.name)
            self._closed(reason)

    def transfer(self) -> Transfer | None:
        """Return None: only acknowledgements of the client's protocol can show the frames that it has received."""
        return None

    def _filled(self) -> None:
        """Take note that there are frames to send."""
        raise NotImplementedError

    def _closed(self, reason: CloseReason) -> None:
        """Take note that the relay closes the connection."""
        raise NotImplementedError

    def release(self) -> None:
        """Count nothing any more: the connection has ended."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.clear()

    def _begin_buffer(self) -> None:
        buffer = self._buffer = self._buffering.buffer(self._give_up)
        for frame in self._frames:
            buffer.keep(frame.data)

    def _give_up(self) -> None:
        """Drop all frames and close the connection: its client reads too slowly."""
        self._frames.clear()
        self._bytes = 0
        self.release()
        self.close(SLOW)

    def _count_sent(self, frames: int, size: int) -> None:
        self._metrics.messages_out += frames
        self._metrics.bytes_out += size

    def _subtract(self, size: int) -> None:
        """Count so many bytes less: they were sent, or the client has acknowledged them."""
        self._bytes -= size
        if self._buffer is not None:
            self._buffer.trim(self._bytes)
            if not self._buffer.size:
                self._buffer = None


class QueuedConnection(BufferedConnection):
    """Queues frames for one task that sends them: plain ASGI only has an awaitable `send`, without a buffer's size."""

    def __init__(
        self,
        *,
        send: Callable[[Frame], Awaitable[None]],
        send_close: Callable[[CloseReason], Awaitable[None]],
        on_close: Callable[[], None],
        on_pause: Callable[[bool], None],
        limit: int,
        metrics: ProtocolMetrics,
        buffering: Buffering,
    ) -> None:
        super().__init__(deque(), limit=limit, metrics=metrics, buffering=buffering)
        self._send = send
        self._send_close = send_close
        self._on_close = on_close
        self._on_pause = on_pause
        self._sent = 0
        self._wake = asyncio.Event()

    def _filled(self) -> None:
        self._wake.set()

    def _closed(self, reason: CloseReason) -> None:
        # The writer sends the close after all queued frames.
        self._wake.set()
        self._on_close()

    def pause_reading(self, *, paused: bool) -> None:
        """Have the task that reads wait."""
        self._on_pause(paused)

    def transfer(self) -> Transfer | None:
        """Return how much the other server has taken; how much of it the client has received is not known."""
        return Transfer(self._sent + self._bytes, self._sent) if self.reason is None else None

    async def run_writer(self) -> None:
        """Write until closed; ends also when the client is gone (OSError of `send`)."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._frames:
                    frame = self._frames[0]
                    del self._frames[0]
                    await self._send(frame)
                    self._subtract(len(frame.data))
                    self._sent += len(frame.data)
                    self._count_sent(1, len(frame.data))
                if self.reason is not None:
                    await self._send_close(self.reason)
                    return
        except OSError:
            return
