"""Operations and faults while members behind the load balancer exchange messages: every message is counted."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.chaos.faults import Fault
from tests.chaos.rounds import Outcome
from tests.deploy.compose import WORKERS, Compose, require, wait_for
from tests.deploy.crowd import Visitors, count_through, replace_workers

LONGER = 15.0
"""The grace time of the deployment, which is longer than its lease."""
UNNOTICED = 8.0
"""Seconds for which the load balancer may count workers that have not reached Redis again; holds go on from then."""
ROOMS, RATE = 12, 50
EVENTS: list[Fault] = []

pytestmark = pytest.mark.timeout(400, func_only=True)

Strike = Callable[[Visitors], Awaitable[None]]


def event(name: str, *, forgets: bool = False, pauses: float = 0) -> Callable[[Strike], Strike]:
    """A fault; it returns when the fault is over and everything is restored, as far as the load balancer knows."""

    def add(strike: Strike) -> Strike:
        EVENTS.append(Fault(name, strike, forgets=forgets, pauses=pauses))  # type: ignore[arg-type]  # a crowd is as good as an arena
        return strike

    return add


def do(crowd: Visitors, *arguments: str) -> Awaitable[str]:
    return asyncio.to_thread(crowd.compose, *arguments)


def all_well(compose: Compose) -> bool:
    return compose.ready() and len(compose.containers("worker")) == compose.balanced() == WORKERS


async def all_are_back(crowd: Visitors) -> None:
    await asyncio.to_thread(wait_for, lambda: all_well(crowd.compose))


async def crowded(crowd: Visitors) -> dict[str, Any]:
    """A worker that has clients."""
    counts = await asyncio.to_thread(crowd.compose.connections)
    assert any(counts.values())
    busiest = max(counts, key=lambda name: counts[name])
    workers = await asyncio.to_thread(crowd.compose.containers, "worker")
    return next(one for one in workers if one["Id"].startswith(busiest))


@event("a worker killed (`docker kill -s KILL`)")
async def kill_worker(crowd: Visitors) -> None:
    worker = await crowded(crowd)
    await asyncio.to_thread(crowd.compose.docker, "kill", "--signal", "KILL", worker["Id"])
    await asyncio.sleep(2)
    await asyncio.to_thread(crowd.compose.scale, WORKERS)


@event("Redis restarted (`docker compose restart redis`)", pauses=UNNOTICED)
async def restart_redis(crowd: Visitors) -> None:
    await do(crowd, "restart", "redis")
    await all_are_back(crowd)


@event("Redis killed and started", pauses=UNNOTICED)
async def kill_redis(crowd: Visitors) -> None:
    await do(crowd, "kill", "--signal", "KILL", "redis")
    await do(crowd, "start", "redis")
    await all_are_back(crowd)


@event("scaled 3 → 5 → 2 → 3")
async def scale(crowd: Visitors) -> None:
    for count in (5, 2, WORKERS):
        await asyncio.to_thread(crowd.compose.scale, count)
    await all_are_back(crowd)


@event("the load balancer restarted")
async def restart_balancer(crowd: Visitors) -> None:
    reconnects = sum(room.reconnects for room in crowd.members.values())
    await do(crowd, "restart", "lb")
    await crowd.show(
        "nobody had to come back", lambda: sum(room.reconnects for room in crowd.members.values()) > reconnects
    )
    await all_are_back(crowd)


@event("the load balancer's configuration loaded anew")
async def reload_balancer(crowd: Visitors) -> None:
    reconnects = sum(room.reconnects for room in crowd.members.values())
    await do(crowd, "kill", "--signal", "USR2", "lb")
    await asyncio.sleep(3)
    assert sum(room.reconnects for room in crowd.members.values()) == reconnects, "a reload cost connections"
    await all_are_back(crowd)


@event("a worker cut off from Redis (`docker network disconnect`)")
async def cut_off(crowd: Visitors) -> None:
    """The load balancer takes the worker out. Its clients stay, as it cannot know whether others reach Redis."""
    compose, network = crowd.compose, f"{crowd.compose.project}_back"
    name = (await crowded(crowd))["Id"][:12]
    await asyncio.to_thread(compose.docker, "network", "disconnect", network, name)
    try:
        await asyncio.to_thread(wait_for, lambda: compose.balanced() == WORKERS - 1, 20)
        # Its two connections find out one after the other.
        await asyncio.to_thread(wait_for, lambda: "not ready; redis: " in compose.health(name), 20)
    finally:
        await asyncio.to_thread(compose.docker, "network", "connect", network, name)
    await asyncio.to_thread(wait_for, lambda: ": ready" in compose.health(name))
    await all_are_back(crowd)


@event("a worker made deaf (its subscription's packets dropped)")
async def deafen(crowd: Visitors) -> None:
    """Only the subscription is cut: the worker is taken out, and closes its connections after half a minute."""
    compose = crowd.compose
    worker = await crowded(crowd)
    name, process = worker["Id"][:12], str(worker["State"]["Pid"])
    rule = ["INPUT", "--protocol", "tcp", "--source-port", "6379", "!", "--destination-port",
            await asyncio.to_thread(commands_port, compose, name), "--jump", "DROP"]  # fmt: skip
    tables = [require("nsenter"), "--target", process, "--net", require("iptables")]
    await asyncio.to_thread(compose.run, *tables, "--append", *rule)
    try:
        await asyncio.to_thread(wait_for, lambda: compose.connections()[name] == 0, 60)
        await asyncio.to_thread(wait_for, lambda: compose.balanced() == WORKERS - 1, 20)
        assert "not ready; subscription: " in await asyncio.to_thread(compose.health, name)
    finally:
        await asyncio.to_thread(compose.run, *tables, "--delete", *rule)
    await asyncio.to_thread(wait_for, lambda: ": ready" in compose.health(name))
    await all_are_back(crowd)


def commands_port(compose: Compose, worker: str) -> str:
    """The local address of a worker's connection for commands; the newest one, as Redis may still list dead ones."""
    [redis] = compose.containers("redis")
    line = 'REDISCLI_AUTH="$(cat /run/relay/operator_password)" redis-cli --user operator client list type normal'
    clients = compose.docker("exec", redis["Id"], "sh", "-c", line).splitlines()
    ports = [re.findall(r"^id=(\d+) addr=[\d.]+:(\d+)", one)[0] for one in clients if f" name=relay-{worker}-" in one]
    return str(max(ports, key=lambda one: int(one[0]))[1])


