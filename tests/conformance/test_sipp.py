"""sipp, the traffic generator of Debian's package sip-tester: 200 calls between two workers, none of which fails."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conformance.sio import require_packages
from tests.fleet import Relay, require
from tests.ports import free_port, release_port

HERE = Path(__file__).parent
CALLS, RATE = 200, 20


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def run(stack: AsyncExitStack, *command: str, cwd: Path) -> asyncio.subprocess.Process:
    """Start a program, which ends with the test."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()

    stack.push_async_callback(end)
    return process


async def bridge(stack: AsyncExitStack, relay: Relay, user: str, waiting: int, folder: Path) -> int:
    """Start the bridge of a user, and return its port."""
    script = (str(HERE / "sip_bridge.mjs"), f"{relay.ws}/rooms/calls", user, str(waiting))
    process = await run(stack, require("node"), *script, cwd=folder)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return int(await process.stdout.readline())


async def test_calls(pair: tuple[Relay, Relay], stack: AsyncExitStack, tmp_path: Path) -> None:
    sipp = require("sipp")
    require_packages("ws")
    port = free_port()
    stack.callback(release_port, port)
    common = ("-t", "t1", "-i", "127.0.0.1", "-nostdin", "-m", str(CALLS))
    callee = await run(stack, sipp, "-sf", str(HERE / "sipp_callee.xml"), "-p", str(port), *common, cwd=tmp_path)
    await accepts(port)
    await bridge(stack, pair[1], "callee", port, tmp_path)
    entrance = await bridge(stack, pair[0], "caller", 0, tmp_path)
    target = f"127.0.0.1:{entrance}"
    scenario = ("-sf", str(HERE / "sipp_caller.xml"), "-r", str(RATE))
    caller = await run(stack, sipp, target, *scenario, *common, cwd=tmp_path)
    async with asyncio.timeout(50):
        shown = (await caller.communicate())[0].decode()
        assert caller.returncode == 0, shown[-4000:]
        await callee.communicate()
    assert callee.returncode == 0
    successful = re.findall(r"Successful call\s*\|\s*\d+\s*\|\s*(\d+)", shown)
    failed = re.findall(r"Failed call\s*\|\s*\d+\s*\|\s*(\d+)", shown)
    assert (successful[-1], failed[-1]) == (str(CALLS), "0")


async def accepts(port: int) -> None:
    """Wait until a program listens, without connecting to it: it takes each connection for a caller."""
    async with asyncio.timeout(20):
        while not listens(port):
            await asyncio.sleep(0.05)


def listens(port: int) -> bool:
    """Whether a socket of this machine listens on a port, by the table of the system."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(one[1].endswith(f":{port:04X}") and one[3] == "0A" for one in sockets)
