"""A client's connection, as the hub sees it: somewhere to write that never blocks and is bounded."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from relay.codec import Frame
from relay.errors import SLOW, CloseReason
from relay.metrics import Metrics

TRANSPORT_EXTENSION: Final = "relay.transport"
"""Among a WebSocket scope's `extensions`, where the server has it: `{"abort": callable}`, to drop the connection."""

CLOSED_EXTENSION: Final = "relay.closed"
"""In a `websocket.disconnect` message, where the server has it: why the relay closed, when it was not the client."""

CLOSE_TIMEOUT = 1.0
"""Seconds a closing connection has to take what is left for it."""


class Connection:
    """Frames wait here, at most `limit` bytes of them, for one writer.

    A reader that is too slow for that is closed, and nobody else waits for it.
    """

    def __init__(
        self,
        *,
        send: Callable[[Frame], Awaitable[None]],
        send_close: Callable[[CloseReason], Awaitable[None]],
        abort: Callable[[], None],
        limit: int,
        metrics: Metrics,
    ) -> None:
        self._send = send
        self._send_close = send_close
        self._abort = abort
        self._limit = limit
        self._metrics = metrics
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._reason: CloseReason | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> CloseReason | None:
        """Why the relay closes this connection; None while it does not."""
        return self._reason

    def write(self, frame: Frame) -> None:
        """Queue a frame; past the limit, close as too slow instead."""
        if self._reason is not None:
            return
        self._bytes += len(frame.data)
        if self._bytes > self._limit:
            self._frames.clear()
            self.close(SLOW)
            return
        self._frames.append(frame)
        self._wake.set()

    def close(self, reason: CloseReason) -> None:
        """Close after what is queued, or after a second, whichever is first. Only the first reason counts."""
        if self._reason is None:
            self._reason = reason
            self._metrics.closed.labels(reason.name).inc()
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._abort)
            self._wake.set()

    async def run_writer(self) -> None:
        """Write until closed; ends also when the client is gone (OSError of `send`)."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._frames:
                    frame = self._frames.popleft()
                    await self._send(frame)
                    self._bytes -= len(frame.data)
                    self._metrics.messages_out.inc()
                    self._metrics.bytes_out.inc(len(frame.data))
                if self._reason is not None:
                    await self._send_close(self._reason)
                    return
        except OSError:
            return

    def gone(self) -> None:
        """The client's side has ended: nothing is written any more."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._frames.clear()
