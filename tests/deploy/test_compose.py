"""Redis, three workers and a load balancer: rooms across workers, changes of replicas, and few rights for each part."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from relay.config import Settings
from tests.deploy.compose import ROOT, WORKERS, Compose, wait_for
from tests.deploy.conftest import Enter
from tests.deploy.power import (
    assert_least_power,
    assert_limited,
    containers_of,
    networks_with_a_way_out,
    secrets_read_by,
    secrets_shown,
)
from tests.fleet import Client

pytestmark = pytest.mark.timeout(240, func_only=True)

SERVICES = {"redis": "10002:10001", "worker": "10001:10001", "lb": "99:99"}

# Looking up a name that does not exist takes time, so all are looked up at once.
CONNECT = """
import socket
from concurrent.futures import ThreadPoolExecutor
places = {places}
def reached(place):
    try:
        socket.create_connection(place, 2).close()
        return True
    except OSError:
        return False
with ThreadPoolExecutor(len(places)) as pool:
    for place, there in zip(places, pool.map(reached, places)):
        if there:
            print(*place)
"""


# Opens many connections without a request, and prints how many of them the load balancer keeps.
SILENT = """
import socket, time
kept = []
for _ in range(1700):
    try: kept.append(socket.create_connection(('lb', 8888), 5))
    except ConnectionError: pass
time.sleep(1)
def open_still(one):
    one.setblocking(False)
    try: return one.recv(1) != b''
    except BlockingIOError: return True
    except OSError: return False
