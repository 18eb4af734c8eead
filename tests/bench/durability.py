"""The cost of `durability`: CPU and latency of acknowledged messages with it and without.

`python -m tests.bench.durability`: a master and two replicas on one machine, one worker, and clients in rooms of two
that send with a key: at a rate, spread evenly, or with `--rate 0` each as soon as its last message is acknowledged. CPU
is that of the processes, and says nearly the same on a busy machine; latencies do not.
"""

import argparse
import asyncio
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from tests.fleet import Client, RedisServer, Relay

_COLUMNS = (
    "durability", "messages", "worker, µs", "master, µs", "replica, µs", "replica, µs", "WAITs a message", "p50, ms",
    "p99, ms",
)  # fmt: skip
SPREAD = 40
"""Clients that begin one after the other within the time between two messages of one."""

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Result:
    """Acknowledged messages, their latencies (s), CPU seconds by process, and the number of WAITs."""

    messages: int
    latencies: list[float]
    cpu: dict[str, float]
    waits: int

    def row(self, name: str) -> str:
        """A line of the table."""
        micros = [1e6 * seconds / self.messages for seconds in self.cpu.values()]
        p50, p99 = (statistics.quantiles(self.latencies, n=100)[at] * 1000 for at in (49, 98))
        cells = [name, f"{self.messages:,}", *(f"{one:.1f}" for one in micros), f"{self.waits / self.messages:.2f}"]
        return "| " + " | ".join([*cells, f"{p50:.2f}", f"{p99:.2f}"]) + " |"


def cpu_of(pid: int) -> float:
    """The CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def talk(client: Client, number: int, end: float, interval: float) -> list[float]:
    """Send messages with keys until a time; return the seconds until each acknowledgement."""
    clock, found = asyncio.get_running_loop().time, []
    due = clock() + number * interval / SPREAD
    while (now := clock()) < end:
        if now < due:
            await asyncio.sleep(due - now)
            now = clock()
        due = max(due, now - interval) + interval
        key = f"{number}-{len(found)}"
        await client.send({"type": "publish", "key": key, "envelope": {"message": "x" * 100}})
        await client.until(lambda event, key=key: event.get("key") == key and event["type"] == "ack")
        found.append(clock() - now)
    return found


async def measure(servers: list[RedisServer], durability: str, options: argparse.Namespace) -> Result:
    """Run one worker with this setting."""
    relay = Relay(quick={}, redis_url=servers[0].url, durability=durability, message_rate=100_000)
    try:
        await relay.ready()
        clients = [
            await Client.open(f"{relay.ws}/rooms/room{number // 2}?peer=p{number}") for number in range(options.clients)
        ]
        with servers[0].client as client:
            client.config_resetstat()
            pids = {"relay": relay.process.pid, **{f"redis{n}": one.pid for n, one in enumerate(servers)}}
            before = {name: cpu_of(pid) for name, pid in pids.items()}
            interval = options.clients / options.rate if options.rate else 0.0
            end = asyncio.get_running_loop().time() + options.seconds
            each = await asyncio.gather(*[talk(one, number, end, interval) for number, one in enumerate(clients)])
            cpu = {name: cpu_of(pid) - before[name] for name, pid in pids.items()}
            waits = client.info("commandstats").get("cmdstat_wait", {}).get("calls", 0)
        for one in clients:
            await one.close()
        latencies = [latency for some in each for latency in some]
        return Result(len(latencies), latencies, cpu, waits)
    finally:
        relay.close()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.durability")
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1000, help="messages a second in all; 0: as fast as possible")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    servers = [RedisServer().start() for _ in range(3)]
    try:
        for replica in servers[1:]:
            await asyncio.to_thread(replica.follow, servers[0])
        print(f"| {' | '.join(_COLUMNS)} |\n| --- |" + " ---: |" * (len(_COLUMNS) - 1))
        for durability in ("redis", "replicas=1", "replicas=2", "redis"):
            print((await measure(servers, durability, options)).row(durability), flush=True)
    finally:
        for one in servers:
            one.close()


if __name__ == "__main__":
    asyncio.run(main())
