"""Several workers behind one port: one process that starts them, listens to their health, and replaces them."""

import asyncio
import contextlib
import json
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from relay.config import Settings
from relay.http.local_workers import NoReply, ask
from relay.process.server import SIGNALS
from relay.process.workers import OpenSockets, WorkerSpec

log = logging.getLogger("relay.process.supervisor")

WORKER_COMMAND: Final = (sys.executable, "-m", "relay", "worker")
"""What is run for each worker; it finds its `WorkerSpec` on its standard input."""

_CLOSING = 5.0
"""Seconds a worker has, beyond the drain's delay and timeout, to end."""


@dataclass(frozen=True, slots=True)
class SupervisorTimeouts:
    """How long what is tolerated, in seconds."""

    between_questions: float = 1.0
    for_start: float = 30.0
    for_answer: float = 10.0
    for_health: float = 9.0
    """With a Redis that answers, a worker may be unready for this long."""
    at_most_between_starts: float = 10.0
    for_a_life: float = 10.0
    """A worker that ends sooner than this has failed to start, and the next attempt waits longer."""


def timeouts_of(settings: Settings) -> SupervisorTimeouts:
    """The patience that goes with the settings."""
    return SupervisorTimeouts(
        between_questions=min(1.0, settings.probe_timeout),
        for_answer=max(10.0, 3 * settings.probe_timeout),
        for_health=3 * settings.probe_timeout,
    )


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """Why a worker is replaced, and whether it may close its connections first."""

    text: str
    gently: bool


class Supervisor:
    """Keeps `settings.workers` processes serving on the opened sockets until a signal comes."""

    def __init__(
        self,
        settings: Settings,
        opened: OpenSockets,
        timeouts: SupervisorTimeouts,
        *,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._settings = settings
        self._opened = opened
        self._timeouts = timeouts
        self._command = command
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._local_workers: Sequence[str] = ()

    def stop(self) -> None:
        """Stop all workers, gently; called again, kill them."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()
        self._opened.close()

    async def run(self) -> None:
        """Run until stopped."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        directory = tempfile.mkdtemp(prefix="relay-")
        self._local_workers = [f"{directory}/{index}.sock" for index in range(self._settings.workers)]
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(self._settings.workers):
                    group.create_task(self._keep(index))
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _keep(self, index: int) -> None:
        loop, attempts = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            try:
                worker, started = await self._start(index), loop.time()
            except OSError as error:
                attempts += 1
                pause = self._pause(attempts + 1)
                log.error("worker %d cannot be started: %s; tried again in %.1f s", index, error, pause)
                await _first(self._stopping.wait(), asyncio.sleep(pause))
                continue
            log.info("worker %d is process %d", index, worker.pid)
            try:
                decision = await self._watch(index, worker)
                if decision is not None:
                    log.error("worker %d (process %d) %s; it is stopped", index, worker.pid, decision.text)
                await self._end(worker, gently=decision is None or decision.gently)
            finally:
                if worker.returncode is None:
                    worker.kill()
            if self._stopping.is_set():
                return
            attempts = 0 if loop.time() - started > self._timeouts.for_a_life else attempts + 1
            pause = self._pause(attempts)
            log.error(
                "worker %d (process %d) %s; another one starts %s",
                index,
                worker.pid,
                _how_it_ended(worker.returncode),
                f"in {pause:.1f} s" if pause else "now",
            )
            await _first(self._stopping.wait(), asyncio.sleep(pause))

    def _pause(self, attempts: int) -> float:
        """Seconds until the next start, after so many in a row that came to nothing."""
        return min(self._timeouts.at_most_between_starts, 0.1 * 2 ** min(attempts, 20)) if attempts > 1 else 0.0

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        public = [sock.fileno() for sock in self._opened.public]
        admin = [sock.fileno() for sock in self._opened.admin]
        # A session of its own: an interrupt from the terminal is for the supervisor alone.
        worker = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(*public, *admin),
            start_new_session=True,
        )
        spec = WorkerSpec(self._settings, index, public, admin, list(self._local_workers))
        if worker.stdin is not None:
            worker.stdin.write(msgspec.json.encode(spec) + b"\n")
            with contextlib.suppress(OSError):  # it has ended already, which is seen soon enough
                await worker.stdin.drain()
        return worker

    async def _watch(self, index: int, worker: asyncio.subprocess.Process) -> RestartDecision | None:
        """Wait until a worker ends, or all have to (None), or this one has to: why."""
        judging = asyncio.ensure_future(self._judge(self._local_workers[index]))
        await _first(judging, worker.wait(), self._stopping.wait())
        return None if judging.cancelled() else judging.result()

    async def _judge(self, path: str) -> RestartDecision:
        """Ask a worker how it is until it must be replaced."""
        now, timeouts = asyncio.get_running_loop().time, self._timeouts
        answers_by, well_by = now() + timeouts.for_start, now() + timeouts.for_start
        while True:
            await asyncio.sleep(timeouts.between_questions)
            answer = await ask(path, "/health?scope=worker", seconds=timeouts.for_answer)
            if isinstance(answer, NoReply):
                if now() > answers_by:
                    return RestartDecision(f"does not answer ({answer.text})", gently=False)
                continue
            answers_by = now() + timeouts.for_answer
            ailments = _ailments(answer.body)
            if not ailments:
                well_by = now() + timeouts.for_health
            elif now() > well_by:
                return RestartDecision(f"is not well though Redis answers ({ailments})", gently=True)

    async def _end(self, worker: asyncio.subprocess.Process, *, gently: bool) -> None:
        if worker.returncode is None and gently:
            worker.send_signal(signal.SIGTERM)
            timeouts = self._settings.drain_delay + self._settings.drain_timeout + _CLOSING
            await _first(worker.wait(), self._forced.wait(), asyncio.sleep(timeouts))
        if worker.returncode is None:
            if gently:
                log.error("process %d did not end in time; it is killed", worker.pid)
            worker.kill()
        await worker.wait()


def supervise(settings: Settings, opened: OpenSockets) -> None:
    """Run the workers until a signal comes."""

    async def main() -> None:
        await Supervisor(settings, opened, timeouts_of(settings)).run()

    asyncio.run(main())


def _ailments(report: bytes) -> str:
    """What is wrong with a worker that a new one would not have: everything, unless Redis is away."""
    try:
        checks = json.loads(report)["checks"]
        ill = {name: check["text"] for name, check in checks.items() if not check["ok"]}
    except (ValueError, TypeError, LookupError) as error:
        return f"its health cannot be read: {type(error).__name__}"
    if "redis" in ill or "draining" in ill:
        return ""
    return ", ".join(f"{name}: {text}" for name, text in ill.items())


def _how_it_ended(status: int | None) -> str:
    if status is None or status >= 0:
        return f"has ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


async def _first(*work: Coroutine[Any, Any, object] | asyncio.Future[Any]) -> None:
    """Wait for whichever ends first, and cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
