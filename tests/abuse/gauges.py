"""Gauges of Redis, of a worker and of its health during an attack, sampled all the time."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2 as httpx
from redis.asyncio import Redis

ADDRESS: Final = "127.0.0.4"
"""The address of the load balancer that asks for the health."""
_EVERY: Final = 0.2
_ANSWERED: Final = 10.0
_TICK: Final = 0.02


@dataclass
class RedisGauge:
    """The largest share of its memory that Redis used; `longest` is its longest command in seconds."""

    port: int
    share: float = 0.0
    longest: float = 0.0
    slow: Counter[str] = field(default_factory=Counter)

    async def watch(self) -> None:
        """Sample until it is cancelled."""
        async with Redis(port=self.port, decode_responses=True) as redis:
            await redis.config_set("slowlog-log-slower-than", 1000)
            await redis.config_set("slowlog-max-len", 512)
            await redis.slowlog_reset()
            while True:
                memory = await redis.info("memory")
                self.share = max(self.share, memory["used_memory"] / memory["maxmemory"])
                for entry in await redis.slowlog_get(512):
                    self.longest = max(self.longest, entry["duration"] / 1e6)
                await redis.slowlog_reset()
                await asyncio.sleep(_EVERY)


@dataclass
class HealthGauge:
    """All answers of `/health`, by status ("no answer" for none), and the longest time of one in seconds."""

    url: str
    answers: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    unready: set[str] = field(default_factory=set)

    async def watch(self) -> None:
        """Ask until it is cancelled, each time over a new connection."""
        transport = httpx.AsyncHTTPTransport(local_address=ADDRESS, limits=httpx.Limits(max_keepalive_connections=0))
        async with httpx.AsyncClient(transport=transport, timeout=_ANSWERED) as client:
            while True:
                began = time.monotonic()
                try:
                    answer = await client.get(f"{self.url}/health")
                    self.answers[str(answer.status_code)] += 1
                    if answer.status_code != httpx.codes.OK:
                        self.unready |= _failed_checks(answer)
                except httpx.HTTPError as error:
                    self.answers["no answer"] += 1
                    self.unready.add(type(error).__name__)
                self.longest = max(self.longest, time.monotonic() - began)
                await asyncio.sleep(_EVERY)


def _failed_checks(answer: httpx.Response) -> set[str]:
    try:
        return {name for name, check in answer.json()["checks"].items() if not check["ok"]}
    except (ValueError, KeyError):
        return {answer.text[:100]}


@dataclass
class LagGauge:
    """The delay of the tasks of this process, in seconds, which the measuring itself adds to a latency."""

    lags: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        """Sample until it is cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK)
            self.lags.append(time.monotonic() - began - _TICK)


def peak_memory(pid: int) -> int:
    """The most memory that a process ever had resident, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def quantile(values: list[float], share: float, default: float = 0.0) -> float:
    """The value below which this share of the values is; the default if there are none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else default
