"""One run of one attack: a new fleet, rooms that talk, the attacker in a process of its own, and the figures."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.abuse.arena import Arena, arena
from tests.abuse.attack import Attack
from tests.abuse.bystanders import Crowd, Newcomers, background, crowd
from tests.abuse.gauges import HealthGauge, LagGauge, RedisGauge, peak_memory, quantile
from tests.abuse.verdict import Figures
from tests.bench.accounting import cpu_seconds

NOTHING = "nothing"
"""The name of a run without an attack."""
_SETTLED = 10.0
"""Seconds after which a missing message counts as lost."""

_ENDED = 60.0
"""Seconds within which the attacker's process begins or ends: it has a low priority."""


class AttackFailed(Exception):
    """The attack itself has an error."""


@dataclass(frozen=True)
class Plan:
    """How long an attack goes on, beside how many uninvolved rooms, against which version of the relay."""

    seconds: float = 60.0
    rooms: int = 25
    tree: Path | None = None


async def play(attack: Attack | None, plan: Plan) -> Figures:
    """Run one attack (None: nothing) against a fleet of its own."""
    async with arena(plan.tree) as field, crowd(field.attacked, field.other, plan.rooms) as bystanders:
        newcomers, redis = Newcomers(), RedisGauge(field.redis.port)
        health, lag = HealthGauge(field.attacked.http), LagGauge()
        jobs = redis.watch, health.watch, lag.watch, lambda: newcomers.arrive(field.attacked)
        async with background(*jobs):
            log = field.attacked.log.stat().st_size
            async with background(bystanders.talk):
                costs, cpu = await _strike(attack, field, plan.seconds)
            await bystanders.settle(_SETTLED)
        assert field.attacked.process.poll() is None, f"the worker has exited: {field.attacked.logged}"
        log = field.attacked.log.stat().st_size - log
        return _figures(attack, plan, costs, cpu, bystanders, newcomers, redis, health, lag, field, log)


async def _strike(attack: Attack | None, field: Arena, seconds: float) -> tuple[dict[str, Any], dict[str, float]]:
    """Let the attack go on for this time; return its cost, and the CPU of each process, in seconds a second."""
    async with AsyncExitStack() as stack:
        roots = {"worker": field.attacked.process.pid, "redis": field.redis.pid}
        attacker = None
        if attack is not None:
            attacker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.abuse.attacker", attack.name, "127.0.0.1", str(field.attacked.port),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            stack.callback(lambda: attacker.kill() if attacker.returncode is None else None)
            roots["attacker"] = attacker.pid
            assert attacker.stdout is not None
            await asyncio.wait_for(attacker.stdout.readline(), _ENDED)
        before = {name: cpu_seconds([pid]) for name, pid in roots.items()}
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        took = asyncio.get_running_loop().time() - began
        cpu = {name: (cpu_seconds([pid]) - before[name]) / took for name, pid in roots.items()}
        if attacker is None:
            return {"bytes": 0, "peak": 0, "ends": {}}, cpu
        async with asyncio.timeout(_ENDED):
            out, errors = await attacker.communicate(b"")
        if attacker.returncode:
            raise AttackFailed(f"{attack and attack.name}: {errors.decode()}")
        return json.loads(out), cpu


def _figures(
    attack: Attack | None, plan: Plan, costs: dict[str, Any], cpu: dict[str, float], bystanders: Crowd,
    newcomers: Newcomers, redis: RedisGauge, health: HealthGauge, lag: LagGauge, field: Arena, log: int,
) -> Figures:  # fmt: skip
    counted = bystanders.ledger.verdict(0.0)
    latencies = bystanders.ledger.latencies()
    return Figures(
        attack=attack.name if attack else NOTHING,
        says=attack.says if attack else "No attack, for comparison.",
        seconds=plan.seconds,
        connections=costs["peak"],
        bytes_per_second=costs["bytes"] / plan.seconds,
        ends=costs["ends"],
        sent=counted.sent,
        p50=quantile(latencies, 0.5, _SETTLED),
        p99=quantile(latencies, 0.99, _SETTLED),
        # In a room of two, each message that the relay refused, or reported lost, is one delivery less.
        lost=max(0, counted.lost - bystanders.errors.total()),
        repeated=counted.repeated,
        disordered=counted.disordered,
        closes=dict(bystanders.closes),
        errors=dict(bystanders.errors),
        newcomers=len(newcomers.joined),
        refused=dict(newcomers.refused),
        longest_join=max(newcomers.joined, default=0.0),
        redis_share=redis.share,
        longest_script=redis.longest,
        worker_memory=peak_memory(field.attacked.process.pid),
        health=dict(health.answers),
        unready=sorted(health.unready),
        longest_health=health.longest,
        lag=quantile(lag.lags, 0.99),
        cpu=cpu,
        log_bytes=log,
    )
