"""The image: its content, its size, and how it stops."""

import json
import subprocess
import time

import pytest

from relay import __version__
from tests.deploy.compose import Compose, wait_for
from tests.unit.test_build import BROKEN_CLOCK

pytestmark = pytest.mark.timeout(120, func_only=True)

IMAGE, BASE = "signal-relay", "python:3.13-slim"


@pytest.fixture
def inspected(compose: Compose) -> dict[str, dict[str, object]]:
    [image] = json.loads(compose.docker("image", "inspect", IMAGE))
    return image


def within(compose: Compose, script: str) -> str:
    return compose.docker("run", "--rm", "--read-only", "--entrypoint", "sh", IMAGE, "-c", script)


def test_its_labels_describe_it(inspected: dict[str, dict[str, object]]) -> None:
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert config["ExposedPorts"] == {"8888/tcp": {}}
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Healthcheck"]["Test"] == ["CMD", "relay", "health", "--live"]


def test_no_build_tools_are_left(compose: Compose) -> None:
    there = within(
        compose,
        "command -v gcc cc make; ls -d /root/.cache /home/*/.cache /build 2>/dev/null;"
        " find /opt/relay -name pip -o -name 'pip-*' -o -name 'hatchling*' -o -name mypy -o -name setuptools;"
        " find /opt/relay -name '*.pyc' ! -path '/opt/relay/pycache/*'",
    )
    assert there == ""


def test_the_hot_path_is_compiled(compose: Compose) -> None:
    assert within(compose, "relay --version") == f"relay, version {__version__} (compiled)\n"
    for worker in compose.containers("worker"):
        assert json.loads(compose.ask(worker, "/health", port=9090))["build"] == "compiled"


def test_a_traceback_shows_the_lines_of_compiled_code(compose: Compose) -> None:
    told = within(compose, f"python -c '{BROKEN_CLOCK}' 2>&1")
    print(told)
    assert 'relay/limits.py", line ' in told
    assert "self._updated = clock()" in told


def test_all_loaded_modules_have_bytecode(compose: Compose) -> None:
    """At run time it could not be written, and the base image has none."""
    told = within(compose, "python -v -m relay health --port 1 2>&1; true").splitlines()
    loaded = [line for line in told if line.startswith("# code object from ")]
    assert len(loaded) > 50
    assert [line for line in loaded if ".pyc" not in line and not line.endswith("/relay/__main__.py")] == []


def test_size(compose: Compose) -> None:
    size, base = (int(compose.docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (IMAGE, BASE))
    print(f"\nthe image adds {(size - base) / 1e6:.1f} MB to its base")
    assert size - base < 65e6


@pytest.mark.parametrize("workers", ["alone", "two under a supervisor"])
def test_pid_1_passes_signals_and_drains(workers: str, compose: Compose) -> None:
    options = [] if workers == "alone" else ["--workers", "2", "--redis-url", "redis://nowhere.invalid"]
    run = ["docker", "run", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--detach"]
    name = compose.run(*run, IMAGE, "serve", *options).strip()
    try:
        health = ["docker", "exec", name, "relay", "health", "--live"]
        wait_for(lambda: subprocess.run(health, capture_output=True, check=False).returncode == 0)
        began = time.monotonic()
        compose.docker("stop", "--time", "30", name)
        assert time.monotonic() - began < 10
        [state] = json.loads(compose.docker("inspect", name))
        assert state["State"]["ExitCode"] == 0
        assert "draining" in compose.run("sh", "-c", f"docker logs {name} 2>&1")
    finally:
        print(compose.run("sh", "-c", f"docker logs {name} 2>&1"))
        compose.docker("rm", "--force", name)
