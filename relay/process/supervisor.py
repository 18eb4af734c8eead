"""Several workers behind one port: the supervisor starts them, asks for their health, and replaces those that fail."""

import asyncio
import contextlib
import json
import logging
import shutil
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from relay.config import Settings
from relay.http.local_workers import NoReply, ask
from relay.model.workers import new_group
from relay.process.certificate import reload_certificate
from relay.process.server import SIGNALS, has_terminal
from relay.process.socket_folder import make_socket_folder
from relay.process.workers import OpenSockets, WorkerSpec
from relay.tasks import log_death

log = logging.getLogger("relay.process.supervisor")

WORKER_COMMAND: Final = (sys.executable, "-m", "relay", "worker")
"""The command of a worker process, which reads its `WorkerSpec` from standard input."""

_CLOSING = 5.0
"""Seconds in which a worker must end after the drain's delay and timeout."""


@dataclass(frozen=True, slots=True)
class SupervisorTimeouts:
    """How long the supervisor waits for a worker, in seconds."""

    poll_interval: float = 1.0
    start: float = 30.0
    reply: float = 10.0
    unhealthy: float = 9.0
    """A worker may be unhealthy for this long although Redis answers."""
    max_restart_delay: float = 10.0
    failed_start: float = 10.0
    """A worker that ends sooner than this counts as a failed start, and the next start waits longer."""


def timeouts_of(settings: Settings) -> SupervisorTimeouts:
    """Derive the timeouts from the probe timeout, within which a worker notices a broken subscription itself."""
    return SupervisorTimeouts(
        poll_interval=min(1.0, settings.probe_timeout),
        reply=max(10.0, 3 * settings.probe_timeout),
        unhealthy=3 * settings.probe_timeout,
    )


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """Why a worker is replaced; `graceful` if it can still close its connections first."""

    reason: str
    graceful: bool


