"""What the operating system and Redis say that something cost."""

import os
from collections.abc import Iterable
from pathlib import Path

from redis import Redis

__all__ = ["cpu_seconds", "memory", "open_files", "redis_calls", "stolen"]

PROC = Path("/proc")


def processes(root: int) -> list[int]:
    """A server's process and all that descend from it: a supervisor's workers may have sessions of their own."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name stands in brackets and may hold anything; what follows it does not.
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
    """CPU time of all threads of these and of what descends from them, by the scheduler, which counts nanoseconds."""
    total = 0
    for root in roots:
        for process in processes(root):
            for task in Path(f"/proc/{process}/task").glob("*/schedstat"):
                try:
                    total += int(task.read_text().split()[0])
                except OSError:
                    continue
    return total / 1e9


def memory(root: int) -> int:
    """Bytes of these processes; what they share is counted once (PSS)."""
    total = 0
    for process in processes(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def stolen() -> float:
    """Seconds that this machine's cores were wanted and not given, since it started: other guests had them."""
    steal = int((PROC / "stat").read_text().splitlines()[0].split()[8])
    return steal / os.sysconf("SC_CLK_TCK")


def redis_calls(port: int) -> int:
    """Commands that Redis has run, those inside scripts too; this question is not counted."""
    with Redis(port=port, decode_responses=True) as redis:
        stats = redis.info("commandstats")
    own = {"cmdstat_info", "cmdstat_client|setinfo", "cmdstat_hello"}
    return sum(stat["calls"] for name, stat in stats.items() if name not in own)


def open_files() -> int:
    """Files that one process may have open."""
    return int(os.sysconf("SC_OPEN_MAX"))
