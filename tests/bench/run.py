"""Starts and stops Redis, a server and the load generator: servers on one core, the load on the other."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.install import BENCH, BUILD, LOAD
from tests.bench.shapes import Shape
from tests.bench.speak import Dialect
from tests.bench.systems import Place, System
from tests.ports import free_port

__all__ = ["GENERATORS", "LOAD_CORE", "SERVER_CORE", "Broken", "Load", "Server", "Target", "serving"]

SERVER_CORE, LOAD_CORE = 0, 1
LOCALHOST = "127.0.0.1"
START, STOP, QUIET = 60.0, 15.0, 300.0
GENERATORS = {"load.c": [str(LOAD)], "second.js": ["node", str(BENCH / "load" / "second.js")]}
SETTLE = 1.0


class Broken(Exception):
    """A system or the load generator failed, so there is no sample; the text is the reason."""


def spawn(command: Sequence[str], core: int, log: Path, *, last: bool = False, **options: Any) -> subprocess.Popen[str]:
    """Start a process in its own process session, on one core; with `last`, all others on that core come first."""

    def prepare() -> None:
        os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})
        if last:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    with log.open("a") as output:
        options.setdefault("stdout", output)
        return subprocess.Popen(
            command, stderr=output, preexec_fn=prepare, start_new_session=True, text=True, **options
        )


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and its children: SIGTERM first, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOP)


def wait_for(process: subprocess.Popen[str], port: int, name: str) -> None:
    """Return when the port accepts connections."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Broken(f"{name} ended at its start")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Broken(f"{name} did not start")


@dataclass(frozen=True, slots=True)
class Target:
    """The ports of servers, the protocol of their clients, and a folder for logs.

    The members of a room connect to the ports in turn. With `yields`, several generators share a core. load.c alone
    connects to another `host`.
    """

    ports: Sequence[int]
    dialect: Dialect
    folder: Path
    yields: bool = False
    host: str = LOCALHOST


class Server:
    """A running system and its Redis."""

    def __init__(
        self, system: System, place: Place, server: subprocess.Popen[str], redis: subprocess.Popen[str]
    ) -> None:
        self.system, self.place = system, place
        self._server = server
        self.root = server.pid
        self.redis_root = redis.pid

    @property
    def roots(self) -> list[int]:
        """The root processes whose CPU time counts: the server, and Redis if the system uses it."""
        return [self.root, self.redis_root] if self.system.redis else [self.root]

    @property
    def target(self) -> Target:
        """The server, as the load generator needs to know it."""
        return Target([self.place.port], self.system.dialect, self.place.folder)

    def check(self) -> None:
        """Raise `Broken` if the server has ended by itself: its cost is unknown then."""
        status = self._server.poll()
        if status is not None:
            raise Broken(f"the server ended by itself, with status {status}")


@contextmanager
def serving(system: System, redis_core: int = SERVER_CORE) -> Iterator[Server]:
    """Start a new Redis and a new server for one sample, without anything left of earlier ones."""
    folder = BUILD / "run" / system.key
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "log"
    port = free_port()
    quiet = ["--save", "", "--appendonly", "no", "--maxclients", "19000", "--dir", str(folder)]
    redis = spawn(["redis-server", "--bind", "127.0.0.1", "--port", str(port), *quiet], redis_core, log)
    try:
        wait_for(redis, port, "Redis")
        place = Place(port=free_port(), redis=port, folder=folder)
        server = spawn(system.command(place), SERVER_CORE, log, env={**os.environ, **place.env()})
        try:
            wait_for(server, place.port, system.title)
            time.sleep(SETTLE)
            yield Server(system, place, server, redis)
        finally:
            stop(server)
    finally:
        stop(redis)


class Load:
    """One load generator with its crowd of connections."""

    def __init__(
        self, target: Target, shape: Shape, *, first: int = 0, connecting: int = 64, generator: str = "load.c"
    ) -> None:
        options = {
            "port": ",".join(map(str, target.ports)),
            "rooms": shape.rooms,
            "members": shape.members,
            "size": shape.size,
            "first": first,
            "connecting": 1 if target.dialect.in_turn else connecting,
        }
        if target.host != LOCALHOST:
            options["host"] = target.host
        command = [*GENERATORS[generator], *(f"--{name}={value}" for name, value in options.items())]
        self.process = spawn(
            [*command, *target.dialect.arguments(), *["--yield"] * target.yields, *["--stamps"] * shape.apart],
            LOAD_CORE,
            target.folder / "load.log",
            last=shape.apart,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.members = shape.members
        self.crowd = shape.rooms * shape.members

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()

    def say(self, line: str) -> None:
        """Send a command to the load generator."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event, which must have this name."""
        assert self.process.stdout
        guard = signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, QUIET)
        try:
            line = self.process.stdout.readline()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, guard)
        event: dict[str, Any] = json.loads(line) if line else {"event": "its end"}
        if event["event"] != name:
            raise Broken(f"the load said {event['event']} and not {name}")
        return event

    def connected(self, event: str = "ready") -> dict[str, Any]:
        """The event about connecting; raises `Broken` unless the whole crowd is connected."""
        said = self.event(event)
        if said["connections"] != self.crowd:
            raise Broken(f"{said['connections']} of {self.crowd} connections came to be")
        return said


def too_late(*_: object) -> None:
    raise Broken("the load said nothing for too long")
