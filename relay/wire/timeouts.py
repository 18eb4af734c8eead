"""Timeouts of one length: one timer serves those of all connections."""

import asyncio
from collections import deque
from collections.abc import Callable

from relay.tasks import guarded


class Timeout:
    """A callback that is due at a time of the event loop; None once it was called or cancelled."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], object] | None) -> None:
        self.at = at
        self.callback = callback

    def cancel(self) -> None:
        """Do not call back, and refer to nothing any more."""
        self.callback = None


class Timeouts:
    """Calls back when `seconds` are over.

    Thousands of clients may come or go at once. A timer of the event loop for each of them, which is cancelled a moment
    later, costs several times as much as a place in a line.
    """

    def __init__(self, seconds: float, name: str) -> None:
        self._seconds = seconds
        # In the order in which they are due, as all are equally long.
        self._line: deque[Timeout] = deque()
        self._name = name
        self._waits = False
        # Known from the first timeout on: each question for the running loop is a system call (`getpid`).
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, callback: Callable[[], object]) -> Timeout:
        """Call back when the time is over."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        line = self._line
        while line and line[0].callback is None:
            line.popleft()
        timeout = Timeout(loop.time() + self._seconds, callback)
        line.append(timeout)
        if not self._waits:
            self._waits = True
            loop.call_later(self._seconds, self._call)
        return timeout

    def _call(self) -> None:
        """Call those that are due, and wait for the next one."""
        loop, line = asyncio.get_running_loop(), self._line
        now = loop.time()
        while line and (line[0].callback is None or line[0].at <= now):
            callback, line[0].callback = line[0].callback, None
            line.popleft()
            if callback is not None:
                guarded(callback, self._name)
        self._waits = bool(line)
        if line:
            loop.call_later(max(0.001, line[0].at - now), self._call)