@event("every worker replaced, one after the other (`deploy/upgrade.sh`)")
async def upgrade(crowd: Visitors) -> None:
    await replace_workers(crowd)


@event("everything stopped and started (`docker compose stop`)", forgets=True)
async def stop_everything(crowd: Visitors) -> None:
    """Workers close their connections first. If that exceeds the grace time, members may be told of a loss."""
    workers = await asyncio.to_thread(crowd.compose.containers, "worker")
    crowd.excused |= set(crowd.members)
    await do(crowd, "stop")
    for worker in workers:
        [inspected] = await asyncio.to_thread(crowd.compose.inspect, worker["Id"])
        assert inspected["State"]["ExitCode"] == 0
    await asyncio.to_thread(crowd.compose.scale, WORKERS)
    await all_are_back(crowd)


@pytest.mark.parametrize("fault", EVENTS, ids=[fault.name.partition(" (")[0] for fault in EVENTS])
async def test_nothing_is_lost(fault: Fault, compose: Compose, record: Callable[[Outcome], None]) -> None:
    within = LONGER + 1 + fault.pauses
    outcome = await count_through(
        fault, compose, seed=EVENTS.index(fault), rooms=ROOMS, guests=6, rate=RATE, within=within
    )
    record(outcome)
    assert outcome.faults(in_time=False) == []
