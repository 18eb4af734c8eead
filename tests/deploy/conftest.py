"""The compose file on a real engine: the fixtures of its tests, and the table of losses."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.rounds import Outcome, table
from tests.deploy.compose import ROOT, WORKERS, Compose, lacking, wait_for
from tests.fleet import Client

Enter = Callable[[str], Awaitable[Client]]

_OUTCOMES = pytest.StashKey[list[Outcome]]()
_PLACE = re.compile(r"(<!-- counted -->\n).*?(<!-- /counted -->)", re.DOTALL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write the table of faults into deploy/README.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OUTCOMES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    outcomes = config.stash[_OUTCOMES]
    if not outcomes:
        return
    text = table(outcomes)
    terminalreporter.section("through the load balancer")
    terminalreporter.write_line(text)
    if config.getoption("--record"):
        page = ROOT / "deploy" / "README.md"
        page.write_text(_PLACE.sub(lambda found: found[1] + text + "\n" + found[2], page.read_text()))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Outcome], None]:
    """Record an outcome for the table at the end."""
    return request.config.stash[_OUTCOMES].append


@pytest.fixture(scope="session")
def docker() -> None:
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        if shutil.which("docker") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            lacking(f"`{' '.join(command)}` fails; this stage needs an engine that runs, and compose v2")


@pytest.fixture(scope="session")
def compose(docker: None) -> Iterator[Compose]:
    """Redis, three workers and the load balancer; a test that changes something restores it.

    Building the image can take minutes, so the time limit of a test does not count its fixtures (`func_only`).
    """
    with running(Compose(), WORKERS) as compose:
        yield compose


@contextmanager
def running(compose: Compose, workers: int) -> Iterator[Compose]:
    """Bring a deployment up as its page says, and remove everything in the end."""
    try:
        compose("up", "--build", "--detach", "--wait", "--scale", f"worker={workers}", timeout=900)
        wait_for(compose.ready)
        yield compose
    finally:
        print(compose("logs", "--no-color", "--tail", "30"))
        compose("--profile", "monitoring", "--profile", "turn", "down", "--volumes", "--timeout", "20")


async def open_through(compose: Compose) -> AsyncIterator[Enter]:
    """Open clients through the load balancer of a deployment, and close them in the end."""
    clients: list[Client] = []

    async def enter(path: str) -> Client:
        clients.append(await Client.open(f"ws://127.0.0.1:{compose.port}{path}"))
        return clients[-1]

    yield enter
    for client in clients:
        client.lose()
        await client.socket.wait_closed()


@pytest.fixture
async def enter(compose: Compose) -> AsyncIterator[Enter]:
    """Open clients through the load balancer."""
    async for enter in open_through(compose):
        yield enter
