"""Handshakes and losses in small helpings, so that a storm of them leaves time for those who are here."""

import asyncio
from collections import deque
from collections.abc import Callable

_HELPING = 8


class Throttle:
    """Begins what it is given in order, at most eight in one turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()

    def add(self, begin: Callable[[], object]) -> None:
        """Call this soon."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append(begin)

    def finish(self) -> None:
        """Begin all that waits, now: there is no later."""
        while self._waiting:
            self._waiting.popleft()()

    def _turn(self) -> None:
        for _ in range(min(_HELPING, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
