"""Large messages of all clients of a worker, one at a time: JSON of a megabyte is slow to read."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from relay.limits import Clock
from relay.tasks import guarded

LARGE: Final = 16_384
"""Bytes from which on a message is served in its turn."""

_REST: Final = 9
"""For how many times as long as a message took the others are served before the next one: it takes a tenth at most."""

_SLACK: Final = 0.005
"""Seconds of rest that may be owed: ordinary large messages take so little time that they never wait."""


class LargeMessages:
    """Serves large messages: at once while they cost little, else in turns, with a rest after each.

    The time that a message takes the CPU counts, and not its size. While messages wait, addresses take turns;
    those of one address are served in the order in which they came. A caller adds no message of a connection before
    the last one is served.
    """

    def __init__(self, clock: Clock = time.monotonic, cpu: Clock = time.thread_time) -> None:
        self._clock = clock
        self._cpu = cpu
        self._waiting: dict[str, deque[Callable[[], object]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        # When all rests are over.
        self._due = 0.0

    def serve(self, address: str, work: Callable[[], object]) -> bool:
        """Call `work` at once and return True; or return False, and call it in its turn."""
        if self._timer is None and self._due - self._clock() <= _SLACK:
            self._run(work)
            return True
        self._waiting.setdefault(address, deque()).append(work)
        self._schedule()
        return False

    async def turn(self, address: str, work: Callable[[], object]) -> None:
        """Call `work` in its turn; raises the errors of `work`."""
        done = asyncio.get_running_loop().create_future()

        def run() -> None:
            if done.done():
                return  # The caller was cancelled.
            try:
                work()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self.serve(address, run)
        await done

    def _schedule(self) -> None:
        if self._timer is None:
            delay = max(0.0, self._due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._next)

    def _next(self) -> None:
        """Serve the oldest message of the address whose turn it is."""
        self._timer = None
        address = next(iter(self._waiting))
        works = self._waiting.pop(address)
        work = works.popleft()
        if works:
            self._waiting[address] = works
        try:
            self._run(work)
        finally:
            if self._waiting:
                self._schedule()

    def _run(self, work: Callable[[], object]) -> None:
        began = self._cpu()
        guarded(work, "a large message")
        took = self._cpu() - began
        self._due = max(self._due, self._clock()) + took * _REST