class Supervisor:
    """Keeps `settings.workers` worker processes running on the opened sockets until a signal comes."""

    def __init__(
        self,
        settings: Settings,
        sockets: OpenSockets,
        timeouts: SupervisorTimeouts,
        *,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._timeouts = timeouts
        self._command = command
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._local_workers: Sequence[str] = ()
        self._group = new_group()
        self._reloads = 0

    def stop(self) -> None:
        """Stop all workers gracefully; a second call kills them."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()
        # The workers close their copies when they drain; once all copies are closed, the system refuses connections.
        self._sockets.close()

    def reload(self) -> None:
        """Have each worker read the certificate again, if it can be used; those that start later read it anyway."""
        if not self._stopping.is_set() and reload_certificate(self._sockets.tls):
            self._reloads += 1

    async def run(self) -> None:
        """Run the workers until they are stopped."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.stop if has_terminal() else self.reload)
        # Only this user may enter the folder, so only processes of this user reach the workers' unix sockets.
        directory = make_socket_folder(self._settings.workers)
        self._local_workers = [f"{directory}/{index}.sock" for index in range(self._settings.workers)]
        try:
            # A task that fails by a defect ends the others, and with them this process: a service manager restarts it.
            async with asyncio.TaskGroup() as group:
                for index in range(self._settings.workers):
                    task = group.create_task(self._keep_running(index), name=f"supervision of worker {index}")
                    task.add_done_callback(log_death)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _keep_running(self, index: int) -> None:
        """Start worker number `index`, and start it again whenever it ends."""
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            try:
                process, started = await self._start(index), loop.time()
            except OSError as error:
                failures += 1
                delay = self._restart_delay(failures + 1)
                log.error("worker %d cannot be started (%s); next attempt in %.1f s", index, error, delay)
                await _first(self._stopping.wait(), asyncio.sleep(delay))
                continue
            log.info("worker %d is process %d", index, process.pid)
            await self._run_until_end(index, process)
            if self._stopping.is_set():
                return
            failures = 0 if loop.time() - started > self._timeouts.failed_start else failures + 1
            delay = self._restart_delay(failures)
            log.error(
                "worker %d (process %d) %s; a new one starts %s",
                index,
                process.pid,
                describe_end(process.returncode),
                f"in {delay:.1f} s" if delay else "now",
            )
            await _first(self._stopping.wait(), asyncio.sleep(delay))

    async def _run_until_end(self, index: int, process: asyncio.subprocess.Process) -> None:
        """Wait until a worker process has ended; stop it when it fails its health checks, or all workers stop."""
        try:
            decision = await self._watch(index, process)
            if decision is not None:
                log.error("worker %d (process %d) %s; it is stopped", index, process.pid, decision.reason)
            await self._end(process, graceful=decision is None or decision.graceful)
        finally:
            # Cancelled while waiting: no worker may outlive its supervisor.
            if process.returncode is None:
                process.kill()

    def _restart_delay(self, failures: int) -> float:
        """Seconds until the next start after so many failed starts in a row; the first restart is immediate."""
        return min(self._timeouts.max_restart_delay, 0.1 * 2 ** min(failures, 20)) if failures > 1 else 0.0

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        public = [sock.fileno() for sock in self._sockets.public]
        admin = [sock.fileno() for sock in self._sockets.admin]
        # In a session of its own: Ctrl-C in the terminal signals the supervisor, and not all processes at once.
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(*public, *admin),
            start_new_session=True,
        )
        spec = WorkerSpec(
            self._settings,
            index,
            public,
            admin,
            list(self._local_workers),
            self._group.hex(),
            self._sockets.forward,
        )
        if process.stdin is not None:
            process.stdin.write(msgspec.json.encode(spec) + b"\n")
            with contextlib.suppress(OSError):  # the process has ended already, which `_watch` notices
                await process.stdin.drain()
        return process

    async def _watch(self, index: int, process: asyncio.subprocess.Process) -> RestartDecision | None:
        """Wait until a worker ends by itself or all workers stop (None), or until it must be replaced."""
        health = asyncio.ensure_future(self._check_health(self._local_workers[index], process))
        await _first(health, process.wait(), self._stopping.wait())
        return None if health.cancelled() else health.result()

    async def _check_health(self, path: str, process: asyncio.subprocess.Process) -> RestartDecision:
        """Ask a worker for its health until it must be replaced, and pass a reload on to it."""
        now, timeouts, reloads = asyncio.get_running_loop().time, self._timeouts, self._reloads
        reply_due = healthy_due = now() + timeouts.start
        while True:
            await asyncio.sleep(timeouts.poll_interval)
            reply = await ask(path, "/health?scope=worker", seconds=timeouts.reply)
            if isinstance(reply, NoReply):
                # Only the deadline counts, and not a single failure: a worker that is starting has no socket yet.
                if now() > reply_due:
                    return RestartDecision(f"does not answer ({reply.text})", graceful=False)
                continue
            reply_due = now() + timeouts.reply
            if reloads != self._reloads:
                # Only now that it answers: a process that has just begun would end by the signal.
                reloads = self._reloads
                process.send_signal(signal.SIGHUP)
            failed = failed_checks(reply.body)
            if not failed:
                healthy_due = now() + timeouts.unhealthy
            elif now() > healthy_due:
                return RestartDecision(f"is not healthy although Redis answers ({failed})", graceful=True)

    async def _end(self, process: asyncio.subprocess.Process, *, graceful: bool) -> None:
        """End a process: with SIGTERM and time to drain if `graceful`, then with SIGKILL."""
        if process.returncode is None and graceful:
            process.send_signal(signal.SIGTERM)
            seconds = self._settings.drain_delay + self._settings.drain_timeout + _CLOSING
            await _first(process.wait(), self._forced.wait(), asyncio.sleep(seconds))
        if process.returncode is None:
            if graceful:
                log.error("process %d did not end in time; it is killed", process.pid)
            process.kill()
        await process.wait()


def supervise(settings: Settings, sockets: OpenSockets) -> None:
    """Run the workers until a signal comes."""

    async def main() -> None:
        await Supervisor(settings, sockets, timeouts_of(settings)).run()

    asyncio.run(main())


def failed_checks(report: bytes) -> str:
    """The failed checks that a restart could repair, "" for none.

    While Redis is away, or the worker drains, a new worker would not be better, and a restart would cost connections.
    """
    try:
        checks = json.loads(report)["checks"]
        failed = {name: check["text"] for name, check in checks.items() if not check["ok"]}
    except (ValueError, TypeError, LookupError) as error:
        return f"its health cannot be read: {type(error).__name__}"
    if "redis" in failed or "draining" in failed:
        return ""
    return ", ".join(f"{name}: {text}" for name, text in failed.items())


def describe_end(status: int | None) -> str:
    """Say how a process ended; a negative status is the number of a signal."""
    if status is None or status >= 0:
        return f"has ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


async def _first(*work: Coroutine[Any, Any, object] | asyncio.Future[Any]) -> None:
    """Wait until one of these ends, and cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
