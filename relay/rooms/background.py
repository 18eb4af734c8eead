"""Background tasks with an owner, which keeps a reference to each and logs the error of a task that fails."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("relay.rooms.background")


class BackgroundTasks:
    """Owns tasks that no caller awaits.

    The event loop itself holds tasks weakly: without an owner, a task may be collected while it waits, and an exception
    that ends it is reported when the task is collected, if at all.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many of the tasks still run."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task; `name` is for the log."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "background task %s died of an unexpected error; please report it", task.get_name(), exc_info=error
            )
