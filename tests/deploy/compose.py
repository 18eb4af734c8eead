"""`docker compose` on this checkout, under a project name and on ports of its own."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
WORKERS = 3


class Compose:
    """`docker compose` on this checkout; a command that fails also fails the test, with its output.

    `variant` is a folder of `deploy` whose compose file is added. Its networks have other address ranges, so that it
    can run beside the deployment without it.
    """

    def __init__(self, variant: str = "") -> None:
        self.port, self.operator_port = free_port(), free_port()
        self.project = f"relay-test-{self.port}"
        self.environ = os.environ | {
            "RELAY_PORT": str(self.port),
            "RELAY_OPERATOR_PORT": str(self.operator_port),
            "RELAY_GRAFANA_PORT": str(free_port()),
            "COMPOSE_PROJECT_NAME": self.project,
        }
        if variant:
            self.environ |= {
                "COMPOSE_FILE": f"docker-compose.yml:deploy/{variant}/compose.yml",
                "RELAY_FRONT_SUBNET": "10.199.77.0/24",
                "RELAY_PEERS_SUBNET": "10.199.76.0/24",
                "RELAY_NODES_PREFIX": "10.199.75",
            }

    def __call__(self, *arguments: str, timeout: float = 300, **environ: str) -> str:
        """Run a compose command, and return its output."""
        return self.run("docker", "compose", *arguments, timeout=timeout, **environ)

    def docker(self, *arguments: str, timeout: float = 60) -> str:
        """Run a docker command, and return its output."""
        return self.run("docker", *arguments, timeout=timeout)

    def run(self, *command: str, timeout: float = 60, **environ: str) -> str:
        """Run any command in the checkout, and return its output."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.environ | environ, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def scale(self, workers: int, *options: str) -> None:
        """Have so many workers, all of them healthy."""
        self("up", "--detach", "--wait", "--scale", f"worker={workers}", "--no-recreate", *options)

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """The answer of `docker inspect`."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *names))
        return found

    def containers(self, service: str, *options: str) -> list[dict[str, Any]]:
        """The answers of `docker inspect` about a service's running containers."""
        names = self("ps", "--quiet", *options, service).split()
        return self.inspect(*names) if names else []

    def ask(self, container: dict[str, Any], path: str, port: int = 8888) -> str:
        """A GET from within a worker's container; its health answers with 503 as well.

        Raises ConnectionRefusedError while the worker starts, and does not listen yet.
        """
        code = (
            "import sys, urllib.request as r, urllib.error as e\n"
            f"try: a = r.urlopen('http://127.0.0.1:{port}{path}', timeout=3)\n"
            "except e.HTTPError as error: a = error\n"
            "sys.stdout.write(a.read().decode())"
        )
        try:
            return self.docker("exec", container["Id"], "/opt/relay/bin/python", "-c", code)
        except AssertionError as error:
            if "ConnectionRefusedError" in str(error):
                raise ConnectionRefusedError(str(error)) from None
            raise

    def checks(self, container: dict[str, Any]) -> dict[str, Any]:
        """The checks of a worker's health, as operators see them."""
        found: dict[str, Any] = json.loads(self.ask(container, "/health", port=9090))["checks"]
        return found

    def metric(self, container: dict[str, Any], name: str) -> float:
        """The value of a metric of a worker that has no labels."""
        (value,) = re.findall(rf"^{name} (\S+)$", self.ask(container, "/metrics", port=9090), re.MULTILINE)
        return float(value)

    def redis_cli(self, user: str, *command: str, service: str = "redis") -> str:
        """The answer of a Redis to a user of the volume of secrets, an error as well."""
        password = {"relay": "redis_password"}.get(user, f"{user}_password")
        line = f'REDISCLI_AUTH="$(cat /run/relay/{password})" redis-cli --user {user} {" ".join(command)}'
        [container] = self.containers(service)
        return self.docker("exec", container["Id"], "sh", "-c", f"{line} 2>&1 || true").strip()

    def health(self, container: str) -> str:
        """The answer of `relay health` in a worker's container."""
        return self.docker("exec", container, "sh", "-c", "relay health 2>&1 || true")

    def from_network(self, network: str, code: str) -> str:
        """Run Python in a container of its own on one of the project's networks."""
        return self.docker(
            "run", "--rm", "--network", f"{self.project}_{network}", "--entrypoint", "/opt/relay/bin/python",
            "signal-relay", "-c", code,
        )  # fmt: skip

    def page_names_its_address(self) -> bool:
        """Whether the page for browsers says where it was reached, the published port included."""
        return f"ws://127.0.0.1:{self.port}".encode() in self.get("/", accept="text/html")[1]

    def get(self, path: str, *, accept: str = "*/*", port: int = 0) -> tuple[int, bytes]:
        """A GET through the load balancer; the port is that for clients if none is given."""
        request = Request(f"http://127.0.0.1:{port or self.port}{path}", headers={"Accept": accept})
        try:
            with urlopen(request, timeout=5) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()

    def ready(self) -> bool:
        """Whether the load balancer knows a worker that is ready."""
        return self.get("/health")[0] == 200

    def balanced(self) -> int:
        """Workers that the load balancer sends clients to."""
        code = "import urllib.request as r; print(r.urlopen('http://lb:8405/metrics', timeout=3).read().decode())"
        told = self.from_network("front", code)
        [count] = re.findall(r'^haproxy_backend_active_servers{proxy="workers"} (\d+)', told, re.MULTILINE)
        return int(count)

    def connections(self) -> dict[str, int]:
        """Open WebSockets by worker container."""
        return {
            container["Id"][:12]: json.loads(self.ask(container, "/health"))["connections"]
            for container in self.containers("worker")
        }


def wait_for(condition: Callable[[], Any], timeout: float = 60, state: Callable[[], str] = str) -> float:
    """Wait until a condition holds, and return the seconds that took; a failure tells the state."""
    began = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - began
        except OSError:
            pass
        assert time.monotonic() - began < timeout, f"it did not come to that in time; {state()}"
        time.sleep(0.1)


def require(command: str) -> str:
    """The path of a program that this stage needs; without it the test is skipped, or fails in CI."""
    path = shutil.which(command)
    if path is None:
        lacking(f"{command} is not installed")
    return str(path)


def require_image(name: str) -> str:
    """An image that exists here or can be pulled; without it the test is skipped, or fails in CI."""
    if not any(
        subprocess.run(["docker", *command, name], capture_output=True, check=False).returncode == 0
        for command in (["image", "inspect"], ["pull", "--quiet"])
    ):
        lacking(f"the image {name} cannot be pulled")
    return name


def lacking(reason: str) -> None:
    """Skip, and say why; in CI, fail."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
