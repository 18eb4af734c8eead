"""The cost of a delivery over a Redis Cluster: from one master to six, and from ten rooms to 20,000.

`python -m tests.bench.cluster`, or `make bench-cluster`. Workers and masters are on core 0, the load generators on core
1. The members of a room are on different workers, and the history of rooms is on. All fleets of a table run at the same
time, and are measured in turn, in windows of a few seconds: so other work of the machine affects all alike.
"""

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from redis import Redis

from tests.bench import install, speak
from tests.bench.accounting import cpu_seconds, memory, open_files, own_cpu_seconds, processes
from tests.bench.cluster_report import Connection, Cost, Section, Shard, Window, page, typical
from tests.bench.run import LOAD_CORE, SERVER_CORE, SETTLE, START, Broken, Load, Target, spawn, stop, wait_for
from tests.bench.shapes import SPARE_FILES, Shape
from tests.bench.systems import PURE_RELAY, Place, relay
from tests.clusters import Cluster
from tests.fleet import RedisServer
from tests.ports import free_port

MASTERS = (0, 1, 2, 3, 6)
"""Numbers of masters; 0 stands for one Redis that is no cluster (`redis://`)."""

ROOMS = (10, 100, 1000, 10_000, 20_000)
AT_MASTERS, AT_ROOMS, SKEW_ROOMS = 3, 1000, 10_000
WORKERS, GENERATORS = 3, 3
HISTORY = 1000
SILENCE = 4.0
NODE_TIMEOUT = 30_000
"""Milliseconds."""

BUSY, STEADY, LIGHT = "cycle 500", "steady 2000", "steady 1000"
"""500 messages in flight in all rooms together, each followed by the next; 2,000 messages a second, and 1,000."""

FIRST_RATE = 3000
"""Messages a second at least in the load by which every member has sent something before the first window."""

DELIVERY = "CPU per delivery without the silent crowd's,"
"""The figure that the targets judge: the cost of silent clients grows with their number, and is counted apart."""

RESULTS = install.BENCH / "results" / "cluster.md"


