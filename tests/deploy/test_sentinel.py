"""deploy/sentinel: a master, two replicas and three sentinels; the master is lost while clients talk."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.chaos.fault import Fault
from tests.chaos.rounds import Outcome
from tests.deploy.compose import Compose, wait_for
from tests.deploy.conftest import Enter, open_through, running
from tests.deploy.crowd import Visitors, count_through, replace_workers
from tests.deploy.page import SHOW_MASTER
from tests.deploy.power import (
    assert_least_power,
    assert_limited,
    networks_with_a_way_out,
    secrets_read_by,
    secrets_shown,
)

pytestmark = pytest.mark.timeout(600, func_only=True)

REDIS = ("redis", "redis-2", "redis-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
SERVICES = {name: "10002:10001" for name in (*REDIS, *SENTINELS)} | {"worker": "10001:10001", "lb": "99:99"}
WORKERS = 2
GRACE = 15.0
"""The grace time of the deployment."""
SLOWLY = 180.0
"""Seconds within which another Redis is the master: a busy machine makes sentinels pause for half a minute."""


@pytest.fixture(scope="module")
def sentinel(docker: None) -> Iterator[Compose]:
    """The variant, by the command of its page."""
    with running(Compose("sentinel"), WORKERS) as compose:
        yield compose


@pytest.fixture
async def enter(sentinel: Compose) -> AsyncIterator[Enter]:
    async for enter in open_through(sentinel):
        yield enter


def ask_sentinel(compose: Compose, *words: str, service: str = "sentinel-1") -> str:
    """The answer of a sentinel to the user of the workers."""
    [container] = compose.containers(service)
    command = ["redis-cli", "-p", "26379", "--no-auth-warning", "--user", "relay", "--pass", "", *words]
    return compose.docker("exec", container["Id"], *command)


def master(compose: Compose) -> str:
    """The master that all sentinels name; "" while they disagree."""
    named = {
        ask_sentinel(compose, "sentinel", "master", "relay", service=one).splitlines()[3]
        for one in SENTINELS
        if compose.containers(one)
    }
    return named.pop() if len(named) == 1 else ""


def role(compose: Compose, service: str) -> str:
    found = re.search(r"^role:(\w+)", compose.redis_cli("operator", "info replication", service=service), re.MULTILINE)
    return found[1] if found else ""


def history(compose: Compose, room: str, service: str) -> str:
    """The history of a room at one Redis."""
    return compose.redis_cli("operator", f"xrange 'relay:{{{room}}}:log' - +", service=service)


def states(compose: Compose) -> str:
    """The failed checks of all workers, as text for the report of a failed test."""
    checks = [compose.checks(worker) for worker in compose.containers("worker")]
    return json.dumps([{name: one["text"] for name, one in each.items() if not one["ok"]} for each in checks])


def in_step(compose: Compose, replicas: int) -> bool:
    """Whether each worker knows the master of the sentinels, with so many replicas."""
    leads = master(compose)
    texts = [compose.checks(worker)["replicas"]["text"] for worker in compose.containers("worker")]
    return all(f"master {leads}:6379" in text and f"replicas online: {replicas}," in text for text in texts)


async def test_clients_talk_and_a_message_is_acknowledged_by_a_replica(sentinel: Compose, enter: Enter) -> None:
    ann, ben = await enter("/rooms/talk?peer=ann"), await enter("/rooms/talk?peer=ben")
    assert sorted(sentinel.connections().values()) == [1, 1]
    answer = await ann.ask({"type": "publish", "envelope": {"message": "hello"}})
    assert answer["type"] == "ack"
    await ben.until(lambda event: event.get("message") == "hello")
    for replica in set(REDIS) - {master(sentinel)}:
        # All have it soon, and one had it before the answer.
        wait_for(lambda one=replica: "hello" in history(sentinel, "talk", one), 10)
    wait_for(lambda: in_step(sentinel, 2), SLOWLY, lambda: states(sentinel))
    for worker in sentinel.containers("worker"):
        assert sentinel.checks(worker)["replicas"]["ok"]
        assert sentinel.metric(worker, "relay_redis_replicas") == 2


def test_a_master_without_replicas_refuses_writes(sentinel: Compose) -> None:
    for service in REDIS:
        told = sentinel.redis_cli("operator", "config get 'min-replicas-*'", service=service).split()
        found: dict[str, Any] = dict(zip(told[::2], told[1::2], strict=True))
        assert found == {"min-replicas-to-write": "1", "min-replicas-max-lag": "10"}


def test_each_user_may_do_its_part_alone(sentinel: Compose) -> None:
    leads = master(sentinel)
    for service in REDIS:
        assert "NOAUTH" in sentinel.redis_cli("nobody", "ping", service=service).replace("WRONGPASS", "NOAUTH")
        for forbidden in ("flushall", "config get maxmemory", "replicaof no one", "set other 1", "failover"):
            assert "NOPERM" in sentinel.redis_cli("relay", forbidden, service=service), forbidden
        for forbidden in ("get relay:x", "config get requirepass", "flushall", "acl list"):
            assert "NOPERM" in sentinel.redis_cli("sentinel", forbidden, service=service), forbidden
            assert "NOPERM" in sentinel.redis_cli("replica", forbidden, service=service), forbidden
    assert sentinel.redis_cli("sentinel", "ping", service=leads) == "PONG"
    for forbidden in ("sentinel failover relay", "sentinel remove relay", "acl list", "shutdown"):
        assert "NOPERM" in ask_sentinel(sentinel, *forbidden.split())


def test_least_power(sentinel: Compose) -> None:
    assert_least_power(sentinel, SERVICES)
    assert_limited(sentinel, SERVICES)
    ways_out = networks_with_a_way_out(sentinel, SERVICES)
    assert {service for service, networks in ways_out.items() if networks} == {"lb"}
    for service in (*REDIS, *SENTINELS):
        for container in sentinel.containers(service):
            assert {name.rpartition("_")[2] for name in container["NetworkSettings"]["Networks"]} == {"back", "nodes"}
            assert not container["HostConfig"]["PortBindings"]


def test_secrets_are_not_visible_and_workers_read_theirs_alone(sentinel: Compose) -> None:
    assert secrets_shown(sentinel, SERVICES) == []
    worker = sentinel.containers("worker")[0]
    assert secrets_read_by(sentinel, worker) == {"redis_password", "admin_token", "fleet_secret", "turn_secret"}


def test_the_command_of_the_page_shows_the_master(sentinel: Compose) -> None:
    told = sentinel.run("sh", "-c", SHOW_MASTER.replace(" exec ", " exec -T "))
    assert told.splitlines()[3] == master(sentinel)


async def test_an_upgrade_loses_nothing(sentinel: Compose, record: Callable[[Outcome], None]) -> None:
    fault = Fault("Sentinel: every worker replaced (`deploy/upgrade.sh`)", replace_workers, durable=True)  # type: ignore[arg-type]
    outcome = await count_through(fault, sentinel, seed=3, within=GRACE + 1)
    record(outcome)
    assert outcome.faults(in_time=False) == []
    assert outcome.verdict.lost_acknowledged == 0


async def lose_master(crowd: Visitors) -> None:
    """The container of the master is killed, and stays away until clients are served by another one."""
    compose = crowd.compose
    old = await asyncio.to_thread(master, compose)
    crowd.excused |= crowd.members.keys()
    await asyncio.to_thread(compose, "kill", "--signal", "KILL", old)

    def followed() -> bool:
        return master(compose) not in {"", old} and in_step(compose, 1) and compose.balanced() == WORKERS

    await asyncio.to_thread(wait_for, followed, SLOWLY, lambda: states(compose))
    crowd.over()
    await asyncio.sleep(2)
    await asyncio.to_thread(compose, "start", old)
    await asyncio.to_thread(
        wait_for, lambda: role(compose, old) == "slave" and in_step(compose, 2), SLOWLY, lambda: states(compose)
    )


async def test_another_master_takes_over_and_nothing_acknowledged_is_lost(
    sentinel: Compose, record: Callable[[Outcome], None]
) -> None:
    fault = Fault("Sentinel: the master killed (`docker compose kill redis`)", lose_master, durable=True)  # type: ignore[arg-type]
    failovers = [sentinel.metric(worker, "relay_redis_failovers_total") for worker in sentinel.containers("worker")]
    # Senders go on until another master is there, however busy the machine is.
    outcome = await count_through(fault, sentinel, seed=1, patience=SLOWLY, within=GRACE + 1)
    record(outcome)
    assert outcome.faults(in_time=False) == []
    assert outcome.verdict.lost_acknowledged == 0
    for before, worker in zip(failovers, sentinel.containers("worker"), strict=True):
        assert sentinel.metric(worker, "relay_redis_failovers_total") > before


async def is_served(compose: Compose, enter: Enter) -> bool:
    wait_for(lambda: in_step(compose, 2), SLOWLY, lambda: states(compose))
    wait_for(compose.ready)
    ann = await enter("/rooms/after")
    answer = await ann.ask({"type": "publish", "envelope": {"message": "hello"}})
    return bool(answer["type"] == "ack")


async def test_new_secrets_need_a_restart_alone(sentinel: Compose, enter: Enter) -> None:
    sentinel("run", "--rm", "secrets", "new")
    sentinel("restart")
    assert await is_served(sentinel, enter)


async def test_a_stop_and_a_start_change_nothing(sentinel: Compose, enter: Enter) -> None:
    """Containers may have other addresses on the network of the workers then."""
    sentinel("stop")
    sentinel("start")
    assert await is_served(sentinel, enter)
