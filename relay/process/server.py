"""The server of one process: its listening sockets, its signals, and its graceful end."""

import asyncio
import contextlib
import logging
import os
import re
import shlex
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from relay.config import Settings
from relay.model.workers import LISTENER, Listener
from relay.process.open_files import files_for_clients
from relay.rooms.connection import CLOSE_TIMEOUT
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.throttle import Throttle
from relay.wire.gate import Gate, PeerGuard
from relay.wire.http import HttpProtocol
from relay.wire.http_connections import PER_SESSION, HttpConnections
from relay.wire.idle_connections import IdleConnections, Networks
from relay.wire.limits import WireLimits
from relay.wire.listener import HttpListener
from relay.wire.notices import LimitNotices
from relay.wire.timeouts import Timeouts
from relay.wire.unfinished import UnfinishedMessages
from relay.wire.websocket import WebSocketProtocol

log = logging.getLogger("relay.process.server")

_BACKLOG = 2048
_ACCEPTS = 4
"""Connections that clients' listeners accept in one turn of the event loop, at most.

libuv accepts one for each of its handles, so a listener has several. Handshakes of one turn share their polls, their
writes to Redis, and Redis's reads.
"""
_TICK = 0.02
_OTHER_KEY = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""OpenSSL's reasons for a key of another certificate; the last is for a key of another kind, such as EC and RSA."""
_CONGESTED = 65_536
"""Bytes in a connection's buffer from which writing to it counts as paused; see `WireLimits`."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CannotListen(Exception):
    """The process cannot listen on an address; the text says on which, and why."""


class BadCertificate(Exception):
    """The certificate or its key cannot be used; the text names the setting and the reason."""


@dataclass(frozen=True, slots=True)
class ListenSocket:
    """A socket to serve on; `shared` if other processes accept connections on it as well.

    With `networks`, connections from addresses outside them are dropped at once. A `reserved` listener takes
    connections also while nearly all files that the system allows are open.
    """

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    shared: bool = False
    kind: Listener = "public"
    reserved: bool = False
    networks: Networks = ()


def _ignore(*_: object) -> None:
    """Do nothing."""


class Server(uvicorn.Server):
    """Serves an application until a signal comes; then drains, closes, and ends with status 0.

    `drain` is awaited while the listeners are still open, so that the health endpoint reports it; only shared listeners
    are closed first, as other processes accept connections there. A second signal ends the server at once.
    `supervisor_pipe` is a pipe whose other end the supervisor holds open: its end of file means that the supervisor is
    dead, and stops the server too. `on_timeout` is called for each request that took too long to arrive, `on_limit`
    with the name of each limit of `relay.wire.notices` that acts, `on_stranger` for each connection from outside a
    listener's networks. `on_reload` is called on SIGHUP, which stops the server without it.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        listeners: Sequence[ListenSocket],
        *,
        drain: Callable[[], Awaitable[None]],
        on_timeout: Callable[[], None] = _ignore,
        on_limit: Callable[[str], None] = _ignore,
        on_stranger: Callable[[], None] = _ignore,
        on_reload: Callable[[], object] | None = None,
        supervisor_pipe: int | None = None,
    ) -> None:
        super().__init__(_configuration(app, settings.keep_alive_timeout))
        self._limits = _wire_limits(settings, self.server_state.connections, on_limit)
        proxies = [ip_network(text) for text in settings.trusted_proxies]
        self._idle = IdleConnections(settings.http_connections_per_address, proxies)
        self._http = HttpConnections(
            settings.http_connections_per_address + PER_SESSION * settings.connections_per_address
        )
        self._on_timeout = on_timeout
        self._on_stranger = on_stranger
        self._on_reload = on_reload or self.stop
        self._listeners = listeners
        self._drain = drain
        self._supervisor_pipe = supervisor_pipe
        self._handshake_timeout = settings.handshake_timeout
        self._forced = asyncio.Event()
        self._shared: list[asyncio.Server] = []

    def stop(self) -> None:
        """Begin to stop; a second call stops at once."""
        if self.should_exit:
            # uvicorn's own loop looks at `force_exit`; `_forced` ends the steps that this class adds.
            self.force_exit = True
            self._forced.set()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen, so that no client meets a worker without its backend."""
        # uvicorn listens first and starts the application then; this order is the reason for the override.
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        self.servers = []
        for listener in self._listeners:
            servers = await self._listen(listener)
            self.servers += servers
            if listener.shared:
                self._shared += servers
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close the connections that are left."""
        for server in self._shared:
            # A shared socket is still open in the other processes, so clients that connect now reach one of them.
            server.close()
        await self._unless_forced(self._drain())
        await self._unless_forced(self._until_closed())
        self._limits.throttle.finish()
        # uvicorn closes the listeners, connections that do not answer, and requests in progress.
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let signals stop the server.

        uvicorn's own implementation raises a signal again once the server has stopped, which would end the process
        with an error status.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        if self._supervisor_pipe is not None:
            loop.add_reader(self._supervisor_pipe, self._on_supervisor_pipe, loop, self._supervisor_pipe)
        try:
            yield
        finally:
            for number in (*SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _on_supervisor_pipe(self, loop: asyncio.AbstractEventLoop, pipe: int) -> None:
        # Empty at end of file. The supervisor writes nothing after the `WorkerSpec`, so anything else is ignored.
        if not os.read(pipe, 1024):
            loop.remove_reader(pipe)
            if not self.should_exit:
                log.warning("the supervisor of this worker has ended; this worker drains and stops")
                self.stop()

    async def _listen(self, listener: ListenSocket) -> list[asyncio.Server]:
        state = {**self.lifespan.state, LISTENER: listener.kind}
        common = HttpListener(
            self.config,
            self.server_state,
            state,
            self._limits,
            request_timeout=self._handshake_timeout,
            timeouts=Timeouts(self._handshake_timeout, "the timeout of a request"),
            on_timeout=self._on_timeout,
            guard=PeerGuard(listener.networks, self._on_stranger) if listener.networks else None,
            gate=self._gate_of(listener),
        )
        crowded = listener.kind == "public" and not listener.reserved
        sockets = [listener.socket, *(listener.socket.dup() for _ in range(_ACCEPTS - 1 if crowded else 0))]
        loop = asyncio.get_running_loop()
        return [
            await loop.create_server(
                partial(HttpProtocol, common),
                sock=sock,
                ssl=listener.tls,
                ssl_handshake_timeout=self._handshake_timeout if listener.tls else None,
                backlog=_BACKLOG,
            )
            for sock in sockets
        ]

    def _gate_of(self, listener: ListenSocket) -> Gate | None:
        """Make the gate of a listener that clients reach; the others connect workers of the fleet."""
        if listener.kind != "public":
            return None
        if listener.reserved:
            return Gate(self._idle, None, self._limits.notices, self._limits.connections)
        return Gate(self._idle, files_for_clients(), self._limits.notices, self._limits.connections, self._http)

    async def _until_closed(self) -> None:
        """Wait for the clients' close frames, for at most `CLOSE_TIMEOUT` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                # Polled, because uvicorn's set of connections has no event for "empty".
                while any(isinstance(one, WebSocketProtocol) for one in self.server_state.connections):  # noqa: ASYNC110
                    await asyncio.sleep(_TICK)

    async def _unless_forced(self, work: Awaitable[None]) -> None:
        """Run one step of stopping, unless a second signal comes; a failure is logged, and the next step follows."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._forced.wait())]
        # Both are awaited after their cancellation, so that no task outlives the server and no exception is lost.
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("a step of stopping failed; the worker goes on to stop", exc_info=result)


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on the same port of every address of `host`; raise `CannotListen` if none can be listened on.

    `::` stands for all addresses of both families.
    """
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"{host}: {error.strerror or error}") from None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        # With port 0 the system picks a free port for the first address; the others use the same. That an address fails
        # is an error only if all fail: `localhost` often has an IPv6 address on machines without IPv6.
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bound(family, (address[0], chosen, *address[2:]), both=host == "::"))
        except OSError as error:
            problem = error
    if not sockets and problem is not None:
        raise CannotListen(f"{host} port {port}: {problem.strerror}") from None
    return sockets


def bind_path(path: str) -> socket.socket:
    """Listen on a unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(_BACKLOG)
    return sock


def has_terminal() -> bool:
    """Whether the process runs in a terminal: then SIGHUP means that the terminal is gone, and not a reload."""
    with contextlib.suppress(OSError, ValueError):
        return os.isatty(0)
    return False


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Make the TLS context of the certificate settings, None without them; raise `BadCertificate`."""
    if not settings.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _check_pem("tls_cert", settings.tls_cert, b"CERTIFICATE")
    _check_pem("tls_key", settings.tls_key, b"PRIVATE KEY")
    encrypted = False

    def no_password() -> str:
        # Without this function, OpenSSL would ask for the password on the terminal.
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=no_password)
    except ssl.SSLError as error:
        if encrypted:
            raise BadCertificate(
                f"tls_key: {settings.tls_key!r} is encrypted, and the relay has no setting for its password; decrypt "
                f"it with: openssl pkey -in {shlex.quote(settings.tls_key)} -out NEW_FILE"
            ) from None
        if error.reason in _OTHER_KEY:
            raise BadCertificate(
                f"tls_cert, tls_key: {settings.tls_key!r} is not the key of the first certificate in "
                f"{settings.tls_cert!r}; the relay's own certificate comes first there, and those that issued it follow"
            ) from None
        of_key = not error.reason and _is_certificate(settings.tls_cert)
        name, path = ("tls_key", settings.tls_key) if of_key else ("tls_cert", settings.tls_cert)
        reason = error.reason.replace("_", " ").lower() if error.reason else "it is damaged"
        raise BadCertificate(f"{name}: OpenSSL does not accept {path!r}: {reason}") from None
    return context


def _is_certificate(path: str) -> bool:
    """Return whether OpenSSL can read a certificate by itself, without its key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        return False
    return True


def _check_pem(name: str, path: str, kind: bytes) -> None:
    """Raise `BadCertificate` for a file that cannot be read, or that has no PEM block of this kind (RFC 7468)."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadCertificate(f"{name}: {path!r} cannot be read: {error.strerror}") from None
    blocks = re.findall(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----", data)
    if not blocks:
        raise BadCertificate(f"{name}: {path!r} is not in PEM format, which begins with -----BEGIN")
    if not any(block.endswith(kind) for block in blocks):
        found = ", ".join(dict.fromkeys(block.decode("ascii") for block in blocks[:10]))
        raise BadCertificate(f"{name}: {path!r} has no {kind.decode('ascii')}, but: {found}")


def run(server: Server) -> None:
    """Run a server in a new event loop until it ends."""
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())


def _bound(family: int, address: tuple[object, ...], *, both: bool) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Whether `::` takes IPv4 addresses as well would otherwise depend on the system.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _wire_limits(settings: Settings, connections: set[Any], on_limit: Callable[[str], None]) -> WireLimits:
    return WireLimits(
        max_size=settings.max_request,
        high_water=min(settings.send_buffer, _CONGESTED),
        keepalive=Keepalive(KeepaliveTiming.of(settings)),
        throttle=Throttle(),
        connections=connections,
        unfinished=UnfinishedMessages(
            settings.unfinished_bytes,
            settings.handshake_timeout,
            address_limit=settings.address_unfinished_bytes,
            message_time=settings.message_timeout,
            largest=settings.max_request,
        ),
        small_frames=settings.message_rate,
        small_frame_burst=settings.message_burst / 2,
        notices=LimitNotices(on_limit),
    )


def _configuration(app: ASGIApp, keep_alive: float) -> uvicorn.Config:
    # Off are those parts of uvicorn that the relay does itself: WebSockets (`HttpProtocol` upgrades them), the log, and
    # proxy headers (a middleware of the application, which checks whether the proxy is trusted).
    return uvicorn.Config(
        app,
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # Declared as a whole number; it only becomes the delay of a timer.
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]
        timeout_graceful_shutdown=2,
    )
