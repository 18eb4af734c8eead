"""Running a worker on its sockets: alone in this process, or as one of several under a supervisor."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import msgspec

from relay import logs
from relay.app import create_app
from relay.config import ListenAddress, Settings
from relay.model.workers import LocalWorkers, Owner
from relay.process.certificate import Certificate, certificate_of, reload_certificate
from relay.process.memory import exempt_from_collection, return_large_blocks
from relay.process.open_files import within_open_files
from relay.process.own_address import forward_address
from relay.process.server import CannotListen, ListenSocket, Server, bind, bind_path, has_terminal, run

log = logging.getLogger("relay.process.workers")


@dataclass(frozen=True, slots=True)
class OpenSockets:
    """The listening sockets and the certificate; opened before anything starts, so that errors show at once."""

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket]
    tls: Certificate | None
    forward: ListenAddress | None = None
    """Where the first worker listens for requests of other replicas."""

    @property
    def port(self) -> int:
        """The public port, also where port 0 left the choice to the system."""
        return int(self.public[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening in this process; other processes that share the sockets go on."""
        for sock in (*self.public, *self.admin):
            sock.close()


class WorkerSpec(msgspec.Struct, frozen=True):
    """The start values of a worker process; one line of JSON on its standard input, which then stays open.

    `public` and `admin` are file descriptors that the process inherits. `local_workers` are the paths of the unix
    sockets of all workers behind the port, and `index` is the number of this worker in that list. `group` names them
    all, in hex. `forward` is where the first of them listens for requests of other replicas; each other one uses the
    port that follows.
    """

    settings: Settings
    index: int
    public: list[int]
    admin: list[int]
    local_workers: list[str]
    group: str
    forward: ListenAddress | None = None


def open_sockets(settings: Settings) -> OpenSockets:
    """Read the certificate and bind the ports; raise `BadCertificate` or `CannotListen`."""
    tls = certificate_of(settings)
    forward = forward_address(settings)
    public = bind(settings.host, settings.port)
    try:
        # Each worker opens its own socket for other replicas; here it only shows whether all of them can.
        for index in range(settings.workers if forward else 0):
            for listener in _forward_listeners(settings, forward, index):
                listener.socket.close()
        return OpenSockets(public, bind(*settings.admin_address) if settings.admin_address else (), tls, forward)
    except BaseException:
        for sock in public:
            sock.close()
        raise


def run_single_worker(settings: Settings, sockets: OpenSockets) -> None:
    """Serve in this process until a signal comes."""
    settings = within_open_files(settings)
    listeners = [
        *(ListenSocket(sock, sockets.tls.context if sockets.tls else None) for sock in sockets.public),
        *(ListenSocket(sock, reserved=True) for sock in sockets.admin),
        *_forward_listeners(settings, sockets.forward, 0),
    ]
    local = LocalWorkers(forward_address=_address_of(sockets.forward, 0))
    on_reload = None if has_terminal() else partial(reload_certificate, sockets.tls)
    run(_server(settings, listeners, local, on_reload=on_reload))


def run_supervised_worker() -> None:
    """Serve as one of several workers: read a `WorkerSpec` from standard input, and serve until a signal comes."""
    supervisor = os.getppid()
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSpec)
    settings = spec.settings
    if settings.worker_id:
        settings = msgspec.structs.replace(settings, worker_id=f"{settings.worker_id}-{spec.index}")
    logs.configure(settings.log_level, settings.log_format, worker=settings.worker_id or f"pid {os.getpid()}")
    settings = within_open_files(settings)
    tls = certificate_of(settings)
    path = Path(spec.local_workers[spec.index])
    check_private(path.parent)
    path.unlink(missing_ok=True)  # a worker that was killed has left its socket behind
    # All workers accept on the same sockets, and the kernel wakes one of them for each connection. The unix socket is
    # this worker's own: through it, the supervisor and the other workers reach exactly this one.
    listeners = [
        *(ListenSocket(socket.socket(fileno=fd), tls.context if tls else None, shared=True) for fd in spec.public),
        *(ListenSocket(socket.socket(fileno=fd), shared=True, reserved=True) for fd in spec.admin),
        ListenSocket(bind_path(str(path)), kind="local"),
        *_forward_listeners(settings, spec.forward, spec.index),
    ]
    local = LocalWorkers(
        Owner(bytes.fromhex(spec.group), spec.index), spec.local_workers, _address_of(spec.forward, spec.index)
    )
    try:
        # The supervisor holds the other end of standard input open: end of file means that it is dead.
        on_reload = partial(reload_certificate, tls)
        run(_server(settings, listeners, local, on_reload=on_reload, supervisor_pipe=sys.stdin.fileno()))
    finally:
        _remove_socket(path, orphaned=os.getppid() != supervisor)


def check_private(folder: Path) -> None:
    """Raise `CannotListen` if another user may enter a folder: a process that reaches the sockets in it is trusted."""
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise CannotListen(f"unix sockets in {folder}: other users may enter this folder")


def _server(
    settings: Settings,
    listeners: Sequence[ListenSocket],
    local: LocalWorkers,
    *,
    on_reload: Callable[[], object] | None,
    supervisor_pipe: int | None = None,
) -> Server:
    return_large_blocks()
    app = create_app(settings, local)
    exempt_from_collection()

    def drain() -> Awaitable[None]:
        done: Awaitable[None] = app.state.worker.drain()
        return done

    def on_timeout() -> None:
        app.state.worker.metrics.closed.labels("request_timeout").inc()

    def on_limit(limit: str) -> None:
        app.state.worker.metrics.wire_limits.labels(limit).inc()

    def on_stranger() -> None:
        app.state.worker.metrics.forward_refusals.labels("stranger").inc()

    return Server(
        app,
        settings,
        listeners,
        drain=drain,
        on_timeout=on_timeout,
        on_limit=on_limit,
        on_stranger=on_stranger,
        on_reload=on_reload,
        supervisor_pipe=supervisor_pipe,
    )


def _forward_listeners(settings: Settings, forward: ListenAddress | None, index: int) -> list[ListenSocket]:
    if forward is None:
        return []
    networks = [ip_network(text) for text in settings.forward_networks]
    return [
        ListenSocket(sock, kind="forwarding", networks=networks) for sock in bind(forward.host, forward.port + index)
    ]


def _address_of(forward: ListenAddress | None, index: int) -> str:
    """Return the address of a worker's listener for other replicas as `IP:PORT`, "" without one."""
    if forward is None:
        return ""
    host = f"[{forward.host}]" if ":" in forward.host else forward.host
    return f"{host}:{forward.port + index}"


def _remove_socket(path: Path, *, orphaned: bool) -> None:
    """Remove a unix socket; without a supervisor that would do it, the last worker also removes the folder."""
    with contextlib.suppress(OSError):
        path.unlink()
        if orphaned:
            path.parent.rmdir()
