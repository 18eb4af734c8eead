"""CPU time, memory and commands, as the operating system and Redis count them."""

import os
from collections.abc import Iterable
from pathlib import Path

from redis import Redis

__all__ = ["cpu_seconds", "memory", "open_files", "own_cpu_seconds", "processes", "redis_calls", "stolen"]

PROC = Path("/proc")


def processes(root: int) -> list[int]:
    """A server's process and all its descendants: the workers of a supervisor may be in other process sessions."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name is in brackets and may contain anything, brackets too; the fields after it are plain.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of all threads of these processes and their descendants; the scheduler counts it in nanoseconds."""
    return own_cpu_seconds(process for root in roots for process in processes(root))


def own_cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads of these processes alone, which is read in far less time than that of descendants."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def memory(root: int) -> int:
    """Bytes of memory of these processes; shared pages are counted once (PSS)."""
    total = 0
    for process in processes(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def stolen() -> float:
    """Seconds since the start of this machine in which other virtual machines used its cores while it needed them."""
    steal = int((PROC / "stat").read_text().splitlines()[0].split()[8])
    return steal / os.sysconf("SC_CLK_TCK")


def redis_calls(port: int) -> int:
    """Commands that Redis has run, including those inside scripts and without this query."""
    with Redis(port=port, decode_responses=True) as redis:
        stats = redis.info("commandstats")
    own = {"cmdstat_info", "cmdstat_client|setinfo", "cmdstat_hello"}
    return sum(stat["calls"] for name, stat in stats.items() if name not in own)


def open_files() -> int:
    """The number of files that one process may open."""
    return int(os.sysconf("SC_OPEN_MAX"))