print(sum(map(open_still, kept)))
"""


async def test_clients_land_on_different_workers_and_meet_in_one_room(compose: Compose, enter: Enter) -> None:
    clients = [await enter(f"/rooms/meet?peer=p{n}&presence=1") for n in range(6)]
    spread = compose.connections()
    assert len(spread) == WORKERS
    assert all(count >= 1 for count in spread.values()), spread
    assert clients[-1].welcome["count"] == 6
    for client in clients:
        await client.all_up_to_now()
    for sender in clients:
        await sender.send({"hello": sender.welcome["peer"]})
    for client in clients:
        heard = [(await client.until(lambda event: "hello" in event))[-1]["from"] for _ in range(5)]
        assert sorted(heard) == sorted({f"p{n}" for n in range(6)} - {client.welcome["peer"]})
    for worker in compose.containers("worker"):
        answer = json.loads(compose.ask(worker, "/rooms/meet"))
        assert (answer["present"], answer["count"]) == (True, 6)


async def test_replicas_are_added_and_removed(compose: Compose, enter: Enter) -> None:
    compose.scale(5)
    found = wait_for(lambda: len(compose.connections()) == 5)
    clients: list[Client] = []

    async def all_have_clients() -> bool:
        clients.append(await enter("/rooms/scale"))
        return all(compose.connections().values())

    async with asyncio.timeout(180):
        while not await all_have_clients():
            await asyncio.sleep(0.2)
    print(f"\n5 workers after {found:.1f} s, all with clients after {len(clients)} connections")
    closed = [asyncio.create_task(client.closed(timeout=120)) for client in clients]
    await asyncio.to_thread(compose.scale, 2)
    gone, stayed = await asyncio.wait(closed, timeout=1)
    assert gone
    assert stayed
    assert {task.result() for task in gone} == {1001}
    for task in stayed:
        task.cancel()
    assert (await enter("/rooms/scale")).welcome["type"] == "welcome"
    compose.scale(WORKERS)


def test_an_upgrade_also_replaces_a_dead_worker(compose: Compose) -> None:
    before = set(compose("ps", "--all", "--quiet", "worker").split())
    compose.docker("kill", "--signal", "KILL", min(before))
    compose.run(str(ROOT / "deploy" / "upgrade.sh"), timeout=200)
    after = set(compose("ps", "--all", "--quiet", "worker").split())
    assert len(after) == len(before)
    assert not before & after
    compose.scale(WORKERS)


def test_an_upgrade_to_an_image_that_fails_keeps_the_old_workers(compose: Compose, tmp_path: Path) -> None:
    before = compose("ps", "--all", "--quiet", "worker")
    broken = tmp_path / "broken.yml"
    broken.write_text('services: {worker: {environment: {RELAY_BROKEN: "1"}}}\n')
    files = f"{ROOT}/docker-compose.yml:{broken}"
    with pytest.raises(AssertionError, match=r"RELAY_BROKEN: there is no such(.|\n)*workers not replaced yet stay"):
        compose.run(str(ROOT / "deploy" / "upgrade.sh"), timeout=100, COMPOSE_FILE=files)
    assert compose("ps", "--all", "--quiet", "worker") == before


def test_an_upgrade_notices_a_network_with_another_address_range(compose: Compose) -> None:
    """Compose would keep the network, and the new workers would not believe the load balancer."""
    before = compose("ps", "--all", "--quiet", "worker")
    told = r"the network \S+_front has the address range (\S+) instead of 10\.9\.9\.0/24, .*RELAY_FRONT_SUBNET=\1 "
    with pytest.raises(AssertionError, match=told):
        compose.run(str(ROOT / "deploy" / "upgrade.sh"), timeout=100, RELAY_FRONT_SUBNET="10.9.9.0/24")
    assert compose("ps", "--all", "--quiet", "worker") == before


# Addresses that clients reach.


def test_the_page_names_the_published_port(compose: Compose) -> None:
    assert compose.page_names_its_address()


def test_clients_cannot_reach_metrics(compose: Compose) -> None:
    for path in ("/metrics", "/%6detrics", "//metrics"):
        assert compose.get(path)[0] == 404
    assert "relay_connections" in compose.ask(compose.containers("worker")[0], "/metrics", port=9090)


def test_silent_connections_of_one_address_are_bounded_and_operators_have_their_own(compose: Compose) -> None:
    # From the network "public", so that other tests do not share the address.
    assert int(compose.from_network("public", SILENT)) <= 1500
    assert compose.get("/health")[0] == 200
    assert compose.get("/health", port=compose.operator_port)[0] == 200
    assert compose.get("/rooms/x", port=compose.operator_port)[0] == 404


def test_http2_without_tls_is_refused(compose: Compose) -> None:
    with socket.create_connection(("127.0.0.1", compose.port), 5) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert plain.recv(100).startswith(b"HTTP/1.1 400 ")


def test_only_the_load_balancer_is_published(compose: Compose) -> None:
    published = {
        service: [container["HostConfig"]["PortBindings"] for container in compose.containers(service)]
        for service in SERVICES
    }
    assert published == {
        "redis": [{}],
        "worker": [{}] * WORKERS,
        "lb": [
            {
                "8405/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(compose.operator_port)}],
                "8888/tcp": [{"HostIp": "", "HostPort": str(compose.port)}],
            }
        ],
    }
    with socket.create_connection(("127.0.0.1", compose.port), 2):
        pass


@pytest.mark.parametrize(
    ("network", "reached"),
    [
        ("public", {"lb 8888", "lb 8405"}),
        ("front", {"lb 8888", "lb 8405", "workers 8888", "workers 9090"}),
        ("watch", {"lb 8888", "lb 8405", "metrics 8888", "metrics 9090"}),
        ("back", {"redis 6379", "worker 8888", "worker 9090"}),
        ("peers", {"worker 8888", "worker 9090", "worker 8890"}),
    ],
)
def test_each_network_reaches_only_the_services_that_it_needs(
    network: str, reached: set[str], compose: Compose
) -> None:
    places = [("redis", 6379), ("lb", 8888), ("lb", 8405)]
    places += [(name, port) for name in ("workers", "metrics") for port in (8888, 9090)]
    places += [(name, 8890) for name in ("workers", "metrics")]
    places += [("worker", port) for port in (8888, 9090, 8890)] if network in {"back", "peers"} else []
    found = set(compose.from_network(network, CONNECT.format(places=places)).splitlines())
    assert found == reached


POST_TO_EACH = """
import json, socket, urllib.request as r
workers = sorted({found[4][0] for found in socket.getaddrinfo('workers', 8888, proto=socket.IPPROTO_TCP)})
def ask(worker, sid='', body=None):
    path = '/socket.io/?EIO=4&transport=polling' + (f'&sid={sid}' if sid else '')
    return r.urlopen(r.Request(f'http://{worker}:8888{path}', data=body), timeout=5).read().decode()
