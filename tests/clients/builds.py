"""Builds the programs of the folders beside this file."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "clients"

_TIMEOUT = 1800
"""Seconds for one step: on a slow machine, cargo takes a quarter of an hour."""


def _run(*command: str, folder: Path) -> None:
    """Run a step of a build; its output is the reason of a failure."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")


def _tool(name: str) -> str:
    """The path of a tool. A test whose tool is missing is skipped, also under CI, which does not run this stage."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _go() -> list[str]:
    program = BUILD / "go" / "clients"
    _run(_tool("go"), "build", "-o", str(program), ".", folder=HERE / "go")
    return [str(program)]


def _rust() -> list[str]:
    for needed in ("cc", "pkg-config"):
        _tool(needed)
    if subprocess.run(["pkg-config", "--exists", "openssl"], check=False).returncode:
        pytest.skip("the headers of OpenSSL are not installed")
    target = BUILD / "rust"
    _run(_tool("cargo"), "build", "--quiet", "--locked", "--target-dir", str(target), folder=HERE / "rust")
    return [str(target / "debug" / "relay-clients")]


def _java(version: str) -> list[str]:
    return _maven("java", BUILD / f"java-{version}", "relay.Clients", f"-Dsocketio={version}")


def _maven(folder: str, out: Path, program: str, *options: str) -> list[str]:
    _run(_tool("mvn"), "--batch-mode", "--quiet", "process-classes", f"-Dout={out}", *options, folder=HERE / folder)
    return [_tool("java"), "-cp", f"{out / 'classes'}{os.pathsep}{out / 'libraries'}/*", program]


def _python(program: str = "clients") -> list[str]:
    environment = BUILD / "python"
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "venv", str(environment), folder=HERE)
    requirements = str(HERE / "python" / "requirements.lock")
    _run(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", requirements, folder=HERE)
    return [str(python), str(HERE / "python" / f"{program}.py")]


_BUILDS: dict[str, Callable[[], list[str]]] = {
    "go": _go,
    "rust": _rust,
    "java-2.1": functools.partial(_java, "2.1.2"),
    "java-1.0": functools.partial(_java, "1.0.2"),
    "java-signalr": lambda: _maven("java-signalr", BUILD / "java-signalr", "relay.SignalR"),
    "python": _python,
    "python-signalr": functools.partial(_python, "signalr"),
}


@functools.cache
def built(program: str) -> Sequence[str]:
    BUILD.mkdir(parents=True, exist_ok=True)
    return _BUILDS[program]()


def program(name: str, kind: str) -> Callable[[], Sequence[str]]:
    """Return a function that builds a program, once, and returns the command that runs its clients of this kind."""
    return lambda: [*built(name), kind]
