"""The profile `turn`: coturn with the secret that the workers have, with few rights, also over TLS."""

import json
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import trustme

from tests.deploy.compose import WORKERS, Compose, require_image, wait_for
from tests.deploy.conftest import Enter
from tests.ports import free_port
from tests.turn_client import TurnClient

pytestmark = pytest.mark.timeout(240, func_only=True)

HOST, PORT = "127.0.0.1", 3478
"""coturn uses the network of this machine, and the port of the file."""
SLOWLY = 180.0
"""Seconds within which all workers are replaced: they start at the same moment."""


class Turn(NamedTuple):
    """The running service: its port for TLS, and the certificates that a client trusts."""

    tls_port: int
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def turn(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turn]:
    """Start coturn with a certificate, and workers that make its credentials."""
    require_image("coturn/coturn:4.17.0")
    authority, trust, tls_port = trustme.CA(), ssl.create_default_context(), free_port()
    authority.configure_trust(trust)
    file = tmp_path_factory.mktemp("turn") / "turn.pem"
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(file)
    file.chmod(0o644)
    for folder in file.parents[:2]:
        folder.chmod(0o755)
    compose(
        "--file", "docker-compose.yml", "--file", "deploy/turn-tls/compose.yml", "--profile", "turn",
        "up", "--detach", "--no-deps", "--scale", f"worker={WORKERS}", "worker", "turn",
        RELAY_TURN_HOST=HOST, RELAY_TURN_CERTIFICATE=str(file), RELAY_TURN_TLS_PORT=str(tls_port),
    )  # fmt: skip
    try:
        wait_for(lambda: listens(tls_port), SLOWLY, lambda: logs(compose))
        wait_for(lambda: compose.balanced() == WORKERS, SLOWLY)
        yield Turn(tls_port, trust)
    finally:
        compose("--profile", "turn", "rm", "--stop", "--force", "turn")
        compose("up", "--detach", "--wait", "--no-deps", "--scale", f"worker={WORKERS}", "worker")
        wait_for(lambda: compose.balanced() == WORKERS, SLOWLY)


def listens(port: int) -> bool:
    """Whether coturn accepts connections; raises `OSError` if it does not."""
    socket.create_connection((HOST, port), 2).close()
    return True


def logs(compose: Compose) -> str:
    return compose("--profile", "turn", "logs", "--no-color", "turn")


async def servers(enter: Enter) -> dict[str, Any]:
    """The servers that a client gets through the load balancer."""
    client = await enter("/rooms/call?peer=ann")
    server: dict[str, Any]
    [server] = client.welcome["iceServers"]
    assert server["username"].endswith(":ann")
    return server


async def test_coturn_takes_the_credentials_of_the_workers_and_no_others(
    turn: Turn, compose: Compose, enter: Enter
) -> None:
    server = await servers(enter)
    plain = [f"turn:{HOST}:{PORT}?transport={kind}" for kind in ("udp", "tcp")]
    assert server["urls"] == [*plain, f"turns:{HOST}:{turn.tls_port}?transport=tcp"]
    # Redis and the workers are at such addresses, which this machine reaches.
    inside = [
        network["IPAddress"]
        for service in ("redis", "worker", "lb")
        for network in compose.containers(service)[0]["NetworkSettings"]["Networks"].values()
    ]
    for port, trust in ((PORT, None), (turn.tls_port, turn.trust)):
        with TurnClient(port, server["username"], server["credential"], trust=trust) as client:
            assert await client.allocate() == 0
            assert await client.permit("8.8.8.8") == 0
            for address in ("127.0.0.1", *inside):
                assert await client.permit(address) == 403, address
        with TurnClient(port, server["username"], server["credential"][::-1], trust=trust) as client:
            assert await client.allocate() == 401


def test_coturn_has_few_rights_and_shows_its_secret_nowhere(turn: Turn, compose: Compose) -> None:
    found = compose.inspect(compose("--profile", "turn", "ps", "--quiet", "turn").strip())[0]
    host, config = found["HostConfig"], found["Config"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], config["User"]) == (True, ["ALL"], "10003:10003")
    status = compose.docker("exec", found["Id"], "cat", "/proc/1/status")
    assert re.findall(r"^(?:Uid|NoNewPrivs):\t(\d+)", status, re.MULTILINE) == ["10003", "1"]
    secret = compose.docker("exec", found["Id"], "cat", "/run/relay/turn_secret").strip()
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    shown = [json.dumps(found), logs(compose), compose("logs", "--no-color", "worker")]
    shown.append(compose.docker("top", found["Id"], "-eo", "pid,args"))
    assert [text for text in shown if secret in text] == []
    # No other secret is readable to it.
    others = compose.docker("exec", found["Id"], "sh", "-c", "cat /run/relay/* 2>/dev/null || true")
    assert others.strip() == secret
