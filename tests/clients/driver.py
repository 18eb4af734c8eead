"""Builds and drives the client programs of the folders beside this file.

A program is a thin shell around a client library. It reads commands from standard input, one JSON object in a line:

- `{"emit": […]}` emits the Socket.IO event `message` with these arguments, `{"ask": […]}` the same with an
  acknowledgement;
- `{"send": "…"}` sends a text over a plain WebSocket.

It writes what happens to standard output in the same form: `open`, `heard` (the arguments of an event, or the object in
a text), `acknowledged`, `closed` (the close code, or true) and `error`. Binary data is `{"base64": "…"}`. The program
ends with its input.
"""

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "clients"

_BUILD_TIMEOUT = 900
_EVENT_TIMEOUT = 30
_LINE = 2**24
"""Bytes of the longest line: a large message in Base64."""


def _run(*command: str, folder: Path) -> None:
    """Run a step of a build; its output is the reason of a failure."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_TIMEOUT, check=False)
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
    target = BUILD / "rust"
    _run(_tool("cargo"), "build", "--quiet", "--locked", "--target-dir", str(target), folder=HERE / "rust")
    return [str(target / "debug" / "relay-clients")]


def _java(version: str) -> list[str]:
    out = BUILD / f"java-{version}"
    options = [f"-Dsocketio={version}", f"-Dout={out}"]
    _run(_tool("mvn"), "--batch-mode", "--quiet", "process-classes", *options, folder=HERE / "java")
    return [_tool("java"), "-cp", f"{out / 'classes'}{os.pathsep}{out / 'libraries'}/*", "relay.Clients"]


def _python() -> list[str]:
    environment = BUILD / "python"
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "venv", str(environment), folder=HERE)
    requirements = str(HERE / "python" / "requirements.lock")
    _run(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", requirements, folder=HERE)
    return [str(python), str(HERE / "python" / "clients.py")]


_BUILDS: dict[str, Callable[[], list[str]]] = {
    "go": _go,
    "rust": _rust,
    "java-2.1": functools.partial(_java, "2.1.2"),
    "java-1.0": functools.partial(_java, "1.0.2"),
    "python": _python,
}


@functools.cache
def built(program: str) -> Sequence[str]:
    """Build a program once, and return its command."""
    BUILD.mkdir(parents=True, exist_ok=True)
    return _BUILDS[program]()


@dataclass(frozen=True)
class Library:
    """A client library: the program that has it, the program's first argument, and its transports that work."""

    name: str
    program: str
    kind: str
    transports: Sequence[str] = ("websocket", "polling")


SOCKET_IO = [
    Library("socket.io-client 2.1 for Java", "java-2.1", "socketio"),
    Library("socket.io-client 1.0 for Java", "java-1.0", "socketio"),
    Library("rust_socketio 0.6", "rust", "socketio"),
    # Over polling, this version sends nothing after its first packet, to the reference server neither.
    Library("zishang520/socket.io 3 for Go", "go", "socketio", ("websocket",)),
]

WEB_SOCKET = [
    Library("websocket-client 1 for Python", "python", "websocket"),
    Library("Java-WebSocket 1.5", "java-2.1", "java-websocket"),
    Library("OkHttp 3", "java-2.1", "okhttp"),
    Library("tungstenite 0.21", "rust", "websocket"),
    Library("gorilla/websocket 1.5", "go", "websocket"),
]


class Driven:
    """A running client program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def open(cls, library: Library, *arguments: str) -> Self:
        """Start a program, and wait until its client is connected."""
        command = [*built(library.program), library.kind, *arguments]
        pipe = asyncio.subprocess.PIPE
        driven = cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_LINE))
        await driven.until("open")
        return driven

    def tell(self, **command: Any) -> None:
        """Give the program one command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def next(self) -> dict[str, Any]:
        """Return the next line of the program."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_EVENT_TIMEOUT):
            line = await self._process.stdout.readline()
        assert line, "the program has ended"
        one: dict[str, Any] = json.loads(line)
        assert "error" not in one, one
        return one

    async def until(self, name: str) -> Any:
        """Skip lines until one has this field, and return its value."""
        while name not in (one := await self.next()):
            pass
        return one[name]

    async def close(self) -> None:
        """End the program's input, and wait for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
