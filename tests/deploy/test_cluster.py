"""deploy/cluster: three masters, three replicas and a spare one; a master is lost while rooms talk."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from relay.backend.redis.cluster.slots import slot_of_tag
from tests.chaos.fault import Fault
from tests.chaos.rounds import Outcome
from tests.clusters import shares
from tests.deploy.compose import Compose, wait_for
from tests.deploy.conftest import Enter, open_through, running
from tests.deploy.crowd import Visitors, count_through, replace_workers
from tests.deploy.page import SHOW_NODES
from tests.deploy.power import (
    assert_least_power,
    assert_limited,
    networks_with_a_way_out,
    secrets_read_by,
    secrets_shown,
)
from tests.fleet import Client, eventually

pytestmark = pytest.mark.timeout(600, func_only=True)

NODES = ("redis", "redis-2", "redis-3", "redis-4", "redis-5", "redis-6", "redis-7")
MASTERS = NODES[:3]
SERVICES = dict.fromkeys(NODES, "10002:10001") | {"worker": "10001:10001", "lb": "99:99"}
WORKERS = 2
GRACE = 15.0
"""The grace time of the deployment."""
SLOWLY = 180.0
"""Seconds within which the cluster is whole again: a spare replica waits before it follows another master."""


@pytest.fixture(scope="module")
def cluster(docker: None) -> Iterator[Compose]:
    """The variant, by the command of its page."""
    with running(Compose("cluster"), WORKERS) as compose:
        yield compose


@pytest.fixture
async def enter(cluster: Compose) -> AsyncIterator[Enter]:
    async for enter in open_through(cluster):
        yield enter


def room_at(master: int, name: str) -> str:
    """A room in the slots that a master has at the beginning."""
    first, last = shares(len(MASTERS))[master]
    return next(room for number in range(10_000) if first <= slot_of_tag(room := f"{name}{number}") <= last)


def nodes_of(compose: Compose, service: str = "redis") -> list[list[str]]:
    """The nodes as one of them lists them: id, address and name, flags, master, …, state of the link, slots."""
    return [line.split() for line in compose.redis_cli("operator", "cluster nodes", service=service).splitlines()]


def living(compose: Compose, service: str = "redis") -> dict[str, str]:
    """The nodes that live, by name, each with "master", "slave" or, for a master without slots, "empty"."""
    found = {}
    for _, address, flags, _, _, _, _, _, *slots in nodes_of(compose, service):
        if not re.search(r"fail|noaddr", flags):
            found[address.rpartition(",")[2]] = "slave" if "slave" in flags else "master" if slots else "empty"
    return found


def checks(compose: Compose) -> list[dict[str, Any]]:
    return [compose.checks(worker) for worker in compose.containers("worker")]


def states(compose: Compose) -> str:
    """The failed checks of all workers, as text for the report of a failed test."""
    return json.dumps([{name: one["text"] for name, one in each.items() if not one["ok"]} for each in checks(compose)])


def is_whole(compose: Compose) -> bool:
    """Whether every worker hears all shards, each with a replica that has everything."""
    return all(each["shards"]["ok"] and each["redis"]["ok"] and each["replicas"]["ok"] for each in checks(compose))


async def acknowledged(client: Client, text: str) -> bool:
    answer = await client.ask({"type": "publish", "key": text, "envelope": {"message": text}})
    return str(answer["type"]) == "ack"


def test_the_cluster_is_complete_and_its_replicas_are_spread(cluster: Compose) -> None:
    assert living(cluster) == dict.fromkeys(MASTERS, "master") | dict.fromkeys(NODES[3:], "slave")
    followed = [master for _, _, flags, master, *_ in nodes_of(cluster) if "slave" in flags]
    assert sorted(followed.count(one) for one in set(followed)) == [1, 1, 2]
    wait_for(lambda: is_whole(cluster), SLOWLY, lambda: states(cluster))


async def test_rooms_of_all_shards_talk_over_two_workers(cluster: Compose, enter: Enter) -> None:
    for shard in range(len(MASTERS)):
        room = room_at(shard, "talk")
        ann, ben = await enter(f"/rooms/{room}?peer=ann"), await enter(f"/rooms/{room}?peer=ben")
        for one, other in ((ann, ben), (ben, ann)):
            assert await acknowledged(one, f"hello {one.welcome['peer']}")
            await other.until(lambda event, one=one: event.get("message") == f"hello {one.welcome['peer']}")
        # A sharded Redis channel at the room's own master, and nowhere else.
        for number, service in enumerate(MASTERS):
            channels = cluster.redis_cli("operator", "pubsub shardchannels", service=service).split()
            assert (f"relay:{{{room}}}" in channels) == (number == shard)
    assert all(count >= 3 for count in cluster.connections().values())


def test_the_nodes_are_configured_as_the_page_says(cluster: Compose) -> None:
    wanted = {
        "cluster-require-full-coverage": "no",
        "cluster-node-timeout": "5000",
        "cluster-preferred-endpoint-type": "hostname",
        "min-replicas-to-write": "1",
        "min-replicas-max-lag": "10",
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
    }
    for service in NODES:
        told = cluster.redis_cli("operator", "config get", *wanted, service=service).split()
        assert dict(zip(told[::2], told[1::2], strict=True)) == wanted


def test_each_user_may_do_its_part_alone(cluster: Compose) -> None:
    for service in NODES:
        for forbidden in ("flushall", "cluster nodes", "cluster failover", "cluster forget x", "config get maxmemory"):
            assert "NOPERM" in cluster.redis_cli("relay", forbidden, service=service), forbidden
    for forbidden in ("get relay:x", "cluster failover", "cluster reset hard", "flushall", "acl list", "shutdown"):
        assert "NOPERM" in cluster.redis_cli("cluster", forbidden), forbidden
    assert "NOPERM" in cluster.redis_cli("replica", "get relay:x")


def test_least_power(cluster: Compose) -> None:
    assert_least_power(cluster, SERVICES)
    assert_limited(cluster, SERVICES)
    ways_out = networks_with_a_way_out(cluster, SERVICES)
    assert {service for service, networks in ways_out.items() if networks} == {"lb"}
    for service in NODES:
        [container] = cluster.containers(service)
        assert {name.rpartition("_")[2] for name in container["NetworkSettings"]["Networks"]} == {"back", "nodes"}
        assert not container["HostConfig"]["PortBindings"]
    for worker in cluster.containers("worker"):
        assert f"{cluster.project}_nodes" not in worker["NetworkSettings"]["Networks"]


def test_secrets_are_not_visible_and_workers_read_theirs_alone(cluster: Compose) -> None:
    assert secrets_shown(cluster, SERVICES) == []
    worker = cluster.containers("worker")[0]
    assert secrets_read_by(cluster, worker) == {"redis_password", "admin_token", "fleet_secret", "turn_secret"}


def test_the_command_of_the_page_shows_the_nodes(cluster: Compose) -> None:
    told = cluster.run("sh", "-c", SHOW_NODES.replace(" exec ", " exec -T "))
    assert len(told.splitlines()) == len(NODES)


LOST = 1
"""The shard whose master is lost."""


async def test_an_upgrade_loses_nothing(cluster: Compose, record: Callable[[Outcome], None]) -> None:
    fault = Fault("Cluster: every worker replaced (`deploy/upgrade.sh`)", replace_workers, durable=True)  # type: ignore[arg-type]
    outcome = await count_through(fault, cluster, seed=4, within=GRACE + 1)
    record(outcome)
    assert outcome.faults(in_time=False) == []
    assert outcome.verdict.lost_acknowledged == 0


async def lose_master(crowd: Visitors) -> None:
    """The container of a master is killed, and stays away until all shards are whole without it."""
    compose, lost = crowd.compose, MASTERS[LOST]
    crowd.excused |= crowd.members.keys()
    names = {"other": room_at(0, "others"), "lost": room_at(LOST, "lost")}
    url = f"ws://127.0.0.1:{compose.port}/rooms"
    clients = [await Client.open(f"{url}/{room}") for room in (names["other"], names["other"])]
    before = [compose.metric(worker, "relay_redis_failovers_total") for worker in compose.containers("worker")]
    await asyncio.to_thread(compose, "kill", "--signal", "KILL", lost)

    def named() -> bool:
        found = [one["shards"]["text"] for one in checks(compose)]
        return any(re.search(r"shard redis-\d:6379 \(slots 5461-10921\)", text) for text in found)

    # Health names the shard that is deaf, and rooms elsewhere go on.
    await asyncio.to_thread(wait_for, named, 20, lambda: states(compose))
    assert await acknowledged(clients[0], "the others go on")
    await clients[1].until(lambda event: event.get("message") == "the others go on")
    assert compose.ready()
    # A replica takes over, and the spare one follows it: the rooms take messages again without the lost node.
    await asyncio.to_thread(wait_for, lambda: is_whole(compose), SLOWLY, lambda: states(compose))
    crowd.over()
    assert living(compose).get(lost) is None
    eve = await Client.open(f"{url}/{names['lost']}")
    await eventually(lambda: acknowledged(eve, "here again"), 30)
    for client in (*clients, eve):
        await client.close()
    for count, worker in zip(before, compose.containers("worker"), strict=True):
        assert compose.metric(worker, "relay_redis_failovers_total") > count
    await asyncio.to_thread(compose, "start", lost)
    await asyncio.to_thread(wait_for, lambda: living(compose).get(lost) == "slave", SLOWLY)


async def test_a_replica_takes_over_and_nothing_acknowledged_is_lost(
    cluster: Compose, record: Callable[[Outcome], None]
) -> None:
    fault = Fault("Cluster: a master killed (`docker compose kill redis-2`)", lose_master, durable=True)  # type: ignore[arg-type]
    # Senders go on until another master is there, however busy the machine is.
    outcome = await count_through(fault, cluster, seed=2, patience=SLOWLY, within=GRACE + 1)
    record(outcome)
    assert outcome.faults(in_time=False) == []
    assert outcome.verdict.lost_acknowledged == 0


async def test_a_node_that_lost_its_data_becomes_a_replica_with_the_next_start(cluster: Compose) -> None:
    lost = "redis-7"
    # The service that gives folders to their user mounts the volume as well.
    cluster("rm", "--stop", "--force", lost, "secrets")
    cluster.docker("volume", "rm", f"{cluster.project}_{lost}")
    cluster("up", "--detach", "--wait", "--scale", f"worker={WORKERS}")
    assert living(cluster)[lost] == "slave"
    wait_for(lambda: is_whole(cluster), SLOWLY, lambda: states(cluster))


async def all_are_served(compose: Compose, enter: Enter) -> bool:
    wait_for(lambda: is_whole(compose), SLOWLY, lambda: states(compose))
    wait_for(compose.ready)
    clients = [await enter(f"/rooms/{room_at(shard, 'after')}") for shard in range(len(MASTERS))]
    return all([await acknowledged(client, "hello") for client in clients])


async def test_new_secrets_need_a_restart_alone(cluster: Compose, enter: Enter) -> None:
    cluster("run", "--rm", "secrets", "new")
    cluster("restart")
    assert await all_are_served(cluster, enter)


async def test_a_stop_and_a_start_change_nothing(cluster: Compose, enter: Enter) -> None:
    """Containers may have other addresses on the network of the workers then."""
    cluster("stop")
    cluster("start")
    assert await all_are_served(cluster, enter)
