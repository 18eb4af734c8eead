"""Variants of the deployment: nginx as the load balancer, TLS, and the systemd service."""

import asyncio
import json
import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import InvalidStatus

from tests.deploy.compose import ROOT, WORKERS, Compose, require, require_image, wait_for
from tests.deploy.conftest import Enter
from tests.fleet import Client
from tests.ports import free_port

pytestmark = pytest.mark.timeout(240, func_only=True)


def overlay(compose: Compose, folder: str, *arguments: str, **environ: str) -> None:
    compose(
        "--file", "docker-compose.yml", "--file", f"deploy/{folder}/compose.yml", *arguments, **environ
    )  # fmt: skip


def back_to_haproxy(compose: Compose) -> None:
    compose("up", "--detach", "--wait", "--no-deps", "lb")
    wait_for(compose.ready)


@pytest.fixture
def nginx(compose: Compose) -> Iterator[None]:
    require_image("nginx:1.28-alpine")
    overlay(compose, "nginx", "up", "--detach", "--wait", "--no-deps", "lb")
    try:
        wait_for(compose.ready)
        yield
    finally:
        back_to_haproxy(compose)


async def test_nginx_finds_workers_and_skips_dead_ones(nginx: None, compose: Compose, enter: Enter) -> None:
    clients = [await enter(f"/rooms/nginx?peer=p{n}") for n in range(12)]
    assert sum(count > 0 for count in compose.connections().values()) >= 2
    await clients[0].send({"hello": "all"})
    for client in clients[1:]:
        await client.until(lambda event: event.get("hello") == "all")
    assert compose.get("/metrics")[0] == 404
    assert compose.page_names_its_address()
    [victim, *_] = compose.containers("worker")
    await asyncio.to_thread(compose.docker, "kill", "--signal", "KILL", victim["Id"])
    for n in range(12):
        assert (await enter(f"/rooms/nginx?peer=q{n}")).welcome["type"] == "welcome"
    compose.scale(WORKERS)
    [lb] = compose.containers("lb")
    assert lb["HostConfig"]["ReadonlyRootfs"]
    assert lb["Config"]["User"] == "101:101"


async def test_tls_ends_at_the_load_balancer(compose: Compose, tmp_path: Path) -> None:
    authority, port = trustme.CA(), str(free_port())
    file = tmp_path / "relay.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(file)
    file.chmod(0o644)
    overlay(
        compose, "tls", "up", "--detach", "--wait", "--no-deps", "lb",
        RELAY_CERTIFICATE=str(file), RELAY_TLS_PORT=port,
    )  # fmt: skip
    try:
        wait_for(compose.ready)
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        one = await Client.open(f"wss://localhost:{port}/rooms/tls", ssl=trust)
        other = await Client.open(f"ws://127.0.0.1:{compose.port}/rooms/tls")
        await one.send({"hello": "tls"})
        await other.until(lambda event: event.get("hello") == "tls")
        assert one.socket.response.headers.get("Strict-Transport-Security")
        for client in (one, other):
            await client.close()
        old = ssl.create_default_context()
        authority.configure_trust(old)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await Client.open(f"wss://localhost:{port}/rooms/tls", ssl=old)
    finally:
        back_to_haproxy(compose)


async def test_limits_count_the_real_address_of_each_client(compose: Compose, enter: Enter, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yml"
    strict.write_text('services: {worker: {environment: {RELAY_CONNECTIONS_PER_ADDRESS: "2"}}}\n')
    files = ("--file", "docker-compose.yml", "--file", str(strict))
    compose(*files, "up", "--detach", "--wait", "--no-deps", "--scale", "worker=1", "worker")
    try:
        wait_for(lambda: compose.balanced() == 1)
        url = f"ws://127.0.0.1:{compose.port}/rooms/strict"
        for _ in range(2):
            await enter("/rooms/strict")
        with pytest.raises(InvalidStatus) as refused:
            await Client.open(url, additional_headers={"X-Forwarded-For": "203.0.113.9"})
        assert refused.value.response.status_code == 429
        other = "from websockets.sync.client import connect; print(connect('ws://lb:8888/rooms/strict').recv())"
        assert '"type":"welcome"' in compose.from_network("public", other)
    finally:
        compose("up", "--detach", "--wait", "--no-deps", "--scale", f"worker={WORKERS}", "worker")
        wait_for(lambda: compose.balanced() == WORKERS)


def test_the_unit_is_valid_and_restricted(tmp_path: Path) -> None:
    analyze = require("systemd-analyze")
    unit = (ROOT / "deploy" / "systemd" / "relay.service").read_text()
    copy = tmp_path / "relay.service"
    # The program that it runs is not on this machine, but has to be for the check.
    copy.write_text(unit.replace("/opt/relay/bin/relay", str(Path(sys.executable).with_name("relay"))))
    compose = Compose()
    told = compose.run("sh", "-c", f"{analyze} verify --man=no {copy} 2>&1")
    assert [line for line in told.splitlines() if "relay" in line] == []
    report = json.loads(compose.run(analyze, "security", "--offline=yes", "--json=short", str(copy)))
    open_still = {one["json_field"] for one in report if one["set"] is False and float(one["exposure"] or 0) >= 0.3}
    # It serves over the network; all else is shut.
    assert open_still == {"PrivateNetwork", "RestrictAddressFamilies_AF_INET_INET6"}
    level = compose.run("sh", "-c", f"{analyze} security --offline=yes --no-pager {copy}")
    exposure = re.search(r"exposure level for relay.service: ([\d.]+)", level)
    assert exposure
    print(f"\nexposure of the unit: {exposure[1]} of 10")
    assert float(exposure[1]) < 2
