"""The plan for many connections, calculated from measured figures: the table of deploy/README.md.

`python -m tests.bench.plan` prints it for a million and ten million connections; `--connections`, `--fleets`,
`--members`, `--interval`, `--session`, `--clients` and `--history` put in other numbers.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

__all__ = ["LOADS", "Load", "Plan", "table"]

# Measured. [c] is tests/bench/results/cluster.md, [r] an earlier run of the benchmark, and [s] tests/deploy/sizing.py.

WORKER_MESSAGE: Final = 66e-6
"""CPU seconds of both workers for a message in a room of two, of 10,000 rooms, six masters, a full core [c]."""

REDIS_MESSAGE: Final = 24e-6
"""CPU seconds of Redis for the same, with the history [c]."""

SILENT: Final = 2.9e-6
"""CPU seconds a second for an idle connection, worker and Redis: the growth from 20 to 40,000 connections [c]."""

PAIR: Final = 1.5e-3
"""CPU seconds a second for each worker at each master (probes, leases, looks at the topology), half of it each [c]."""

HANDSHAKE: Final = 410e-6
"""CPU seconds of worker and Redis for a handshake, the join and the subscription among it, 10,000 rooms [c]."""

WORKER_MEMORY: Final = 33e6
"""Bytes of an empty worker [s]."""

CONNECTION_MEMORY: Final = 5.5e3
BALANCER_MEMORY: Final = 11.7e3
"""Bytes of a connection, at the worker and at the load balancer [s]."""

MEMBER_MEMORY: Final = 550
MESSAGE_MEMORY: Final = 516
"""Bytes of Redis for a member [r], and for a message in the history [s]."""

FRAME: Final = 470
REDIS_IN: Final = 1141
REDIS_OUT: Final = 577
"""Bytes of a message of 400 at a client, into Redis, and out of it for each worker [c]."""

SHARE: Final = 0.6
"""The share of a core that is planned for."""

REDIS_CEILING: Final = 10e9
"""Bytes of a master's memory: beyond, a copy for a new replica takes minutes."""


@dataclass(frozen=True)
class Load:
    """The assumptions: clients, members of a room, each on a worker of its own, and seconds between messages of one.

    `session` is how long a client stays (s), `clients` how many a worker has at most, `history` how many messages a
    room keeps. Of several fleets, each has its own rooms, workers and cluster.
    """

    connections: int = 1_000_000
    fleets: int = 1
    members: int = 4
    interval: float = 10
    session: float = 300
    clients: int = 25_000
    history: int = 50


LOADS = (Load(), Load(connections=10_000_000, fleets=5))
"""The columns of the page."""


