"""The commands of deploy/README.md, run as an operator types them."""

import re
import shlex

import pytest

from tests.deploy.compose import WORKERS, Compose, require, wait_for
from tests.deploy.page import COMMANDS, SHOW_MASTER, SHOW_NODES

ELSEWHERE = {
    "docker compose up --build": "every test here begins with it",
    "docker compose build && deploy/upgrade.sh": "test_faults.py",
    "docker compose --profile monitoring up --detach": "test_monitoring.py",
    "RELAY_TURN_HOST=turn.example.com docker compose --profile turn up --build --detach":
        "test_turn.py",
    "RELAY_TURN_HOST=turn.example.com RELAY_TURN_CERTIFICATE=/etc/ssl/turn.pem docker compose -f docker-compose.yml"
    " -f deploy/turn-tls/compose.yml --profile turn up --build --detach": "test_turn.py",
    "docker compose exec grafana cat /run/relay/grafana_password": "test_monitoring.py",
    "docker compose -f docker-compose.yml -f deploy/nginx/compose.yml up --build --detach": "test_variants.py",
    "RELAY_CERTIFICATE=/etc/ssl/relay.pem docker compose -f docker-compose.yml -f deploy/tls/compose.yml up --detach":
        "test_variants.py",
    "docker compose -f docker-compose.yml -f deploy/sentinel/compose.yml up --build --detach": "test_sentinel.py",
    "docker compose -f docker-compose.yml -f deploy/cluster/compose.yml up --build --detach": "test_cluster.py",
    SHOW_MASTER: "test_sentinel.py",
    SHOW_NODES: "test_cluster.py",
    "docker compose -f docker-compose.yml -f deploy/outbound/compose.yml -f own.yml up --build --detach":
        "own.yml is the operator's; tests/unit/test_deployment.py checks the other file",
    "docker build --tag signal-relay:0.1.0 .": "every test here begins with it",
    "make pin": "needs the registries; tests/unit/test_deployment.py runs the script",
}  # fmt: skip
# These need a cluster or another machine; tests/unit/test_deployment.py checks the files that they use.
ANOTHER_MACHINE = re.compile(
    r"kubectl |install |rm -r secrets|/opt/relay/|python3 -m venv /opt/relay|openssl rand|systemctl "
)

pytestmark = pytest.mark.timeout(240, func_only=True)

HERE = [line for line in COMMANDS if line not in ELSEWHERE and not ANOTHER_MACHINE.match(line)]

SAYS = {
    "relay health": ": ready; ",
    "relay config": "RELAY_REDIS_PASSWORD_FILE",
    "info memory": "used_memory_human",
    "logs --tail": "worker-",
    "admin_token": "",
}


def test_the_page_has_the_commands_that_are_known() -> None:
    assert set(ELSEWHERE) <= set(COMMANDS)
    assert len(HERE) >= 10
    assert len([line for line in COMMANDS if ANOTHER_MACHINE.match(line)]) == 18


@pytest.mark.parametrize("command", HERE)
def test_the_command_works(command: str, compose: Compose) -> None:
    require("script")
    # With a terminal, as an operator has one.
    told = compose.run("script", "--quiet", "--return", "--command", command, "/dev/null", timeout=150)
    assert all(text in told for part, text in SAYS.items() if part in command), told
    compose.scale(WORKERS)
    wait_for(compose.ready)


def test_the_printed_token_is_accepted(compose: Compose) -> None:
    (show,) = [line for line in HERE if line.endswith("admin_token")]
    token = compose.run(*shlex.split(show.replace("exec", "exec -T"))).strip()
    answer = compose.run(
        "curl", "--silent", "--header", f"Authorization: Bearer {token}", f"http://127.0.0.1:{compose.port}/rooms"
    )
    assert '"total":' in answer
