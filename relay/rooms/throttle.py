"""Handshakes and lost connections in small batches, so that thousands at once do not stop the worker's other work."""

import asyncio
from collections import deque
from collections.abc import Callable

from relay.tasks import guarded

_BATCH = 8
"""Callbacks in one turn of the event loop: few enough that a message behind them is not delayed noticeably."""


_NAME = "a handshake, or the end of a connection,"


class Throttle:
    """Calls back in order, at most eight times in one turn of the event loop, so that sockets are served in between.

    When a load balancer or another worker dies, thousands of clients connect or are lost at the same time. If the
    worker served all of them in one turn, every message of the connected clients would wait.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._called = 0
        self._finished = False

    def add(self, callback: Callable[[], object]) -> None:
        """Call back soon."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append(callback)

    def call(self, callback: Callable[[], object]) -> None:
        """Call back now; soon, if others wait, or eight calls were made in this turn."""
        if self._finished or (not self._waiting and self._called < _BATCH):
            if not self._called:
                asyncio.get_running_loop().call_soon(self._begin_turn)
            self._called += 1
            callback()
        else:
            self.add(callback)

    def finish(self) -> None:
        """Call back all that wait, and from now on all others at once: the event loop is about to end."""
        self._finished = True
        while self._waiting:
            guarded(self._waiting.popleft(), _NAME)

    def _begin_turn(self) -> None:
        self._called = 0

    def _turn(self) -> None:
        for _ in range(min(_BATCH, len(self._waiting))):
            # The others behind it are other clients.
            guarded(self._waiting.popleft(), _NAME)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
