"""Redis, three workers and a load balancer: clients meet, a worker is killed, replicas come and go, all stop well."""

import asyncio
import json
import time
from urllib.error import HTTPError

import pytest

from tests.deploy.conftest import Compose, Enter, wait_for
from tests.fleet import Client

GRACE, LEASE = 15.0, 10.0


def connections(compose: Compose) -> dict[str, int]:
    """Open WebSockets by worker container."""
    return {
        container["Id"][:12]: json.loads(compose.ask(container, "/health"))["connections"]
        for container in compose.containers("worker")
    }


async def test_clients_land_on_different_workers_and_meet_in_one_room(compose: Compose, enter: Enter) -> None:
    clients = [await enter(f"/rooms/meet?peer=p{n}&presence=1") for n in range(6)]
    spread = connections(compose)
    assert len(spread) == 3
    assert all(count >= 1 for count in spread.values()), spread
    assert clients[-1].welcome["count"] == 6
    for client in clients:
        await client.all_up_to_now()
    for sender in clients:
        await sender.send({"hello": sender.welcome["peer"]})
    for client in clients:
        heard = [(await client.until(lambda event: "hello" in event))[-1]["from"] for _ in range(5)]
        assert sorted(heard) == sorted({f"p{n}" for n in range(6)} - {client.welcome["peer"]})
    rosters = [json.loads(compose.ask(worker, "/rooms/meet")) for worker in compose.containers("worker")]
    assert rosters[0]["count"] == 6
    assert all(roster == rosters[0] for roster in rosters)


def test_least_power(compose: Compose) -> None:
    for container in compose.containers("worker"):
        assert container["Config"]["User"] == "10001:10001"
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert compose.docker("exec", container["Id"], "id", "-u").strip() == "10001"
    published = {
        service: [container["HostConfig"]["PortBindings"] for container in compose.containers(service)]
        for service in ("redis", "worker", "lb")
    }
    assert published["redis"] == [{}]
    assert published["worker"] == [{}] * 3
    assert published["lb"] == [{"8888/tcp": [{"HostIp": "", "HostPort": str(compose.port)}]}]


def test_metrics_are_for_inside(compose: Compose) -> None:
    for path in ("/metrics", "/%6detrics", "//metrics"):
        with pytest.raises(HTTPError) as refused:
            compose.get(path)
        with refused.value as answer:
            assert answer.code == 404
    assert "relay_connections" in compose.ask(compose.containers("worker")[0], "/metrics", port=9090)


async def test_a_killed_worker_is_told_of_and_the_others_go_on(compose: Compose, enter: Enter) -> None:
    clients = [await enter(f"/rooms/kill?peer=p{n}&presence=1") for n in range(9)]
    workers = {container["Id"][:12]: container for container in compose.containers("worker")}
    victim = next(name for name, count in connections(compose).items() if count)
    began = time.monotonic()
    compose.docker("kill", "--signal", "KILL", victim)
    codes = await asyncio.gather(*[_closed_soon(client) for client in clients])
    lost = {client.welcome["peer"] for client, closed in zip(clients, codes, strict=True) if closed}
    alive = [client for client, closed in zip(clients, codes, strict=True) if not closed]
    assert lost
    assert alive
    await alive[0].send({"still": "here"})
    if len(alive) > 1:
        await alive[1].until(lambda event: event.get("still") == "here")
    newcomer = await enter("/rooms/kill?peer=new")
    assert newcomer.welcome["type"] == "welcome"
    told: set[str] = set()
    while told < lost:
        told |= set((await alive[0].until(lambda event: event.get("left"), timeout=60))[-1]["left"])
    took = time.monotonic() - began
    print(f"\n{len(lost)} of 9 clients were on the killed worker; told as left after {took:.1f} s")
    assert told == lost
    assert took <= max(GRACE, LEASE) + 1.5  # and the half second in which the closed sockets were counted
    assert workers
    compose("up", "--detach", "--wait", "--scale", "worker=3", "--no-recreate")


async def _closed_soon(client: Client) -> bool:
    """Whether the connection is gone: the load balancer passes the end of the worker on."""
    try:
        await client.closed(timeout=0.5)
    except TimeoutError:
        return False
    return True


async def test_replicas_come_and_go(compose: Compose, enter: Enter) -> None:
    compose("up", "--detach", "--wait", "--scale", "worker=5", "--no-recreate")
    found = wait_for(lambda: len(connections(compose)) == 5)
    clients = []

    async def all_have_clients() -> bool:
        clients.append(await enter("/rooms/scale"))
        return all(connections(compose).values())

    async with asyncio.timeout(60):
        while not await all_have_clients():
            await asyncio.sleep(0.2)
    print(f"\n5 workers after {found:.1f} s, all with clients after {len(clients)} connections")
    closing = asyncio.gather(*[_close_code(client) for client in clients])
    await asyncio.to_thread(compose, "up", "--detach", "--wait", "--scale", "worker=2", "--no-recreate")
    assert len(connections(compose)) == 2
    survivors = [client for client in clients if client.socket.state.name == "OPEN"]
    closing.cancel()
    gone = [client for client in clients if client not in survivors]
    assert {client.socket.close_code for client in gone} == {1001}
    assert (await enter("/rooms/scale")).welcome["type"] == "welcome"


async def _close_code(client: Client) -> int:
    return await client.closed(timeout=120)


async def test_stopping_drains_and_exits_0(compose: Compose, enter: Enter) -> None:
    client = await enter("/rooms/stop")
    workers = [container["Id"] for container in compose.containers("worker")]
    closed = asyncio.create_task(client.closed(timeout=60))
    began = time.monotonic()
    await asyncio.to_thread(compose, "stop", "worker")
    took = time.monotonic() - began
    assert await closed == 1001
    states = [json.loads(compose.docker("inspect", worker))[0]["State"] for worker in workers]
    assert [state["ExitCode"] for state in states] == [0] * len(workers)
    size, base = (int(compose.docker("image", "inspect", "--format", "{{.Size}}", name)) for name in _IMAGES)
    print(f"\nworkers stopped in {took:.1f} s; the image adds {(size - base) / 1e6:.0f} MB to its base")


_IMAGES = ("signal-relay", "python:3.13-slim")
