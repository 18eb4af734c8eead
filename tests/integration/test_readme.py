"""What the README shows is what happens: its session, and its commands."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Relay, eventually, free_port, require

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

# Commands that are tested elsewhere: these two run this test, and the third is what `make test-deploy` does.
ELSEWHERE = {"make run", "make test", "docker compose up --build --scale worker=3"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def same(told: Any, shown: Any, where: str = "") -> None:
    """Whether two answers are the same but for what differs each time: ids and resume keys."""
    if isinstance(shown, dict):
        assert list(told) == list(shown), where
        for key in shown:
            if key == "id":
                assert told[key].split("-")[1] == shown[key].split("-")[1], where
            elif key == "resume":
                assert len(told[key]) == len(shown[key]), where
            else:
                same(told[key], shown[key], f"{where}.{key}")
    else:
        assert told == shown, where


@pytest.mark.parametrize("workers", ["one in memory", "two over Redis"])
async def test_the_session_anyone_can_retype(
    workers: str, start: MakeRelay, enter: MakeClient, redis_url: str, prefix: str
) -> None:
    common = {} if workers == "one in memory" else {"redis_url": redis_url, "redis_prefix": prefix}
    relays = {"alice": await start(**common)}
    relays["bob"] = await start(**common) if common else relays["alice"]
    clients = {}
    (transcript,) = [block for block in blocks("text") if "alice <" in block]
    for line in transcript.strip().splitlines():
        name, direction, text = re.fullmatch(r"(\w+) +([<>]) (.*)", line).groups()  # type: ignore[union-attr]
        if name not in clients:
            clients[name] = await enter(relays[name], f"/rooms/demo?peer={name}&presence=1", welcome=False)
        if direction == ">":
            await clients[name].send(text)
        else:
            same(json.loads(await clients[name].raw()), json.loads(text), line)


async def run(command: str, **variables: str) -> tuple[int, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")} | variables
    process = await asyncio.create_subprocess_shell(
        command, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_the_python_program_as_it_stands(start: MakeRelay, enter: MakeClient, tmp_path: Path) -> None:
    relay = await start()
    bob = await enter(relay, "/rooms/demo?peer=bob&presence=1")
    (program,) = blocks("python")
    path = tmp_path / "program.py"
    path.write_text(program.replace("ws://localhost:8888", relay.ws))
    process = await asyncio.create_subprocess_exec(
        sys.executable, path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        assert (await bob.next())["joined"] == ["carol"]
        assert (await bob.next())["message"] == "who is there?"
        await bob.send({"message": "me"})
        assert (await bob.next())["message"] == "hello"
        await enter(relay, "/rooms/demo?peer=dave")
        for line in (b"bob: me\n", b"here are bob carol dave\n"):
            assert await process.stdout.readline() == line
        assert (await bob.next())["joined"] == ["dave"]
        process.send_signal(signal.SIGINT)
        assert (await bob.next())["left"] == ["carol"]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_every_command_works(start: MakeRelay, enter: MakeClient) -> None:
    require("curl")
    relay: Relay = await start(admin_token="secret")
    member = await enter(relay, "/rooms/demo")
    commands = [line for block in blocks("sh") for line in block.strip().splitlines()]
    curls = [command for command in commands if command.startswith("curl ")]
    others = [command for command in commands if command not in {*curls, *ELSEWHERE}]
    assert others == [".venv/bin/relay serve --redis-url redis://localhost:6379 --workers 2"]
    for command in curls:
        here = command.replace("http://localhost:8888", relay.http).replace("curl", "curl --silent --fail", 1)
        status, output = await run(here, RELAY_ADMIN_TOKEN="secret")
        assert status == 0, (command, output)
    assert (await member.next())["message"] == "hi"


async def test_several_workers_start_as_shown(redis_url: str) -> None:
    (command,) = [line for block in blocks("sh") for line in block.splitlines() if "--workers 2" in line]
    url = f"http://127.0.0.1:{free_port()}/health"
    here = command.replace("redis://localhost:6379", redis_url).replace(".venv/bin/relay", f"{sys.executable} -m relay")
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


def test_the_makefile_and_the_compose_file_know_the_other_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test", "help", "lint"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]) >= {"redis", "worker", "lb"}