class Plan:
    """The needs of one of the fleets; raises ValueError if no number of workers is enough."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.connections = load.connections / load.fleets
        self.messages = self.connections / load.interval
        # A message in a room of two is for two workers; each further one counts as half.
        self.publishing = self.messages * WORKER_MESSAGE * load.members / 2
        self.at_redis = self.messages * REDIS_MESSAGE * load.members / 2
        self.silent = self.connections * SILENT
        self.handshakes = self.connections / load.session * HANDSHAKE
        self.memory = self.connections * (MEMBER_MEMORY + load.history * MESSAGE_MEMORY / load.members)
        self.workers, self.masters = self._sized(ceil(self.connections / load.clients))
        self.pairs = self.workers * self.masters * PAIR
        self.worker = (self.publishing + self.silent + self.handshakes + self.pairs / 2) / self.workers

    def _sized(self, workers: int) -> tuple[int, int]:
        """Return the numbers of workers and masters; each has a core, and time for all of the others."""
        while (left := SHARE - workers * PAIR / 2) > 0:
            masters = max(ceil(self.at_redis / left), ceil(self.memory / REDIS_CEILING))
            cores = self.publishing + self.silent + self.handshakes + workers * masters * PAIR / 2
            if cores <= SHARE * workers:
                return workers, masters
            workers += 1
        raise ValueError(f"one fleet is not enough for {self.connections:,.0f} connections")


def table(loads: Sequence[Load]) -> list[str]:
    """Return the lines of the table, a column for each load."""
    plans, one = [Plan(load) for load in loads], loads[0]
    half = f"{one.members} ÷ 2"

    def total(value: float, plan: Plan, form: str = ",.1f") -> str:
        return format(value * plan.load.fleets, form)

    def each(number: int, plan: Plan) -> str:
        return f"{plan.load.fleets} × {number:,}" if plan.load.fleets > 1 else f"{number:,}"

    rows: Sequence[tuple[str, str, Callable[[Plan], str]]] = (
        ("messages a second", f"connections ÷ {one.interval:g} s", lambda plan: total(plan.messages, plan, ",.0f")),
        ("idle connections, cores", f"connections × {SILENT * 1e6:g} µs a second [c]",
         lambda plan: total(plan.silent, plan)),
        ("handshakes, cores", f"connections ÷ {one.session:g} s × {HANDSHAKE * 1e6:,.0f} µs [c]",
         lambda plan: total(plan.handshakes, plan)),
        ("messages at workers, cores", f"messages × {WORKER_MESSAGE * 1e6:.0f} µs [c] × {half}",
         lambda plan: total(plan.publishing, plan)),
        ("messages at masters, cores", f"messages × {REDIS_MESSAGE * 1e6:.0f} µs [c] × {half}",
         lambda plan: total(plan.at_redis, plan)),
        ("each worker at each master, cores", f"workers × masters × {PAIR * 1e3:g} ms a second [c], half of it each",
         lambda plan: total(plan.pairs, plan)),
        ("**workers**", f"{one.clients:,} connections and {SHARE:.0%} of a core each",
         lambda plan: each(plan.workers, plan)),
        ("**masters**, and as many replicas", f"{SHARE:.0%} of a core and {REDIS_CEILING / 1e9:.0f} GB each",
         lambda plan: each(plan.masters, plan)),
        ("a worker, cores", "the above ÷ workers", lambda plan: f"{plan.worker:.2f}"),
        ("a worker, memory", f"{WORKER_MEMORY / 1e6:.0f} MB + its connections × {CONNECTION_MEMORY / 1e3:g} KB [s]",
         lambda plan: f"{(WORKER_MEMORY + plan.connections / plan.workers * CONNECTION_MEMORY) / 1e6:.0f} MB"),
        ("a master, memory", f"(connections × {MEMBER_MEMORY} bytes [r] + rooms × {one.history} × {MESSAGE_MEMORY} "
         "bytes [s]) ÷ masters", lambda plan: f"{plan.memory / plan.masters / 1e9:.1f} GB"),
        ("a master, connections", "2 × workers", lambda plan: f"{2 * plan.workers:,}"),
        ("to clients, Gbit/s", f"messages × {one.members - 1} × {FRAME} bytes × 8",
         lambda plan: total(plan.messages * (one.members - 1) * FRAME * 8 / 1e9, plan)),
        ("into a master and out, Gbit/s",
         f"messages × {REDIS_IN} bytes, and {one.members} × {REDIS_OUT} [c], × 8 ÷ masters",
         lambda plan: f"{plan.messages * REDIS_IN * 8e-9 / plan.masters:.2f}, "
                      f"{plan.messages * REDIS_OUT * one.members * 8e-9 / plan.masters:.2f}"),
        ("load balancers, memory", f"connections × {BALANCER_MEMORY / 1e3:g} KB [s]",
         lambda plan: total(plan.connections * BALANCER_MEMORY / 1e9, plan, ",.0f") + " GB"),
        ("all clients come back at once", f"connections × {HANDSHAKE * 1e6:.0f} µs ÷ workers, at least",
         lambda plan: f"{plan.connections * HANDSHAKE / plan.workers:.0f} s"),
    )  # fmt: skip
    fleets = [f" in {load.fleets} fleets" if load.fleets > 1 else "" for load in loads]
    titles = ["", "calculation", *(f"{load.connections:,}{text}" for load, text in zip(loads, fleets, strict=True))]
    lines = [f"| {' | '.join(titles)} |", "| --- | --- |" + " ---: |" * len(loads)]
    lines += [f"| {' | '.join([name, how, *(show(plan) for plan in plans)])} |" for name, how, show in rows]
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plan", description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[load.connections for load in LOADS])
    parser.add_argument("--fleets", type=int, nargs="+", default=[load.fleets for load in LOADS])
    for name in ("members", "clients", "history"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Load(), name))
    for name in ("interval", "session"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Load(), name))
    options = vars(parser.parse_args(arguments))
    pairs = zip(options.pop("connections"), options.pop("fleets"), strict=False)
    try:
        print(*table([Load(connections=number, fleets=fleets, **options) for number, fleets in pairs]), sep="\n")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
