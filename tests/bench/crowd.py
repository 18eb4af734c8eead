"""50,000 idle connections in one process: memory, pings, timers, Redis commands, and the lag of the event loop.

`python -m tests.bench.crowd`. One worker on core 0 with its Redis; the load generators are on core 1. As many
connections as the limit of open files allows are real ones. The others are inside the worker's process, on transports
without a socket (`tests/bench/crowd_worker.py`), so its CPU has the work of those clients, too. The rooms have two
members, both real or both inside. All figures but those of connecting are from a silence of two ping intervals. In the
end, each room hears one more message.

With `--talk 1000 10000`, so many rooms get 4,000 messages a second instead, and the cost of a delivery counts. Only
real clients talk. Each number of rooms has a worker of its own.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Self

from tests.bench import install, speak
from tests.bench.accounting import cpu_seconds, memory, open_files, redis_calls
from tests.bench.run import Broken, Load, Server, serving
from tests.bench.shapes import Shape
from tests.bench.systems import PURE_RELAY, RELAY, Place, System, relay
from tests.ports import free_port

__all__ = ["ROWS", "Split", "main", "table", "talk_table", "waited_seconds"]

CONNECTIONS, PING_INTERVAL, FLOOR, PROOF = 50_000, 25.0, 20.0, 1000
SPARE_FILES = 1000
"""Files of the worker beside its connections, with room to spare."""
MOST_OF_GENERATOR = 19_000
MOST_OF_ADDRESS = 25_000
"""Connections from one address to another one and its port, at most: each takes a port of the system's range."""
SETTLE = 3.0
DELIVERIES, TALK, WARMUP, ROUNDS = 4000, 8.0, 2.0, 3
DIALECTS = {"native": speak.RELAY, "socketio": speak.SOCKETIO}
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Split:
    """How many connections are real, and how many inside the worker's process; both are even."""

    real: int
    inner: int

    @classmethod
    def of(cls, connections: int, files: int, inner: int | None = None) -> Self:
        """Take real ones as far as files suffice, or so many inside as wanted."""
        real = min(connections - (inner or 0), files - SPARE_FILES) // 2 * 2
        return cls(real, connections // 2 * 2 - real)

    @property
    def all(self) -> int:
        """The number of connections."""
        return self.real + self.inner

    def generators(self) -> list[int]:
        """How many connections each load generator has: shares that differ by two at most."""
        count = ceil(self.real / MOST_OF_GENERATOR)
        rooms = [self.real // 2 // count + (number < self.real // 2 % count) for number in range(count)]
        return [2 * one for one in rooms]

    def hosts(self) -> list[str]:
        """The address to which each generator connects; one is enough for a few."""
        spread = self.real > MOST_OF_ADDRESS
        return [f"127.0.0.{number + 1 if spread else 1}" for number in range(len(self.generators()))]


class Control:
    """The connection over which the worker takes commands."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._lines = self._socket.makefile("rw")

    def __call__(self, command: str, **fields: Any) -> dict[str, float]:
        """Give a command, and return its answer."""
        print(json.dumps({"do": command, **fields}), file=self._lines, flush=True)
        line = self._lines.readline()
        if not line:
            raise Broken(f"the worker did not answer {command!r}; its log says why")
        answer: dict[str, float] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Crowd:
    """A running worker and its load generators, which end with the `stack`."""

    server: Server
    control: Control
    split: Split
    loads: list[Load]
    stack: ExitStack

    def silence(self, seconds: float) -> dict[str, float]:
        """Do nothing for a time; return what it costs, a second."""
        pids = (self.server.root, self.server.redis_root)
        pings, waited = self._pings(), waited_seconds(pids[0])
        cpu, calls = [cpu_seconds([pid]) for pid in pids], redis_calls(self.server.place.redis)
        self.control("begin")
        began = time.monotonic()
        time.sleep(seconds)
        found = self.control("end")
        took = time.monotonic() - began
        worker, redis = [(cpu_seconds([pid]) - then) / took for pid, then in zip(pids, cpu, strict=True)]
        return found | {
            "worker": worker,
            "redis": redis,
            "commands": (redis_calls(self.server.place.redis) - calls) / took,
            "pings": (found["pings"] + self._pings() - pings) / took,
            "waited": (waited_seconds(pids[0]) - waited) / took,
        }

    def _pings(self) -> float:
        """The pings that real clients got so far."""
        for load in self.loads:
            load.say("pings")
        return float(sum(load.event("pings")["count"] for load in self.loads))

    def connect_real(self) -> Figures:
        """Connect the real clients, one generator after the other."""
        size, began, first = memory(self.server.root), time.monotonic(), 0
        self.control("begin")
        for count, host in zip(self.split.generators(), self.split.hosts(), strict=True):
            target = replace(self.server.target, host=host, yields=len(self.split.generators()) > 1)
            load = self.stack.enter_context(Load(target, Shape("crowd", "", "idle", count // 2, 2), first=first))
            load.connected()
            self.loads.append(load)
            first += count // 2
        took, found = time.monotonic() - began, self.control("end")
        return self._connected("real", self.split.real, size, took, found)

    def connect_inner(self) -> Figures:
        """Connect the clients inside the process."""
        size = memory(self.server.root)
        self.control("begin")
        took = self.control("connect", count=self.split.inner, first=self.split.real)["seconds"]
        return self._connected("inner", self.split.inner, size, took, self.control("end"))

    def _connected(self, name: str, count: int, size: int, took: float, found: Figures) -> Figures:
        time.sleep(SETTLE)
        grown = memory(self.server.root) - size
        return {
            f"{name}_seconds": took,
            f"{name}_memory": grown / count if count else float("nan"),
            f"{name}_collection": found["collection"],
            f"{name}_full": found["full"],
            f"{name}_max": found["own_max"],
        }

    def talk(self, deliveries: float, seconds: float) -> dict[str, float]:
        """Let real clients send so many messages a second, in rooms of two; return the cost of a delivery in µs."""
        pids = (self.server.root, self.server.redis_root)
        for load in self.loads:
            load.say(f"steady {seconds} {WARMUP} {deliveries / len(self.loads)}")
        for load in self.loads:
            load.event("begin")
        self.control("begin")
        cpu = [cpu_seconds([pid]) for pid in pids]
        ends = [load.event("end") for load in self.loads]
        used = [1e6 * (cpu_seconds([pid]) - then) for pid, then in zip(pids, cpu, strict=True)]
        found = self.control("end")
        if lost := sum(load.event("settled")["lost"] for load in self.loads):
            raise Broken(f"{lost} messages were lost")
        heard = sum(end["deliveries"] for end in ends)
        return {
            "deliveries": heard / seconds,
            "worker": used[0] / heard,
            "redis": used[1] / heard,
            "p50": max(end["p50"] for end in ends) / 1000,
            "p99": max(end["p99"] for end in ends) / 1000,
            "own_p99": found["own_p99"],
        }

    def prove(self, rate: float) -> Figures:
        """Send a message into each room; raise `Broken` if any is lost, or a connection has ended."""
        for load in self.loads:
            rooms = load.crowd // 2
            load.say(f"steady {rooms / rate + 0.5} 0 {rate}")
            load.event("begin")
            load.event("end")
            lost = load.event("settled")["lost"]
            if lost:
                raise Broken(f"{lost} of the last messages to real clients were lost")
        heard = self.control("talk", rate=rate)["heard"]
        if heard != self.split.inner // 2:
            raise Broken(f"{heard} of {self.split.inner // 2} rooms inside the process heard the last message")
        if ended := self.control("end")["lost"]:
            raise Broken(f"{ended} connections inside the process were ended")
        return {"rooms": self.split.all // 2}


def waited_seconds(process: int) -> float:
    """How long the threads of a process were ready to run, and their core had other work."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[1]) for task in tasks) / 1e9


def system_of(name: str, split: Split, control: int, options: argparse.Namespace) -> System:
    """The worker with its clients inside, as a system of the benchmark."""
    launcher = install.BENCH / "crowd_worker.py"
    listen = ["--host", "0.0.0.0"] if len(set(split.hosts())) > 1 else []
    extra = ["--max-connections", str(split.all + 1000), "--ping-interval", str(options.ping_interval), *listen]
    program = options.program or (PURE_RELAY if options.pure else RELAY)

    def command(place: Place) -> list[str]:
        python, arguments = str(program.with_name("python")), relay(*extra, program=program)(place)[1:]
        # Without -P, Python would find the checkout's packages ahead of the compiled ones.
        return [python, "-P", str(launcher), str(control), *arguments]

    return System(
        key=f"crowd-{name}",
        title="the worker",
        version=lambda: "",
        install=install.build_load,
        command=command,
        dialect=DIALECTS[name],
    )


@contextmanager
def running(name: str, split: Split, options: argparse.Namespace) -> Iterator[Crowd]:
    """A worker with nobody connected, whose first clients have come and gone."""
    port = free_port()
    system = system_of(name, split, port, options)
    dialect = system.dialect
    with serving(system) as server, ExitStack() as stack:
        control = Control(port)
        stack.callback(control.close)
        control("speak", path=dialect.path, script=dialect.script, publish=dialect.publish, reply=dialect.reply)
        # The first handshakes load code and fill caches, which is no cost of a connection.
        control("connect", count=2, first=split.all)
        with Load(server.target, Shape("first", "", "idle", 1, 2), first=split.all // 2 + 1) as load:
            load.connected()
        control("dismiss")
        time.sleep(SETTLE)
        yield Crowd(server, control, split, [], stack)
        server.check()


def measure(name: str, split: Split, options: argparse.Namespace) -> dict[str, float]:
    """Measure one protocol."""
    with running(name, split, options) as crowd:
        alone = crowd.silence(options.floor)
        figures = {f"floor_{key}": value for key, value in alone.items()}
        figures |= {"real": split.real, "inner": split.inner}
        figures |= crowd.connect_real()
        figures |= crowd.connect_inner()
        figures |= crowd.silence(2 * options.ping_interval)
        figures["load_average"] = os.getloadavg()[0]
        figures["redis_commands"] = (figures["commands"] - alone["commands"]) / split.all
        figures |= crowd.control("timers")
        figures |= crowd.prove(options.proof)
        return figures


def talking(rooms: int, options: argparse.Namespace) -> list[dict[str, float]]:
    """Measure the cost of a delivery in so many rooms, some rounds in turn."""
    split = Split.of(2 * rooms, open_files(), options.inner)
    with running("native", split, options) as crowd:
        crowd.connect_real()
        crowd.connect_inner()
        return [{"real": split.real, **crowd.talk(DELIVERIES, options.seconds)} for _ in range(ROUNDS)]


ROWS: Sequence[tuple[str, Callable[[Figures], str]]] = (
    ("connections: real, inside the process", lambda f: f"{f['real']:,.0f}, {f['inner']:,.0f}"),
    ("bytes of the worker for one: real, inside", lambda f: f"{f['real_memory']:,.0f}, {f['inner_memory']:,.0f}"),
    ("CPU, share of a core: worker, Redis", lambda f: f"{f['worker']:.3f}, {f['redis']:.3f}"),
    ("… the same without connections", lambda f: f"{f['floor_worker']:.3f}, {f['floor_redis']:.3f}"),
    ("pings a second", lambda f: f"{f['pings']:,.0f}"),
    ("Redis commands a second: all, for a connection", lambda f: f"{f['commands']:.0f}, {f['redis_commands']:.5f}"),
    ("timers of the event loop: all, for a connection",
     lambda f: f"{f['timers']:,.0f}, {f['timers'] / (f['real'] + f['inner']):.5f}"),
    ("lag of the event loop, ms: p50, p99, longest", lambda f: f"{f['p50']:.2f}, {f['p99']:.2f}, {f['max']:.1f}"),
    ("… its part by the worker's own work: p99, longest", lambda f: f"{f['own_p99']:.2f}, {f['own_max']:.1f}"),
    ("lag without connections, ms: p50, p99, longest; own work's: p99, longest",
     lambda f: f"{f['floor_p50']:.2f}, {f['floor_p99']:.2f}, {f['floor_max']:.1f}; "
               f"{f['floor_own_p99']:.2f}, {f['floor_own_max']:.1f}"),
    ("ms a second in which the worker waits for its core: with them, without",
     lambda f: f"{1000 * f['waited']:.1f}, {1000 * f['floor_waited']:.1f}"),
    ("longest garbage collection, CPU ms: while they connect, in silence",
     lambda f: f"{max(f['real_collection'], f['inner_collection']):.1f}, {f['collection']:.1f}"),
    ("full collections: while they connect, in silence",
     lambda f: f"{f['real_full'] + f['inner_full']:.0f}, {f['full']:.0f}"),
    ("longest lag by own work while they connect, ms: real, inside",
     lambda f: f"{f['real_max']:.0f}, {f['inner_max']:.0f}"),
    ("s to connect them: real, inside", lambda f: f"{f['real_seconds']:.0f}, {f['inner_seconds']:.0f}"),
    ("rooms that heard the last message", lambda f: f"{f['rooms']:,.0f} of {(f['real'] + f['inner']) / 2:,.0f}"),
    ("load average of the machine", lambda f: f"{f['load_average']:.1f}"),
)  # fmt: skip


def table(results: Mapping[str, Figures]) -> list[str]:
    """The lines of the table, a column for each protocol."""
    lines = [f"| {' | '.join(['', *results])} |", "| --- |" + " ---: |" * len(results)]
    rows = [[name, *(show(one).replace("nan", "–") for one in results.values())] for name, show in ROWS]
    return lines + [f"| {' | '.join(cells)} |" for cells in rows]


def talk_table(results: Mapping[int, Sequence[Figures]]) -> list[str]:
    """The lines of the table about rooms that talk: of each figure the median, the least and the most."""
    names = {
        "deliveries": "deliveries a second",
        "worker": "worker, µs a delivery",
        "redis": "Redis, µs",
        "p50": "latency, ms: p50",
        "p99": "p99",
        "own_p99": "lag by own work, ms: p99",
    }
    lines = [f"| {' | '.join(['rooms, talking ones', *names.values()])} |", "| --- |" + " ---: |" * len(names)]
    for rooms, rounds in results.items():
        cells = [f"{rooms:,}, {rounds[0]['real'] / 2:,.0f}"]
        for name in names:
            found = sorted(one[name] for one in rounds)
            cells.append(f"{median(found):,.4g} ({found[0]:,.4g} to {found[-1]:,.4g})")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowd", description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--inner", type=int, help="so many inside the process, even if files would suffice")
    parser.add_argument("--protocol", nargs="+", choices=sorted(DIALECTS), default=list(DIALECTS))
    parser.add_argument("--program", type=Path, help="the command `relay` of another build")
    parser.add_argument("--pure", action="store_true", default=not RELAY.exists(), help="not the compiled build")
    parser.add_argument("--ping-interval", type=float, default=PING_INTERVAL)
    parser.add_argument("--floor", type=float, default=FLOOR, help="seconds in which nobody is connected")
    parser.add_argument("--proof", type=float, default=PROOF, help="messages a second of the last load")
    parser.add_argument("--talk", nargs="+", type=int, default=[], metavar="ROOMS")
    parser.add_argument("--seconds", type=float, default=TALK, help="of a round in which rooms talk")
    options = parser.parse_args(arguments)
    split = Split.of(options.connections, open_files(), options.inner)
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.build_load()
    build = "pure Python" if options.pure else "the compiled build"
    limit = f"{open_files():,} open files a process"
    if options.talk:
        print(f"{build}; {limit}; {DELIVERIES:,} messages a second")
        print(*talk_table({rooms: talking(rooms, options) for rooms in options.talk}), sep="\n")
        return 0
    print(f"{build}; {limit}: {split.real:,} connections are real, {split.inner:,} inside")
    results = {name: measure(name, split, options) for name in options.protocol}
    print(*table(results), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
