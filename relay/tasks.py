"""Background tasks with an owner, which logs the cause when one dies, and starts a loop again.

The event loop itself holds tasks weakly: without an owner, a task may be collected while it waits, and an exception
that ends it is reported when the task is collected, if at all.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from relay.limits import Clock

log = logging.getLogger("relay.tasks")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds between the death of a loop and its next start: doubled with each death, up to the longest."""

_STEADY = 1.0
"""Seconds that a loop must run, after its last death, to count as running again."""

_RECOVERED = 60.0
"""Seconds that a loop must run for its next death to count as the first one."""


class KeptLoop:
    """Runs `run` as a task until it is stopped; a run that ends is logged with its cause, and begun again.

    The pauses between the starts grow from 0.1 s to 10 s. A traceback is logged when the cause changes. `name` is for
    the log and for health.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]], name: str, clock: Clock = time.monotonic) -> None:
        self.name = name
        self._run = run
        self._clock = clock
        self._cause = ""
        self._running = False
        self._began = clock()
        self.task = asyncio.create_task(self._keep(), name=name)

    @property
    def problem(self) -> str:
        """The cause of the last death, until the loop has run for a second; "" if it runs."""
        if self.task.done():
            return "has ended"
        # First, as nearly all loops have never died: each join asks for this.
        if not self._cause or (self._running and self._clock() - self._began >= _STEADY):
            return ""
        return self._cause

    async def stop(self) -> None:
        """Cancel the loop, and wait until it has ended."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self.task.cancelling():
            self._began, self._running = self._clock(), True
            error: BaseException | None = None
            try:
                await self._run()
            except asyncio.CancelledError as cancelled:
                if self.task.cancelling():
                    raise
                # The loop awaited a future that another task cancelled.
                error = cancelled
            except Exception as failure:
                error = failure
            self._running = False
            if self._clock() - self._began >= _RECOVERED:
                pause, self._cause = _FIRST_PAUSE, ""
            self._note(error, pause)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _note(self, error: BaseException | None, pause: float) -> None:
        cause = f"died of {describe(error)}" if error else "ended by itself"
        log.error(
            "background task %s %s; it starts again in %.1f s; please report it", self.name, cause, pause,
            exc_info=error if cause != self._cause else None,
        )  # fmt: skip
        self._cause = cause


class BackgroundTasks:
    """Owns tasks that no caller awaits, and loops that must not end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[KeptLoop] = []

    def __len__(self) -> int:
        """How many of the tasks still run."""
        return len(self._tasks) + sum(not loop.task.done() for loop in self._loops)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task; `name` is for the log."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> KeptLoop:
        """Run a loop, and start it again if it dies; `name` is for the log and for health."""
        loop = KeptLoop(run, name)
        self._loops.append(loop)
        return loop

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        tasks = [*self._tasks, *(loop.task for loop in self._loops)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        log_death(task)


def log_death(task: asyncio.Future[Any]) -> None:
    """Log the cause if a task has died; for the tasks that no caller awaits, as a callback for their end."""
    if task.cancelled():
        if isinstance(task, asyncio.Task) and not task.cancelling():
            log.error("background task %s was cancelled from inside; please report it", task.get_name())
        return
    error = task.exception()
    if error is not None:
        name = task.get_name() if isinstance(task, asyncio.Task) else "without a name"
        log.error("background task %s died of an unexpected error; please report it", name, exc_info=error)


def guarded(callback: Callable[[], object], name: str) -> None:
    """Call back, and log an error instead of raising it: the next steps of the caller must not depend on it."""
    try:
        callback()
    except Exception:
        log.exception("%s failed; other work is not affected; please report it", name)


def describe(error: BaseException) -> str:
    """Return the type of an error and its text, at most 200 characters of it."""
    text = str(error)[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
