"""Real servers for the tests: redis-server, relay workers, a client, and a proxy that breaks connections on purpose."""

import asyncio
import contextlib
import functools
import itertools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

import httpx2 as httpx
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests import forks, redis_user
from tests.ports import free_port, release_port
from tests.tcp import end_server

# One line for each request would hide the output that explains a failed test.
logging.getLogger("httpx2").setLevel(logging.WARNING)

Json = dict[str, Any]

QUICK = {
    "worker_lease": 1.0,
    "reconnect_grace": 0.6,
    "probe_timeout": 0.6,
    "publish_timeout": 1.0,
    "drain_timeout": 3.0,
}
"""Short timings: workers notice a fault and recover from it in a second or two."""

ADMIN_TOKEN = "admin-token-of-the-tests"
"""The admin token of workers whose test names no other one."""


def require(command: str) -> str:
    """The path of a program. If it is missing, the test is skipped, or fails under CI."""
    path = shutil.which(command)
    if path is None:
        lacking(f"{command} is not installed; `make test` installs it")
    return path


def lacking(reason: str) -> NoReturn:
    """Skip the test, whose requirements are not met on this machine; under CI, the test fails."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@functools.cache
def redis_version() -> tuple[int, int]:
    """The version of the redis-server that the tests run, the first one in PATH; Valkey counts as its own version."""
    told = subprocess.run([require("redis-server"), "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = re.findall(r" v=(\d+)\.(\d+)", told)[0]
    return int(major), int(minor)


async def eventually(condition: Callable[[], Any], timeout: float = 10) -> Any:
    """Check a condition every 20 ms until it holds; return its result."""
    async with asyncio.timeout(timeout):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.02)


class RedisServer:
    """A redis-server process. A `persistent` one keeps its data when it is killed and started again.

    `url` is for the relay: its user has the commands, keys and channels that deployments allow it. `client` may do
    everything.
    `config` is a configuration file; its port, its folder and its users do not count. `options` are further ones of
    redis-server.
    """

    KIND: redis_user.Kind = "one"

    def __init__(
        self,
        *,
        persistent: bool = False,
        config: Path | None = None,
        options: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._persistent = persistent
        self._options = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self._config = config
        self.port = free_port()
        self.link_port = int(str(options.get("tls-port", self.port)))
        """The port for replicas and sentinels, and for the relay: that with TLS, if the options have one."""
        self.url = redis_user.url(self.link_port)
        self._directory = tempfile.mkdtemp(prefix="relay-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, master: Self | None = None) -> Self:
        """Return when it answers; with a `master`, it is a replica from its first moment on."""
        # With `everysec`, Redis delays a write for up to two seconds while the disk is busy; SIGKILL would lose it.
        kept = ["--appendonly", "yes", "--appendfsync", "no"] if self._persistent else ["--appendonly", "no"]
        # By default, a replica that needs all data waits five seconds for others that need them as well.
        quick = ["--repl-diskless-sync-delay", "0"]
        base = [self._own_config(self._config)] if self._config else ["--save", "", *kept, *quick]
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._directory]
        follows = ["--replicaof", "127.0.0.1", str(master.link_port)] if master else []
        command = [require("redis-server"), *base, *options, *self._options, *follows, *redis_user.options(self.KIND)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                with self.client as client:
                    if client.ping():
                        return self
            except redis.ConnectionError:  # raised while it loads its data, too
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.02)

    def _own_config(self, config: Path) -> str:
        """Copy a configuration without the places that only its own machine has; return the path of the copy."""
        foreign = ("dir ", "aclfile ", "bind ", "port ")
        copy = Path(self._directory) / "redis.conf"
        copy.write_text("".join(one for one in config.read_text().splitlines(True) if not one.startswith(foreign)))
        return str(copy)

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Delete all data; call it only while the process does not run."""
        shutil.rmtree(self._directory)
        Path(self._directory).mkdir()

    def remember(self) -> None:
        """Keep a copy of the data of a persistent server as it is now, for `go_back`."""
        with self.client as client:
            client.bgrewriteaof()
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.01)
        shutil.rmtree(self._directory + "-older", ignore_errors=True)
        shutil.copytree(self._directory, self._directory + "-older")

    def go_back(self) -> None:
        """Replace the data by the copy; call it only while the process does not run."""
        self.forget()
        shutil.copytree(self._directory + "-older", self._directory, dirs_exist_ok=True)

    def follow(self, other: Self) -> None:
        """Become a replica of another server, and return when it has its data."""
        with self.client as client:
            client.replicaof("127.0.0.1", other.link_port)
        self.wait_for_master()

    def wait_for_master(self) -> None:
        """Return when this replica has the data of its master."""
        with self.client as client:
            while client.info("replication").get("master_link_status") != "up":
                time.sleep(0.01)

    def refuse_replicas(self) -> None:
        """End the connections of all replicas, and let none come back: they lag from now on."""
        with self.client as client:
            client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
            client.client_kill_filter(_type="replica")

    def lead(self) -> None:
        """Stop following: keep the events that were received until now."""
        with self.client as client:
            client.replicaof("NO", "ONE")

    def replace(self, other: Self) -> None:
        """Be `other` from now on; the own process must have ended."""
        self.close()
        self.port, self.link_port, self.url = other.port, other.link_port, other.url
        self._directory, self._process = other._directory, other._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for port in {self.port, self.link_port}:
            release_port(port)
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.rmtree(self._directory + "-older", ignore_errors=True)


