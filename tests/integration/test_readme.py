"""The session, the programs and the commands of the README and docs/ have the results that the pages show."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from tests.conftest import MakeClient, MakeRelay
from tests.documentation import DEPLOYMENT, PAGES, ROOT, commands, read, snippet
from tests.fleet import ADMIN_TOKEN, Relay, eventually, free_port, require

SERVE = ".venv/bin/relay serve --redis-url redis://localhost:6379 --workers 2"


def runs(command: str) -> bool:
    """Whether a test in this file, or in test_tokens_page.py, runs a command of a page."""
    prefixes = ("curl ", ".venv/bin/python -m pytest ", ".venv/bin/python -m websockets ")
    return command.startswith(prefixes) or command == SERVE or command in commands("docs/tokens.md")


def same(received: Any, shown: Any, where: str = "") -> None:
    """Fail unless two frames are the same, except for ids and resume keys, which differ each time."""
    if isinstance(shown, dict):
        assert list(received) == list(shown), where
        for key in shown:
            if key == "id":
                assert received[key].split("-")[1] == shown[key].split("-")[1], where
            elif key == "resume":
                assert len(received[key]) == len(shown[key]), where
            else:
                same(received[key], shown[key], f"{where}.{key}")
    else:
        assert received == shown, where


@pytest.mark.parametrize("session", ["transcript", "infos", "order"])
@pytest.mark.parametrize("workers", ["one in memory", "two over Redis"])
async def test_the_sessions_of_the_protocol_page(
    workers: str, session: str, start: MakeRelay, enter: MakeClient, redis_url: str, prefix: str
) -> None:
    queries = {name: f"peer={name}&presence=1" for name in ("alice", "bob")}
    if session == "infos":
        queries["alice"] = "peer=alice&info=%7B%22name%22%3A%22Alice%22%7D"
        assert all(f"/rooms/demo?{query}" in read("docs/protocol.md") for query in queries.values())
    common = {} if workers == "one in memory" else {"redis_url": redis_url, "redis_prefix": prefix}
    relays = {"alice": await start(**common)}
    relays["bob"] = await start(**common) if common else relays["alice"]
    clients = {}
    for line in snippet(session).strip().splitlines():
        name, direction, text = re.fullmatch(r"(\w+) +([<>]) (.*)", line).groups()  # type: ignore[union-attr]
        if name not in clients:
            # A session that shows no welcome begins after it.
            path = f"/rooms/demo?{queries[name]}"
            clients[name] = await enter(relays[name], path, welcome='"welcome"' not in text)
        if direction == ">":
            await clients[name].send(text)
        else:
            same(json.loads(await clients[name].raw()), json.loads(text), line)


async def test_the_terminals_of_the_session(start: MakeRelay) -> None:
    relay = await start()
    shown = [command for command in commands("docs/protocol.md") if " -m websockets " in command]
    assert len(shown) == 2
    for command in shown:
        *_, url = shlex.split(command.replace("ws://localhost:8888", relay.ws))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "websockets", url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        output = b""
        async with asyncio.timeout(20):
            while b'"type":"welcome"' not in output:
                chunk = await process.stdout.read(1000)
                assert chunk, output
                output += chunk
        process.kill()
        await process.communicate()


async def run(command: str, **variables: str) -> tuple[int, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")} | variables
    process = await asyncio.create_subprocess_shell(
        command, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(40):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@asynccontextmanager
async def running(program: str, relay: Relay, folder: Path = ROOT) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program of a page, against this relay, in a folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program.replace("ws://localhost:8888", relay.ws),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_the_python_program_of_the_readme(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start()
    bob = await enter(relay, "/rooms/demo?peer=bob")
    async with running(snippet("python"), relay) as process:
        assert process.stdout is not None
        message = await bob.next()
        assert (message["from"], message["message"]) == ("carol", "hello")
        await bob.send({"message": "hello yourself"})
        line = await process.stdout.readline()
        assert line.startswith(b"Envelope(")
        assert b"sender='bob'" in line
        assert b"hello yourself" in line


async def test_the_python_program_of_its_page(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start()
    bob = await enter(relay, "/rooms/demo?peer=bob&presence=1")
    async with running(snippet("program"), relay) as process:
        assert process.stdout is not None
        assert (await bob.next())["joined"] == ["carol"]
        assert (await bob.next())["message"] == "who is there?"
        await bob.send({"sdp": {"type": "offer"}})
        await bob.send({"event": "hello", "args": [], "message": {"who": 1}})
        await bob.send({"message": "who is there?"})
        assert (await bob.next())["message"] == "hello"
        await enter(relay, "/rooms/demo?peer=dave")
        heard = (b"bob: None\n", b"bob: {'who': 1}\n", b"bob: who is there?\n")
        for line in (*heard, b"members: bob carol dave\n"):
            assert await process.stdout.readline() == line
        assert (await bob.next())["joined"] == ["dave"]
        process.send_signal(signal.SIGINT)
        assert (await bob.next())["left"] == ["carol"]


async def test_the_python_program_that_is_killed_and_started_again(
    start: MakeRelay, enter: MakeClient, tmp_path: Path
) -> None:
    relay = await start(reconnect_grace=15)
    bob = await enter(relay, "/rooms/demo?peer=bob&presence=1")
    program = snippet("restart")
    async with running(program, relay, tmp_path):
        assert (await bob.next())["joined"] == ["carol"]
        assert (await bob.next())["message"] == "here"
    for _ in range(3):
        async with running(program, relay, tmp_path):
            assert (await bob.next())["message"] == "here again"


@pytest.fixture
def header(tmp_path: Path) -> Path:
    """The file with the header that proves an operator."""
    path = tmp_path / "header"
    path.write_text(f"Authorization: Bearer {ADMIN_TOKEN}\n")
    return path


async def test_every_curl_command_works(start: MakeRelay, enter: MakeClient, header: Path) -> None:
    require("curl")
    relay = await start()
    member = await enter(relay, "/rooms/demo")
    shown = [command for page in PAGES if page != DEPLOYMENT for command in commands(page)]
    curls = [command for command in shown if command.startswith("curl ")]
    assert len(curls) >= 6
    for command in curls:
        here = command.replace("http://localhost:8888", relay.http).replace("curl", "curl --silent --fail", 1)
        status, output = await run(here, HEADER=str(header))
        assert status == 0, (command, output)
    assert (await member.next())["message"] == "hi"


async def test_a_single_test_is_run_as_shown() -> None:
    shown = [command for command in commands("CONTRIBUTING.md") if command.startswith(".venv/bin/python -m pytest ")]
    assert shown
    for command in shown:
        status, output = await run(command.replace(".venv/bin/python", shlex.quote(sys.executable)))
        assert status == 0, (command, output)


async def test_several_workers_start_as_shown(redis_url: str) -> None:
    assert SERVE in commands("README.md")
    url = f"http://127.0.0.1:{free_port()}/health"
    here = SERVE.replace("redis://localhost:6379", redis_url).replace(".venv/bin/relay", f"{sys.executable} -m relay")
    process = await asyncio.create_subprocess_exec(
        *shlex.split(here), "--port", url.split(":")[2].removesuffix("/health")
    )

    async def both_are_ready() -> bool:
        async with httpx.AsyncClient() as client:
            with suppress(httpx.TransportError):
                answer = (await client.get(url)).json()
                return answer["ready"] and len(answer["workers"]) == 2
        return False

    try:
        await eventually(both_are_ready, 20)
    finally:
        process.terminate()
        assert await process.wait() == 0


def test_the_compose_file_has_the_services_of_the_readme() -> None:
    assert set(yaml.safe_load(read("docker-compose.yml"))["services"]) >= {"redis", "worker", "lb"}
