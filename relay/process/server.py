"""One process that serves: the sockets it listens on, its signals, and how it stops."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from relay.config import Settings
from relay.rooms.connection import CLOSE_TIMEOUT
from relay.rooms.keepalive import Keepalive
from relay.rooms.throttle import Throttle
from relay.wire.http import HttpProtocol
from relay.wire.websocket import WebSocketProtocol, WireLimits

log = logging.getLogger("relay.process.server")

_BACKLOG = 2048
_KEEP_ALIVE = 5
_TICK = 0.02
_CONGESTED = 65_536
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CannotListen(Exception):
    """An address cannot be listened on; the text says which and why."""


class BadCertificate(Exception):
    """The certificate or its key cannot be used; the text says which setting and why."""


@dataclass(frozen=True, slots=True)
class ListenSocket:
    """A socket to serve on; `shared` with other processes, or this one's alone."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    shared: bool = False


def _ignore() -> None:
    """Nobody wants to know."""


class Server(uvicorn.Server):
    """Serves an application until a signal comes; then drains, closes, and ends with status 0.

    `drain` is awaited with the listeners open, so that the health endpoint can say what happens; but shared ones are
    left to the others first. A second signal ends everything at once. `leash` is a pipe: the end of what it brings is
    the end of whoever started this process, and stops the server too. `on_timeout` is called for every request that
    took too long to arrive.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        listeners: Sequence[ListenSocket],
        *,
        drain: Callable[[], Awaitable[None]],
        on_timeout: Callable[[], None] = _ignore,
        leash: int | None = None,
    ) -> None:
        super().__init__(_configuration(app, settings))
        self._limits = WireLimits(
            max_size=16 * settings.max_message,
            high_water=min(settings.send_buffer, _CONGESTED),
            keepalive=Keepalive(settings.ping_interval, settings.ping_timeout),
            throttle=Throttle(),
            connections=self.server_state.connections,
        )
        self._on_timeout = on_timeout
        self._listeners = listeners
        self._drain = drain
        self._leash = leash
        self._handshake_timeout = settings.handshake_timeout
        self._forced = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop; called again, stop at once."""
        if self.should_exit:
            self.force_exit = True
            self._forced.set()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        self.servers = [await self._listen(listener) for listener in self._listeners]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close what is left."""
        for listener, server in zip(self._listeners, self.servers, strict=True):
            if listener.shared:
                server.close()
        await self._unless_forced(self._drain())
        await self._unless_forced(self._until_closed())
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals stop the server, and are not raised again."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        if self._leash is not None:
            loop.add_reader(self._leash, self._let_go, loop, self._leash)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _let_go(self, loop: asyncio.AbstractEventLoop, leash: int) -> None:
        if not os.read(leash, 1024):
            loop.remove_reader(leash)
            if not self.should_exit:
                log.warning("the process that started this worker is gone; stopping")
                self.stop()

    async def _listen(self, listener: ListenSocket) -> asyncio.Server:
        def protocol() -> HttpProtocol:
            return HttpProtocol(
                self.config,
                self.server_state,
                self.lifespan.state,
                self._limits,
                request_timeout=self._handshake_timeout,
                on_timeout=self._on_timeout,
            )

        return await asyncio.get_running_loop().create_server(
            protocol,
            sock=listener.socket,
            ssl=listener.tls,
            ssl_handshake_timeout=self._handshake_timeout if listener.tls else None,
            backlog=_BACKLOG,
        )

    async def _until_closed(self) -> None:
        """Give clients that were told to go the time to say goodbye."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                # Asked again and again: uvicorn's set of connections tells nobody when it is empty.
                while any(isinstance(one, WebSocketProtocol) for one in self.server_state.connections):  # noqa: ASYNC110
                    await asyncio.sleep(_TICK)

    async def _unless_forced(self, work: Awaitable[None]) -> None:
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._forced.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("stopping was not clean", exc_info=result)


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of `host`, the same port on each; raise `CannotListen`."""
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"{host}: {error.strerror or error}") from None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        # With port 0 the first address gets a free port, and the others the same.
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bound(family, (address[0], chosen, *address[2:])))
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


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What the certificate settings make, None without them; raise `BadCertificate`."""
    if not settings.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name, path in (("tls_cert", settings.tls_cert), ("tls_key", settings.tls_key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise BadCertificate(f"{name}: {path!r} cannot be read: {error.strerror}") from None
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
    except ssl.SSLError as error:
        text = error.reason or "not in PEM format"
        raise BadCertificate(
            f"tls_cert, tls_key: {settings.tls_cert!r} and {settings.tls_key!r} are no certificate and its key: {text}"
        ) from None
    return context


def run(server: Server) -> None:
    """Run a server, in an event loop of its own, to its end."""
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _configuration(app: ASGIApp, settings: Settings) -> uvicorn.Config:
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
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=2,
    )