class Relay:
    """`relay serve` in a process. pytest shows its log when a test fails.

    `server` is "own", "other" (hypercorn), or "tracking" (the relay's own, see `tests.tracking_server`). `quick` are
    settings that differ from the defaults of `relay serve`. `tree` is the folder of another version of the relay, with
    its virtual environment in `.venv`.
    """

    def __init__(
        self,
        *,
        server: str = "own",
        environment: dict[str, str] | None = None,
        quick: Mapping[str, Any] = MappingProxyType(QUICK),
        tree: Path | None = None,
        **settings: Any,
    ) -> None:
        if not f"{settings.get('redis_prefix', redis_user.PREFIX)}:".startswith(f"{redis_user.PREFIX}:"):
            raise ValueError(f"the relay's user may only use keys that begin with {redis_user.PREFIX}:")
        self.port = int(settings.pop("port", 0)) or free_port()
        self.tls = "tls_cert" in settings
        self.log = Path(tempfile.mkstemp(prefix="relay-log-", suffix=".txt")[1])
        settings = {**quick, "admin_token": ADMIN_TOKEN, **settings}
        self.authorised = {"Authorization": f"Bearer {settings['admin_token']}"}
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        environ |= {f"RELAY_{name.upper()}": str(value) for name, value in settings.items()}
        environ["PYTHONUNBUFFERED"] = "1"
        environ |= environment or {}
        module = ["relay", "serve", "--port"] if server == "own" else [f"tests.{server}_server"]
        self.process: subprocess.Popen[bytes] | forks.Fork
        with self.log.open("wb") as log:
            if server == "own" and not environment and tree is None:
                self.process = forks.serve([*module[1:], str(self.port)], environ, log)
                return
            self.process = subprocess.Popen(
                [str(tree / ".venv/bin/python") if tree else sys.executable, "-m", *module, str(self.port)],
                cwd=tree, env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def http(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}"

    async def get(self, path: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(verify=False, timeout=5) as client:
            return await client.get(self.http + path, **options)

    async def describe(self, room: str) -> Json:
        """The answer of `/rooms/NAME` with the admin token, which has the names of the members."""
        answer: Json = (await self.get(f"/rooms/{room}", headers=self.authorised)).json()
        return answer

    async def healthy(self, status: int = 200) -> bool:
        """Whether `/health` returns this status."""
        assert self.process.poll() is None, f"the worker has exited: {self.logged}"
        with contextlib.suppress(httpx.TransportError):
            return (await self.get("/health")).status_code == status
        return False

    async def ready(self) -> Self:
        await eventually(self.healthy, 45)
        return self

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of `/metrics` with this name and these labels; 0 if there is none."""
        samples = re.findall(
            rf"^{re.escape(name)}(?:{{(.*)}})? (\S+)$", (await self.get("/metrics")).text, re.MULTILINE
        )
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(float(value) for found, value in samples if wanted <= set(found.split(",")))

    @property
    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    async def terminate(self) -> int:
        """Send SIGTERM, wait, and return the exit status."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 20)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        release_port(self.port)
        print(f"--- {self.http}\n{self.logged}")  # pytest shows it when the test fails
        self.log.unlink()


class Client:
    """A WebSocket client of the native protocol that reads frames only when a test asks for them."""

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_
        self.welcome: Json = {}
        self._numbers = itertools.count()

    @classmethod
    async def open(cls, url: str, *, resume: str = "", token: str = "", welcome: bool = True, **options: Any) -> Self:
        """Connect. With `welcome`, read the first frame and keep it as the welcome."""
        secrets = [f"{kind}.{secret}" for kind, secret in (("resume", resume), ("token", token)) if secret]
        protocols = ["relay.v1", *secrets] if secrets else None
        socket_ = await connect(
            url, subprotocols=protocols, compression=None, max_size=2**24, ping_interval=None, proxy=None, **options
        )
        client = cls(socket_)
        if welcome:
            client.welcome = await client.next()
        return client

    async def send(self, message: Json | str | bytes) -> None:
        await self.socket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def raw(self, timeout: float = 10) -> str:
        async with asyncio.timeout(timeout):
            text = await self.socket.recv()
        assert isinstance(text, str)
        return text

    async def next(self, timeout: float = 10) -> Json:
        """The next frame."""
        event: Json = json.loads(await self.raw(timeout))
        return event

    async def until(self, condition: Callable[[Json], Any], timeout: float = 10) -> list[Json]:
        """Read frames until one satisfies the condition; return all of them, that one included."""
        events = []
        async with asyncio.timeout(timeout):
            while True:
                events.append(await self.next(timeout))
                if condition(events[-1]):
                    return events

    async def ask(self, command: Json) -> Json:
        """Send a command or an envelope with a new key, unless it has one, and return the answer with this key."""
        command = {"key": f"asked-{next(self._numbers)}"} | command
        await self.send(command)
        return (await self.until(lambda event: event.get("key") == command["key"]))[-1]

    async def all_up_to_now(self) -> list[Json]:
        """All frames that were already on their way: the answer to a ping comes after them."""
        await self.send({"type": "ping", "key": "fence"})
        return (await self.until(lambda event: event.get("key") == "fence"))[:-1]

    async def closed(self, timeout: float = 10) -> int:
        """Read to the end and return the close code; 1006 if the server sent none."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    await self.socket.recv()
                except ConnectionClosed as closed:
                    return closed.rcvd.code if closed.rcvd else 1006

    def lose(self) -> None:
        """Abort the connection without a close frame."""
        self.socket.transport.abort()

    async def close(self, code: int = 1000) -> None:
        await self.socket.close(code)


class Proxy:
    """A TCP proxy in front of Redis that drops subscribed data, ends connections or refuses new ones on demand."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._pairs: set[Pair] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.deaf_subscriptions = False
        self.refusing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.refusing = True
        await end_server(self._server, self.cut, self._serving)

    @property
    def url(self) -> str:
        return redis_user.url(self.port)

    def cut(self, *, subscriptions_only: bool = False) -> None:
        """Abort all current connections, or only those that have subscribed."""
        for pair in list(self._pairs):
            if pair.subscribed or not subscriptions_only:
                pair.cut()

    def lead_to(self, port: int) -> None:
        """End all connections, and lead the next ones to another port."""
        self._target = port
        self.cut()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        if self.refusing:
            writer.transport.abort()
            far_writer.transport.abort()
            return
        pair = Pair(self, writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(pair.up(reader), pair.down(far_reader))
        finally:
            self._pairs.discard(pair)
            pair.cut()


class Pair:
    """One connection through the proxy, with its two sides."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self.subscribed = False

    def cut(self) -> None:
        self._near.transport.abort()
        self._far.transport.abort()

    async def up(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.subscribed |= b"SUBSCRIBE" in data
                self._far.write(data)
            self.cut()

    async def down(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not (self.subscribed and self._proxy.deaf_subscriptions):
                    self._near.write(data)
            self.cut()
