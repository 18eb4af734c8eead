"""Whom a list of 100,000 rooms blocks, on one Redis and on a cluster of three masters.

`python -m tests.bench.room_list`. The rooms are those of 40 workers, two of which have members in each room. While one
worker reads the whole list, page by page, a process of its own asks each Redis without a pause; the longest time
without an answer counts, beside the same without a list. Of the worker, the longest turn of its event loop counts, in
CPU time.
"""

import argparse
import asyncio
import gc
import multiprocessing
import multiprocessing.connection
import sys
import time
from asyncio import events
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import redis as redis_py

from relay.backend.factory import build_backend
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.slots import slot_of_key
from relay.backend.redis.keys import Keys
from relay.backend.settings import BackendSettings, LeaseSettings, RedisSettings, RoomSettings
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.room_list import RoomQuery
from tests.clusters import Cluster, shares
from tests.fleet import RedisServer

ROOMS, WORKERS, PAGE, BATCH = 100_000, 40, 1000, 2000
FAR = 2**52
FIRST = 50
"""Rooms of each worker at least, with which it is registered in all groups."""


def fill(nodes: Sequence[RedisServer], keys: Keys, rooms: int, workers: int) -> None:
    """Write the entries of all rooms, and the sets of the workers that have members in them."""
    ends = [last for _, last in shares(len(nodes))]
    pipes = [node.client.pipeline(transaction=False) for node in nodes]

    def at(key: str) -> Any:
        slot = slot_of_key(key) if len(nodes) > 1 else 0
        return pipes[next(number for number, last in enumerate(ends) if slot <= last)]

    for number in range(rooms):
        room = f"room{number:06}"
        at(keys.of_room(room)[1]).hset(keys.of_room(room)[1], mapping={"a": "entry", "b": "entry"})
        group = keys.leases_of_room(room)
        for worker in (number % workers, (number * 7 + 1) % workers):
            lease = f"w{worker}/1"
            if number < FIRST * workers:
                at(group.workers).zadd(group.workers, {lease: FAR})
            at(group.workers).sadd(group.worker_rooms(lease), room)
            at(group.workers).zadd(group.worker_index(lease), {room: 0})
        if number % BATCH == BATCH - 1:
            for pipe in pipes:
                pipe.execute()
    for pipe in pipes:
        pipe.execute()


def listen(port: int, stop: Any, found: "multiprocessing.connection.Connection") -> None:
    """Ask one Redis without a pause; send the longest time between two answers (s)."""
    longest = 0.0
    with closing(redis_py.Redis(port=port)) as client:
        client.ping()
        last = time.perf_counter()
        while not stop.is_set():
            client.ping()
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
    found.send(longest)


@contextmanager
def listeners(nodes: Sequence[RedisServer], gaps: list[float]) -> Iterator[None]:
    """Ask all nodes meanwhile; adds the longest gap of each."""
    stop, started = multiprocessing.Event(), []
    for node in nodes:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=listen, args=(node.port, stop, there))
        process.start()
        started.append((process, here))
    yield
    stop.set()
    for process, here in started:
        gaps.append(here.recv())
        process.join()


class Turns:
    """The longest turn of the event loop, in CPU seconds of its thread."""

    def __init__(self) -> None:
        self.longest = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure each callback."""
        run = events.Handle._run  # type: ignore[attr-defined]

        def timed(handle: Any) -> None:
            began = time.thread_time()
            run(handle)
            # The turn in which the list ends does more than listing.
            if events.Handle._run is timed:  # type: ignore[attr-defined]
                self.longest = max(self.longest, time.thread_time() - began)

        events.Handle._run = timed  # type: ignore[attr-defined]
        try:
            yield
        finally:
            events.Handle._run = run  # type: ignore[attr-defined]


async def measure(url: str, nodes: Sequence[RedisServer], rooms: int) -> str:
    """Read the whole list; return the figures as cells of a table."""
    settings = BackendSettings(
        RoomSettings(), LeaseSettings(), RedisSettings(url, prefix="relay", timeout=10, queue=10_000, probe_timeout=60)
    )
    backend = build_backend(
        settings, worker="lister", sink=lambda events: None, fleet_key=FleetKey(), metrics=Metrics(),
        clock=time.monotonic,
    )  # fmt: skip
    async with backend:
        while not backend.bus.health().ready:
            await asyncio.sleep(0.05)
        quiet, busy, turns = list[float](), list[float](), Turns()
        for node in nodes:
            with node.client as client:
                client.config_resetstat()
        # The garbage of filling is no part of a worker.
        gc.collect()
        gc.freeze()
        began, pages, listed, after = time.monotonic(), 0, 0, ""
        with listeners(nodes, busy), turns.watched():
            while True:
                page = await backend.list_rooms(RoomQuery(after=after, limit=PAGE))
                pages, listed, after = pages + 1, listed + len(page.rooms), page.next
                if not after:
                    break
        took = time.monotonic() - began
        assert listed == rooms, f"{listed} rooms"
        commands = 0
        for node in nodes:
            with node.client as client:
                statistics = client.info("commandstats")
            commands += sum(one["calls"] for name, one in statistics.items() if name != "cmdstat_ping")
        with listeners(nodes, quiet):
            await asyncio.sleep(took)
    figures = (max(busy) * 1000, max(quiet) * 1000, turns.longest * 1000, took / pages * 1000)
    return " | ".join([*(f"{one:.1f}" for one in figures), f"{commands / pages:,.0f}"])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.room_list", description=__doc__)
    parser.add_argument("--rooms", type=int, default=ROOMS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--masters", type=int, nargs="*", default=[0, 3], help="0: one Redis that is no cluster")
    options = parser.parse_args(arguments)
    columns = (
        "", "longest gap at Redis, ms", "the same without a list", "longest turn of the worker, CPU ms", "a page, ms",
        "commands a page",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n| --- |" + " ---: |" * (len(columns) - 1))
    for masters in options.masters:
        started = Cluster(masters) if masters else RedisServer()
        try:
            started.start()
            nodes = started.masters if isinstance(started, Cluster) else [started]
            fill(nodes, ClusterKeys("relay") if masters else Keys("relay"), options.rooms, options.workers)
            name = f"{masters} masters" if masters else "one Redis"
            print(f"| {name} | {asyncio.run(measure(started.url, nodes, options.rooms))} |", flush=True)
        finally:
            started.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
