"""The bounds of `deploy/nginx` on one address, with smaller numbers, in front of a worker that accepts everything."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conformance.test_balancer_limits import Clients, serve
from tests.deploy.compose import ROOT, require_image
from tests.fleet import eventually
from tests.ports import free_port

SERVED, HANDSHAKES = 20, 30


PROXIED = "set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol; listen 127.0.0.1:{} proxy_protocol"


def configuration(port: int, worker: int) -> str:
    """The configuration on other ports, with smaller numbers, and with the addresses of clients from a proxy."""
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    for pattern, put in (
        (r"listen 8888", PROXIED.format(port)),
        (r"http://workers:8888", f"http://127.0.0.1:{worker}"),
        (r"worker_rlimit_nofile \d+", "worker_rlimit_nofile 1024"),
        (r"worker_connections \d+", "worker_connections 512"),
        (r"limit_conn connections \d+", f"limit_conn connections {SERVED}"),
        (r"rate=\d+r/s", "rate=1r/s"),
        (r"burst=\d+", f"burst={HANDSHAKES}"),
    ):
        text, found = re.subn(pattern, put, text)
        assert found, pattern
    return text


@pytest.fixture
def ports(docker: None, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The port of an nginx, and that of the worker behind it, which the test starts."""
    image = require_image("nginx:1.28-alpine")
    port, worker = free_port(), free_port()
    (tmp_path / "nginx.conf").write_text(configuration(port, worker))
    tmp_path.chmod(0o755)
    command = ["docker", "run", "--rm", "--detach", "--network", "host", "--volume", f"{tmp_path}:/etc/relay:ro"]
    command += [image, "nginx", "-c", "/etc/relay/nginx.conf", "-g", "daemon off;"]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    yield port, worker
    subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


@pytest.fixture
async def clients(ports: tuple[int, int]) -> AsyncIterator[Clients]:
    """Clients whose addresses are in a line of the PROXY protocol."""
    port, worker = ports
    async with await asyncio.start_server(serve, "127.0.0.1", worker):
        made = Clients(f"http://127.0.0.1:{port}")
        try:
            await eventually(lambda: _ready(made), 20)
            yield made
        finally:
            await made.close()


async def _ready(clients: Clients) -> bool:
    try:
        return (await clients.ask(await clients.connect(proxied="203.0.113.9")))[0] == 200
    except OSError:
        return False


async def entered(clients: Clients, *addresses: str) -> list[int]:
    return [await clients.enter(proxied=address) for address in addresses]


async def test_nginx_counts_ipv6_by_its_network_and_ipv4_by_address(clients: Clients) -> None:
    hosts = [f"2001:db8:0:1:{number:x}::1" for number in range(SERVED + 1)]
    assert await entered(clients, *hosts) == [101] * SERVED + [429]
    assert await entered(clients, "2001:db8:0:2::1", "192.0.2.1", "192.0.2.2") == [101] * 3
    assert await entered(clients, *["::ffff:192.0.2.1"] * SERVED) == [101] * (SERVED - 1) + [429]


async def test_nginx_refuses_with_the_codes_of_a_worker(clients: Clients) -> None:
    await entered(clients, *["192.0.2.7"] * SERVED)
    reader, writer = await clients.connect(proxied="192.0.2.7")
    status, head = await clients.ask((reader, writer))
    assert (status, b"retry-after: 2" in head.lower()) == (429, True)
    assert b'"code":"too_many_connections"' in await reader.readuntil(b"}}")
    await clients.close()
    for _ in range(HANDSHAKES):
        await clients.enter(proxied="192.0.2.7")
        await clients.close()
    reader, writer = await clients.connect(proxied="192.0.2.7")
    status, head = await clients.ask((reader, writer), upgrade=True)
    assert (status, b"retry-after: 2" in head.lower()) == (429, True)
    assert b'"code":"too_many_handshakes"' in await reader.readuntil(b"}}")
    # Requests without a handshake are served.
    assert (await clients.ask(await clients.connect(proxied="192.0.2.7")))[0] == 200
