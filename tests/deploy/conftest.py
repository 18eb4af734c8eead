"""The compose file on a real engine, under a project name and on a port of its own."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.fleet import Client, free_port

Enter = Callable[[str], Awaitable[Client]]
ROOT = Path(__file__).parents[2]


class Compose:
    """`docker compose` on this checkout."""

    def __init__(self) -> None:
        self.port = free_port()
        self.project = f"relay-test-{self.port}"
        self._environ = os.environ | {"RELAY_PORT": str(self.port)}

    def __call__(self, *arguments: str, timeout: float = 300) -> str:
        """Run a compose command, and return what it printed."""
        return self._run("docker", "compose", "--project-name", self.project, *arguments, timeout=timeout)

    def docker(self, *arguments: str) -> str:
        """Run a docker command, and return what it printed."""
        return self._run("docker", *arguments, timeout=60)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What `docker inspect` knows of a service's running containers."""
        names = self("ps", "--quiet", service).split()
        return json.loads(self.docker("inspect", *names)) if names else []

    def ask(self, container: dict[str, Any], path: str, port: int = 8888) -> str:
        """A GET from within a worker's container; its health answers with 503 as well."""
        code = (
            "import sys, urllib.request as r, urllib.error as e\n"
            f"try: a = r.urlopen('http://127.0.0.1:{port}{path}', timeout=3)\n"
            "except e.HTTPError as error: a = error\n"
            "sys.stdout.write(a.read().decode())"
        )
        return self.docker("exec", container["Id"], "/opt/relay/bin/python", "-c", code)

    def get(self, path: str) -> tuple[int, bytes]:
        """A GET through the load balancer."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.status, answer.read()

    def _run(self, *command: str, timeout: float) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self._environ, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout


def wait_for(condition: Callable[[], Any], timeout: float = 60) -> float:
    """Wait until a condition holds; returns the seconds that took."""
    began = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - began
        except OSError:
            pass
        assert time.monotonic() - began < timeout, "it did not come to that in time"
        time.sleep(0.1)


@pytest.fixture
async def enter(compose: Compose) -> AsyncIterator[Enter]:
    """Opens clients through the load balancer."""
    clients: list[Client] = []

    async def enter(path: str) -> Client:
        clients.append(await Client.open(f"ws://127.0.0.1:{compose.port}{path}"))
        return clients[-1]

    yield enter
    for client in clients:
        client.lose()
        await client.socket.wait_closed()


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    if shutil.which("docker") is None:
        pytest.fail("docker is not installed; this stage needs an engine and compose v2")
    compose = Compose()
    try:
        compose("up", "--build", "--detach", "--wait", "--scale", "worker=3", timeout=900)
        wait_for(lambda: compose.get("/health")[0] == 200)
        yield compose
    finally:
        print(compose("logs", "--no-color", "--tail", "30"))
        compose("down", "--volumes", "--timeout", "20")
