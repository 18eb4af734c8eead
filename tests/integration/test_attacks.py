"""Attacks of one address on a worker: it holds all that it may, and the worker goes on for the others."""

import asyncio
import json
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx2 as httpx
import pytest
from websockets.asyncio.client import connect

from tests.abuse.attacks import find
from tests.abuse.target import target
from tests.ports import free_port

_FILES = 300
_SECONDS = 2.0


@asynccontextmanager
async def worker(*options: str, files: int = 0) -> AsyncIterator[tuple[int, int]]:
    """A worker in memory; yields its port and its admin port. With `files`, the system allows it so many open files."""
    port, admin = free_port(), free_port()
    arguments = ["-m", "relay", "serve", "--port", str(port), "--admin-listen", str(admin), "--log-level", "error"]
    limited = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, *options, preexec_fn=limited)
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        yield port, admin
    finally:
        process.terminate()
        await process.wait()


async def limits_that_acted(admin: int) -> dict[str, float]:
    """How often each limit on incoming bytes has acted, by the metrics of the worker."""
    async with httpx.AsyncClient(timeout=30) as client:
        lines = (await client.get(f"http://127.0.0.1:{admin}/metrics")).text.splitlines()
    counts = [line.split('limit="')[1].split('"} ') for line in lines if line.startswith("relay_wire_limits_total{")]
    return {limit: float(count) for limit, count in counts}


async def test_health_answers_while_one_address_holds_all_the_files_that_it_may() -> None:
    async with worker(files=_FILES) as (port, admin), AsyncExitStack() as stack:
        for number in range(2 * _FILES):
            held = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, ("127.0.0.3", 0)))
            if number % 2:
                with suppress(OSError):  # the relay may have closed it for those that followed
                    held.send(b"GET / HTTP/1.1\r\n")
        async with httpx.AsyncClient(timeout=30) as client:
            for path in (f"{port}/health", f"{port}/health/live", f"{admin}/health"):
                assert (await client.get(f"http://127.0.0.1:{path}")).status_code == 200
        async with connect(f"ws://127.0.0.1:{port}/rooms/a") as member:
            assert json.loads(await member.recv())["type"] == "welcome"
        assert (await limits_that_acted(admin))["descriptors"] > 0


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("trailers", {"head", "framing", "pipeline", "unread_body"}),
        ("fragments", {"small_frames"}),
        ("pings", {"small_frames"}),
    ],
)
async def test_an_attack_meets_its_limits_and_others_go_on(name: str, limits: set[str]) -> None:
    async with worker() as (port, admin):
        async with target("127.0.0.1", port) as attacked, connect(f"ws://127.0.0.1:{port}/rooms/b?peer=b") as other:
            attack = asyncio.create_task(find()[name].run(attacked))
            await asyncio.wait({attack}, timeout=_SECONDS)
            attack.cancel()
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await attack
            assert json.loads(await other.recv())["type"] == "welcome"
            await other.send('{"type":"presence"}')
            assert json.loads(await other.recv())["type"] == "presence"
        acted = await limits_that_acted(admin)
        assert any(acted[limit] for limit in limits), acted