sid = json.loads(ask(workers[0])[1:])['sid']
print(*[ask(worker, sid, b'3') for worker in workers])
"""
"""Begins a session on one worker, and posts a packet of it to each."""


def test_any_worker_takes_the_requests_of_a_session(compose: Compose) -> None:
    assert compose.from_network("front", POST_TO_EACH).split() == ["ok"] * WORKERS


def test_workers_and_redis_have_no_network_with_a_way_out(compose: Compose) -> None:
    assert networks_with_a_way_out(compose, SERVICES) == {"redis": set(), "worker": set(), "lb": {"public"}}


# Least power.


def test_least_power(compose: Compose) -> None:
    assert_least_power(compose, SERVICES)


def test_the_root_is_read_only(compose: Compose) -> None:
    for _, container in containers_of(compose, SERVICES):
        refused = compose.docker("exec", container["Id"], "sh", "-c", "touch /x 2>&1 || true")
        assert "Read-only file system" in refused


def test_the_load_balancer_has_a_port_for_every_client_of_a_full_worker(compose: Compose) -> None:
    [lb] = compose.containers("lb")
    first, last = map(int, compose.docker("exec", lb["Id"], "cat", "/proc/sys/net/ipv4/ip_local_port_range").split())
    assert last - first > Settings().max_connections
    assert first > 8888


def test_every_service_has_limits_restarts_and_bounded_logs(compose: Compose) -> None:
    assert_limited(compose, SERVICES)


# Secrets.


def secrets_of(compose: Compose) -> dict[str, str]:
    names = ("redis_password", "operator_password", "admin_token", "fleet_secret", "grafana_password")
    read = f"cd /run/relay && for name in {' '.join(names)}; do cat $name; echo; done"
    mount = f"{compose.project}_secrets:/run/relay:ro"
    values = compose.docker("run", "--rm", "--volume", mount, "redis:8-alpine", "sh", "-c", read).split()
    return dict(zip(names, values, strict=True))


def test_secrets_are_random_and_not_visible(compose: Compose) -> None:
    assert secrets_shown(compose, SERVICES) == []


def test_each_secret_is_readable_by_its_services_only(compose: Compose) -> None:
    may = {service: secrets_read_by(compose, compose.containers(service)[0]) for service in ("redis", "worker")}
    assert may == {
        # In the variants, this user also runs replicas, sentinels, and the script for a cluster.
        "redis": {
            "redis_password", "operator_password", "redis.acl", "cluster.acl",
            "replica_password", "sentinel_password", "cluster_password", "turn_secret",
        },
        "worker": {"redis_password", "admin_token", "fleet_secret", "turn_secret"},
    }  # fmt: skip


def test_secrets_stay_after_a_restart(compose: Compose) -> None:
    before = secrets_of(compose)
    compose("up", "--detach", "--wait", "--scale", f"worker={WORKERS}")
    assert secrets_of(compose) == before


def test_new_replaces_the_secrets(compose: Compose) -> None:
    before = secrets_of(compose)
    compose("run", "--rm", "secrets", "new")
    compose("restart", "redis", "worker")
    wait_for(compose.ready)
    after = secrets_of(compose)
    # Grafana keeps its first password, also when the file has another one.
    assert {name for name in before if before[name] == after[name]} == {"grafana_password"}


def test_redis_requires_a_password_and_limits_the_workers(compose: Compose) -> None:
    container = compose.containers("redis")[0]["Id"]
    assert "NOAUTH" in compose.docker("exec", container, "sh", "-c", "redis-cli ping 2>&1 || true")
    assert compose.redis_cli("relay", "ping") == "PONG"
    assert compose.redis_cli("operator", "acl", "whoami") == "operator"
    for forbidden in ("flushall", "config get maxmemory", "keys '*'", "set other 1", "publish other x", "acl list"):
        assert "NOPERM" in compose.redis_cli("relay", forbidden), forbidden


def test_redis_uses_its_configuration_file(compose: Compose) -> None:
    wanted = {
        "maxmemory": str(512 << 20),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "protected-mode": "yes",
        "tcp-keepalive": "30",
    }
    assert {name: compose.redis_cli("operator", "config", "get", name).split()[-1] for name in wanted} == wanted
    buffers = compose.redis_cli("operator", "config", "get", "client-output-buffer-limit")
    assert f"pubsub {32 << 20} {16 << 20} 20" in buffers
    limit = compose.containers("redis")[0]["HostConfig"]["Memory"]
    assert limit >= 2 * (512 << 20) + (128 << 20)
