"""Starts workers without the half second that each would need for its imports.

Each process of tests has another one that has imported the relay. A worker is a fork of that, with an environment of
its own, and runs `relay serve` from the command line on. Workers that need another interpreter, or a library that is
loaded before it, are started as usual.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, Any

_LIMIT = 65_536


class Fork:
    """A forked process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status."""
        found = self._look(timeout)
        if found is None:
            raise subprocess.TimeoutExpired("relay serve", timeout or 0)
        return found

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # It may have ended in between; its parent keeps the number until it has told the status.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            text = os.read(self._status, 100)
            os.close(self._status)
            self.returncode = int(text) if text else -signal.SIGKILL
        return self.returncode


class _Parent:
    """The process that has imported the relay."""

    def __init__(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(there.fileno())],
            pass_fds=[there.fileno()], env=environ | {"PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        there.close()
        self._socket = here
        atexit.register(self._end)

    def fork(self, arguments: Sequence[str], environ: Mapping[str, str], log: IO[bytes]) -> Fork:
        ours, theirs = os.pipe()
        request = json.dumps([list(arguments), dict(environ)]).encode()
        socket.send_fds(self._socket, [request], [log.fileno(), theirs])
        os.close(theirs)
        return Fork(int(self._socket.recv(100)), ours)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _parent() -> _Parent:
    return _Parent()


def serve(arguments: Sequence[str], environ: Mapping[str, str], log: IO[bytes]) -> Fork:
    """Run the command `relay` with these arguments in a process of its own, which writes to the log."""
    return _parent().fork(arguments, environ, log)


# In the other process.


def _run(arguments: Sequence[str], environ: Mapping[str, str], log: int) -> Any:
    """Be the command `relay`; does not return."""
    from relay.cli import main

    status: Any = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = ["relay", *arguments]
        main(arguments, prog_name="relay", standalone_mode=True)
    except SystemExit as end:
        status = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


def _reap(running: dict[int, int]) -> None:
    """Tell the status of those that have ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        told = running.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(told)


def _listen(sock: socket.socket) -> None:
    """Fork as asked, until the tests have ended."""
    import relay.app
    import relay.cli.serve
    import relay.process.workers
    from relay.config import Settings

    # It imports the gateways, and compresses the pages.
    relay.app.create_app(Settings())
    gc.collect()
    gc.freeze()
    running: dict[int, int] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    while True:
        ready, _, _ = select.select([sock, woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            _reap(running)
        if sock in ready:
            request, descriptors, _, _ = socket.recv_fds(sock, _LIMIT, 2)
            if not request:
                return
            (arguments, environ), (log, told) = json.loads(request), descriptors
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                _run(arguments, environ, log)
            running[pid] = told
            os.close(log)
            sock.send(str(pid).encode())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _listen(socket.socket(fileno=int(sys.argv[1])))