class Fleet:
    """Three workers, their Redis (a cluster, or one server), and clients in rooms of two."""

    def __init__(self, masters: int, rooms: int) -> None:
        self.rooms = rooms
        self._masters = masters
        self._stack = ExitStack()
        self._workers: list[subprocess.Popen[str]] = []
        self._nodes: Sequence[RedisServer] = []
        self._pids: list[int] = []
        """The processes of the workers."""
        self._clients: list[Redis] = []
        self._loads: list[Load] = []
        self.connection = Connection()
        """The cost of each connection; known when the fleet has started."""

    def __enter__(self) -> "Fleet":
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def silence(self, seconds: float) -> float:
        """Measure the CPU seconds of a second without a message."""
        began = self._cpu()
        time.sleep(seconds)
        return (sum(self._cpu()) - sum(began)) / seconds

    def measure(self, load: str, seconds: float, warmup: float, silent: float) -> Window:
        """Measure a window under this load; `silent` is the cost of a second without."""
        kind, number = load.split()
        for one in self._loads:
            one.say(f"{kind} {seconds} {warmup} {float(number) / len(self._loads):g}")
        for one in self._loads:
            one.event("begin")
        workers, before = self._look()
        ends = [one.event("end") for one in self._loads]
        workers_after, after = self._look()
        shards = [now.since(then) for now, then in zip(after, before, strict=True)]
        lost = sum(one.event("settled")["lost"] for one in self._loads)
        deliveries = sum(end["deliveries"] for end in ends)
        if lost or not deliveries or any(worker.poll() is not None for worker in self._workers):
            raise Broken(f"{lost} messages were lost, or a worker has ended")
        if kind == "steady" and deliveries < 0.98 * float(number) * seconds:
            raise Broken(f"{deliveries / seconds:.0f} deliveries a second only: too slow a machine")
        return Window(deliveries, seconds, workers_after - workers, silent * seconds, shards)

    def _look(self) -> tuple[float, list[Shard]]:
        """The CPU seconds of the workers, and the work of each master, since their start.

        On a full core, an answer of Redis takes many milliseconds. So CPU time is read first, and all masters are asked
        at once: masters that are asked in turn would have windows of different lengths.
        """
        workers = own_cpu_seconds(self._pids)
        cpu = [own_cpu_seconds([node.pid]) for node in self._nodes]
        with ThreadPoolExecutor(len(cpu)) as pool:
            return workers, list(pool.map(look, self._clients, cpu))

    def _cpu(self) -> tuple[float, float]:
        """CPU seconds of the workers, and of Redis."""
        return cpu_seconds([one.pid for one in self._workers]), cpu_seconds([one.pid for one in self._nodes])

    def _state(self) -> tuple[float, float, float, float]:
        """CPU seconds and bytes of memory, of the workers and of Redis."""
        used = sum(client.info("memory")["used_memory"] for client in self._clients)
        return *self._cpu(), sum(memory(one.pid) for one in self._workers), used

    def _start(self) -> None:
        folder = install.BUILD / "run" / f"cluster-{self._masters}-{self.rooms}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        redis = Cluster(self._masters) if self._masters else RedisServer()
        self._stack.callback(redis.close)
        redis.start()
        self._nodes = redis.masters if isinstance(redis, Cluster) else [redis]
        self._clients = [self._stack.enter_context(node.client) for node in self._nodes]
        for client in self._clients:
            # A core that is full must not make a node look dead to the others.
            client.config_set("cluster-node-timeout", NODE_TIMEOUT)
        ports = [self._start_worker(redis.url, folder) for _ in range(WORKERS)]
        for worker, port in zip(self._workers, ports, strict=True):
            wait_for(worker, port, "a worker")
            wait_until_ready(port)
        self._pids = [process for worker in self._workers for process in processes(worker.pid)]
        time.sleep(SETTLE)
        before = self._state()
        target = Target(ports, speak.RELAY, folder, yields=True)
        for number in range(GENERATORS):
            first, end = (self.rooms * at // GENERATORS for at in (number, number + 1))
            shape = Shape("cluster", "", "steady", end - first, 2)
            self._loads.append(self._stack.enter_context(Load(target, shape, first=first)))
            self._loads[-1].connected()
        time.sleep(SETTLE)
        clients = 2 * self.rooms
        self.connection = Connection(*[
            (now - then) / clients for now, then in zip(self._state(), before, strict=True)
        ])  # fmt: skip
        # The first message of a room, and of a member, makes entries and takes the long path.
        for one in self._loads:
            one.say(f"{BUSY.split()[0]} {max(1, 2 * self.rooms / FIRST_RATE):g} 0 {int(BUSY.split()[1]) // GENERATORS}")
        for one in self._loads:
            for event in ("begin", "end", "settled"):
                one.event(event)

    def _start_worker(self, url: str, folder: Path) -> int:
        place = Place(port=free_port(), redis=0, folder=folder)
        # In the environment, as the URL has a password.
        env = {**os.environ, "RELAY_REDIS_URL": url, "RELAY_SHARDS_NEEDED": "all"}
        worker = spawn(relay(bus=False, log=HISTORY, program=PURE_RELAY)(place), SERVER_CORE, folder / "log", env=env)
        self._stack.callback(stop, worker)
        self._workers.append(worker)
        return place.port


def wait_until_ready(port: int) -> None:
    """Return when the worker reaches all masters."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        time.sleep(0.05)
    raise Broken("a worker does not become ready")


def look(client: Redis, cpu: float) -> Shard:
    """The work of a master since its start, with the CPU seconds that were read; one request."""
    with client.pipeline(transaction=False) as requests:
        requests.info("stats")
        requests.info("commandstats")
        requests.client_list()
        stats, commands, clients = requests.execute()
    published = sum(commands.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("publish", "spublish"))
    connections = sum(str(one["name"]).startswith("relay-") for one in clients)
    received, sent = stats["total_net_input_bytes"], stats["total_net_output_bytes"]
    return Shard(published, cpu, stats["total_reads_processed"], connections, received, sent)


# Tables.


def in_turn(fleets: Mapping[str, Fleet], load: str, options: argparse.Namespace) -> dict[str, Cost]:
    """Measure all fleets in turn, several times; a window in which messages were lost has no figures."""
    windows: dict[str, list[Window]] = {name: [] for name in fleets}
    with on_core(LOAD_CORE):
        silent = {name: fleet.silence(SILENCE) for name, fleet in fleets.items()}
        for number in range(options.rounds):
            for name, fleet in fleets.items():
                try:
                    windows[name].append(fleet.measure(load, options.seconds, options.warmup, silent[name]))
                except Broken as reason:
                    print(f"{name}, {load}: {reason}", flush=True)
                    continue
                print(f"{number + 1}: {name}, {load}: {line(typical(windows[name][-1:]))}", flush=True)
    return {name: typical(found) for name, found in windows.items() if found}


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Let this process run on a core, so that it does not wait for a server whose core is full."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def line(cost: Cost) -> str:
    """Return a window's figures for the console."""
    return (
        f"{cost.net:.1f} µs, workers {cost.workers:.1f}, Redis {cost.redis:.1f}, silent {cost.silent:.1f}; "
        f"{cost.batch:.1f} messages a read; {cost.rate:,.0f} deliveries/s"
    )


def name_of(masters: int) -> str:
    """The name of a row."""
    return f"{masters} master{'s' * (masters > 1)}" if masters else "one Redis, `redis://`"


def by_masters(options: argparse.Namespace) -> list[Section]:
    """The cost for each number of masters, under two loads."""
    with ExitStack() as stack:
        fleets = {name_of(number): stack.enter_context(Fleet(number, AT_ROOMS)) for number in options.masters}
        span = f"from {min(one for one in options.masters if one)} to {max(options.masters)} masters"
        return [
            Section(
                f"By masters, {AT_ROOMS:,} rooms, {title}", "", in_turn(fleets, load, options),
                f"{DELIVERY} {span}, {title}", [name_of(0)],
            )
            for load, title in ((BUSY, "a full core"), (LIGHT, f"{LIGHT.split()[1]} messages a second"))
        ]  # fmt: skip


def by_rooms(options: argparse.Namespace) -> tuple[Section, dict[str, Connection]]:
    """The cost for each number of rooms, and that of connections."""
    # Each generator, and each worker, has a part of the connections.
    possible = [rooms for rooms in options.rooms if 2 * rooms <= (open_files() - SPARE_FILES) * GENERATORS]
    with ExitStack() as stack:
        fleets = {f"{rooms:,}": stack.enter_context(Fleet(AT_MASTERS, rooms)) for rooms in possible}
        title = f"{AT_MASTERS} masters, {STEADY.split()[1]} messages a second"
        target = f"{DELIVERY} from {min(possible):,} to {max(possible):,} rooms, {title}"
        section = Section(f"By rooms, {title}", "rooms of two", in_turn(fleets, STEADY, options), target)
        return section, {name: fleet.connection for name, fleet in fleets.items() if fleet.rooms >= AT_ROOMS}


def by_shards(options: argparse.Namespace) -> tuple[Cost, str]:
    """The cost of each shard, and the title."""
    masters = max(options.masters)
    with Fleet(masters, SKEW_ROOMS) as fleet:
        title = f"Redis CPU per message over {masters} shards, {SKEW_ROOMS:,} rooms"
        return in_turn({"shards": fleet}, BUSY, options)["shards"], title


def facts(options: argparse.Namespace) -> list[str]:
    """The machine, the versions and the load."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    version = next(word[2:] for word in redis.split() if word.startswith("v="))
    return [
        f"- CPU: {len(models)} × {models[0] if models else platform.machine()} (virtual machine); kernel "
        f"{platform.release()}",
        f"- Python {platform.python_version()}, Redis {version}; {time.strftime('%Y-%m-%d')}",
        f"- messages of 400 bytes, rooms of two whose members are on different workers, {WORKERS} workers; workers and "
        "masters share one core; the history of rooms is on",
        f"- medians of {options.rounds} windows of {options.seconds:g} s; the fleets of a table are measured in turn",
    ]


# The run.


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster", description=__doc__)
    parser.add_argument("--table", action="append", choices=("masters", "rooms", "shards"), help="only this table")
    parser.add_argument("--masters", type=int, nargs="+", default=list(MASTERS))
    parser.add_argument("--rooms", type=int, nargs="+", default=list(ROOMS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--note", action="append", default=[], help="a line about the circumstances, for the page")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.relative_to(install.ROOT)}")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = read_options(arguments)
    tables = options.table or ("masters", "rooms", "shards")
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.build_load()
    # All that is started from here on inherits it; the load generators take another core.
    os.sched_setaffinity(0, {SERVER_CORE})
    sections = by_masters(options) if "masters" in tables else []
    connections: dict[str, Connection] = {}
    if "rooms" in tables:
        section, connections = by_rooms(options)
        sections.append(section)
    shards, title = by_shards(options) if "shards" in tables else (None, "")
    lines = page([*facts(options), *[f"- {note}" for note in options.note]], sections, connections, shards, title)
    print("", *lines, sep="\n")
    if options.record:
        RESULTS.write_text("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
