"""A client's connection, as the hub sees it: somewhere to write that never blocks and is bounded.

There are two: over the wire itself, where the server hands the connection over, and over plain ASGI anywhere else.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.errors import SLOW, CloseReason

WIRE_EXTENSION: Final = "relay.wire"
"""Among a WebSocket scope's `extensions`, where the server has it: the connection's `Wire`."""

CLOSED_EXTENSION: Final = "relay.closed"
"""In a `websocket.disconnect` message, where the server has it: why the relay closed, when it was not the client."""

CLOSE_TIMEOUT = 1.0
"""Seconds a closing connection has to take what is left for it."""


class Receiver(Protocol):
    """Whoever a connection was handed over to."""

    def received(self, frame: Frame) -> None:
        """A message came; an exception ends the connection with 1011."""
        ...

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """The connection has ended, called once: the close code, and why the relay ended it if the client did not."""
        ...


class Wire(Protocol):
    """A connection that can be handed over: once attached, the ASGI call may return, and the connection stays.

    Nothing is sent by ASGI then, and nothing received.
    """

    def attach(self, receiver: Receiver, *, keepalive: bool = True) -> None:
        """Deliver all further messages, and the end of the connection, to `receiver`; call it after the accept.

        Without `keepalive`, the server stops sending WebSocket pings: the client protocol has a heartbeat of its own.
        """
        ...

    def write(self, data: bytes) -> int:
        """Send whole frames; returns how many bytes wait for the client, 0 while that is not worth asking."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close after what was written; a client that does not take it in time is dropped."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, whatever is still to be written."""
        ...

    def pause_reading(self, *, paused: bool) -> None:
        """Read no further, or again; a few messages that were read before may still come."""
        ...


class Connection(Protocol):
    """Where a member's frames go.

    A reader that leaves more bytes waiting than the limit is closed, and nobody else waits for it. `reason` says why
    the relay closes; None while it does not. Nobody hears what became of a write before its caller is done.
    """

    reason: CloseReason | None

    def write(self, frame: Frame) -> None:
        """Send a frame, soon; nothing once closing."""
        ...

    def write_batch(self, batch: Batch) -> None:
        """Send several."""
        ...

    def close(self, reason: CloseReason) -> None:
        """Close after what was written, or after a second, whichever is first. Only the first reason counts."""
        ...


class WireConnection:
    """See `Connection`; writes into the server's own buffer, at once."""

    __slots__ = ("_limit", "_metrics", "_wire", "reason")

    def __init__(self, wire: Wire, *, limit: int, metrics: Metrics) -> None:
        self._wire = wire
        self._limit = limit
        self._metrics = metrics
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        """See `Connection.write`."""
        if self.reason is None:
            traffic = self._metrics.traffic
            traffic.messages_out += 1
            traffic.bytes_out += len(frame.data)
            if self._wire.write(frame.wire) > self._limit:
                self.close(SLOW)

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        if self.reason is None:
            traffic = self._metrics.traffic
            traffic.messages_out += len(batch.frames)
            traffic.bytes_out += batch.size
            if self._wire.write(batch.wire) > self._limit:
                self.close(SLOW)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        if self.reason is None:
            self.reason = reason
            self._metrics.closed.labels(reason.name).inc()
            self._wire.close(reason.code, reason.name)


class QueuedConnection:
    """See `Connection`; frames wait here for one writer task, which is all that plain ASGI allows."""

    def __init__(
        self,
        *,
        send: Callable[[Frame], Awaitable[None]],
        send_close: Callable[[CloseReason], Awaitable[None]],
        on_close: Callable[[], None],
        limit: int,
        metrics: Metrics,
    ) -> None:
        self._send = send
        self._send_close = send_close
        self._on_close = on_close
        self._limit = limit
        self._metrics = metrics
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.reason: CloseReason | None = None

    def write(self, frame: Frame) -> None:
        """See `Connection.write`; past the limit, what waits is dropped."""
        if self.reason is not None:
            return
        self._frames.extend(frame.parts)
        self._bytes += sum(len(part.data) for part in frame.parts)
        if self._bytes > self._limit:
            self._frames.clear()
            self.close(SLOW)
            return
        self._wake.set()

    def write_batch(self, batch: Batch) -> None:
        """See `Connection.write_batch`."""
        for frame in batch.frames:
            self.write(frame)

    def close(self, reason: CloseReason) -> None:
        """See `Connection.close`."""
        if self.reason is None:
            self.reason = reason
            self._metrics.closed.labels(reason.name).inc()
            self._wake.set()
            self._on_close()

    async def run_writer(self) -> None:
        """Write until closed; ends also when the client is gone (OSError of `send`)."""
        traffic = self._metrics.traffic
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._frames:
                    frame = self._frames.popleft()
                    await self._send(frame)
                    self._bytes -= len(frame.data)
                    traffic.messages_out += 1
                    traffic.bytes_out += len(frame.data)
                if self.reason is not None:
                    await self._send_close(self.reason)
                    return
        except OSError:
            return
