"""The programs of docs/gateways/http.md, as they are written there: the PHP client, and the shell script with curl."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import MakeClient
from tests.documentation import snippet
from tests.fleet import Client, Relay, require


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def converse(bob: Client, process: asyncio.subprocess.Process, name: str) -> str:
    """Greet a program that has joined, and tell it to go; return its output."""
    await bob.until(lambda event: event.get("message") == f"{name} is here" and event["from"] == name)
    await bob.send({"message": "hello"})
    await bob.send({"message": "goodbye"})
    await bob.until(lambda event: name in event.get("left", ()))
    assert process.stdout is not None
    async with asyncio.timeout(10):
        return (await process.stdout.read()).decode()


async def test_the_php_client(pair: tuple[Relay, Relay], enter: MakeClient, tmp_path: Path) -> None:
    script = tmp_path / "client.php"
    script.write_text(snippet("http-php"))
    bob = await enter(pair[1], "/rooms/lobby?peer=bob&presence=1")
    async with running(require("php"), str(script), f"{pair[0].http}/rooms/lobby", "php") as process:
        printed = await converse(bob, process, "php")
    assert printed.split("\n")[:2] == ['bob: "hello"', 'bob: "goodbye"']


async def test_the_shell_script(pair: tuple[Relay, Relay], enter: MakeClient, tmp_path: Path) -> None:
    require("curl")
    script = tmp_path / "client.sh"
    script.write_text(snippet("http-sh"))
    bob = await enter(pair[1], "/rooms/lobby?peer=bob&presence=1")
    async with running(require("bash"), str(script), f"{pair[0].http}/rooms/lobby", "curl") as process:
        printed = await converse(bob, process, "curl")
    assert [line.partition(",")[0] for line in printed.splitlines() if "bob" in line] == [
        '{"message": "hello"', '{"message": "goodbye"'
    ]  # fmt: skip
