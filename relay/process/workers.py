"""Putting a worker on its sockets: alone in this process, or as one of several under a supervisor."""

import contextlib
import logging
import os
import resource
import socket
import ssl
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from relay import logs
from relay.app import create_app
from relay.config import Settings
from relay.process.server import ListenSocket, Server, bind, bind_path, run, tls_context

log = logging.getLogger("relay.process.workers")

_OTHER_FILES = 256
"""What a worker opens beside its clients' connections, at most: listeners, Redis, requests for health and metrics."""


@dataclass(frozen=True, slots=True)
class OpenSockets:
    """What was opened before anything runs, so that whatever cannot be had is said at once."""

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket]
    tls: ssl.SSLContext | None

    @property
    def port(self) -> int:
        """The public port, also where the settings left the choice to the system."""
        return int(self.public[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more, as far as this process is concerned."""
        for sock in (*self.public, *self.admin):
            sock.close()


class WorkerSpec(msgspec.Struct, frozen=True):
    """What a supervisor tells a worker process, in one line on its standard input, which then stays open."""

    settings: Settings
    index: int
    public: list[int]
    admin: list[int]
    local_workers: list[str]


def open_sockets(settings: Settings) -> OpenSockets:
    """Read the certificate and take the ports; raise `BadCertificate` or `CannotListen`."""
    tls = tls_context(settings)
    public = bind(settings.host, settings.port)
    try:
        return OpenSockets(public, bind(*settings.admin_address) if settings.admin_address else (), tls)
    except BaseException:
        for sock in public:
            sock.close()
        raise


def serve_alone(settings: Settings, opened: OpenSockets) -> None:
    """Serve in this process until a signal comes."""
    settings = within_open_files(settings)
    listeners = [*(ListenSocket(sock, opened.tls) for sock in opened.public), *map(ListenSocket, opened.admin)]
    run(_server(settings, listeners, local_workers=()))


def serve_as_worker() -> None:
    """Be one of several workers: read a `WorkerSpec` from standard input, and serve until told to stop."""
    supervisor = os.getppid()
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSpec)
    settings = spec.settings
    if settings.worker_id:
        settings = msgspec.structs.replace(settings, worker_id=f"{settings.worker_id}-{spec.index}")
    logs.configure(settings.log_level, settings.log_format, worker=settings.worker_id or f"pid {os.getpid()}")
    settings = within_open_files(settings)
    tls = tls_context(settings)
    path = Path(spec.local_workers[spec.index])
    path.unlink(missing_ok=True)  # of a worker that was killed
    listeners = [
        *(ListenSocket(socket.socket(fileno=fd), tls, shared=True) for fd in spec.public),
        *(ListenSocket(socket.socket(fileno=fd), shared=True) for fd in spec.admin),
        ListenSocket(bind_path(str(path))),
    ]
    try:
        run(_server(settings, listeners, local_workers=spec.local_workers, leash=sys.stdin.fileno()))
    finally:
        _remove(path, orphaned=os.getppid() != supervisor)


def within_open_files(settings: Settings) -> Settings:
    """Have the system allow as many open files as `max_connections` needs; where it does not, lower that and say so.

    So clients past it are refused with `worker_full` and find another worker, instead of waiting for an accept.
    """
    wanted = settings.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY or soft >= settings.max_connections + _OTHER_FILES:
        return settings
    lowered = max(1, soft - _OTHER_FILES)
    log.warning(
        "max_connections is %d here and not %d: the system allows %d open files (ulimit -n, LimitNOFILE=)",
        lowered,
        settings.max_connections,
        soft,
    )
    return msgspec.structs.replace(settings, max_connections=lowered)


def _server(
    settings: Settings, listeners: Sequence[ListenSocket], *, local_workers: Sequence[str], leash: int | None = None
) -> Server:
    app = create_app(settings, local_workers=local_workers)

    def drain() -> Awaitable[None]:
        done: Awaitable[None] = app.state.worker.drain()
        return done

    def on_timeout() -> None:
        app.state.worker.metrics.closed.labels("request_timeout").inc()

    return Server(app, settings, listeners, drain=drain, on_timeout=on_timeout, leash=leash)


def _remove(path: Path, *, orphaned: bool) -> None:
    """Remove a socket; once the supervisor is gone, also their directory, after the last one."""
    with contextlib.suppress(OSError):
        path.unlink()
        if orphaned:
            path.parent.rmdir()
