"""Figures for the sizing section of deploy/README.md; `python -m tests.deploy.sizing` prints them.

Memory is the engine's count for a container, the kernel's share included. The load is modest, so that the machine
that makes it has time for the measured workers.
"""

import asyncio
import base64
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from relay.config import Settings
from relay.rooms.worker import Worker
from tests.deploy.compose import Compose, wait_for
from tests.fleet import Client, RedisServer, eventually

CONNECTIONS, AT_ONCE = 8000, 50
RATE, ROOMS, MEMBERS, SECONDS = 800, 40, 5, 20

OPEN = """\
# All clients have one address here.
services:
  worker:
    environment: {RELAY_CONNECTIONS_PER_ADDRESS: "100000", RELAY_HANDSHAKE_RATE: "100000"}
"""
TOGETHER = """\
# Two processes in one container, on two cores.
services:
  worker:
    command: [serve, --workers, "2"]
    deploy: {resources: {limits: {cpus: "2.0"}}}
"""


class Crowd:
    """Idle WebSockets in rooms of two, past the engine's own proxy for this machine."""

    def __init__(self, compose: Compose) -> None:
        [lb] = compose.containers("lb")
        self._address = lb["NetworkSettings"]["Networks"][f"{compose.project}_public"]["IPAddress"]
        self._writers: list[asyncio.StreamWriter] = []

    async def come(self, number: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(index: int) -> None:
            async with gate:
                self._writers.append(await self._open(f"/rooms/idle{index // 2}"))

        await asyncio.gather(*[one(index) for index in range(number)])

    async def _open(self, path: str) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(self._address, 8888)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        return writer

    def go(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def memory(compose: Compose, service: str) -> float:
    """MB of all containers of a service, without reclaimable page cache."""
    total = 0.0
    for container in compose.containers(service):
        stats = (
            compose.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container["Id"]).split("/")[0].strip()
        )
        number, unit = re.fullmatch(r"([\d.]+)([KMG])iB", stats).groups()  # type: ignore[union-attr]
        total += float(number) * {"K": 1 / 1024, "M": 1, "G": 1024}[unit] * 1.048576
    return total


def cpu(compose: Compose) -> float:
    """Seconds of CPU that all workers have used."""
    text = "".join(compose.ask(worker, "/metrics", port=9090) for worker in compose.containers("worker"))
    return sum(float(one) for one in re.findall(r"^process_cpu_seconds_total\S* (\S+)$", text, re.MULTILINE))


@asynccontextmanager
async def running(workers: int, *overlays: str) -> AsyncIterator[Compose]:
    compose = Compose()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path("docker-compose.yml")]
        for index, text in enumerate(overlays):
            files.append(Path(folder) / f"{index}.yml")
            files[-1].write_text(text)
        compose.environ["COMPOSE_FILE"] = ":".join(map(str, files))
        try:
            compose("up", "--build", "--detach", "--wait", "--scale", f"worker={workers}", timeout=600)
            wait_for(compose.ready)
            yield compose
        finally:
            compose("down", "--volumes", "--timeout", "1")


async def idle() -> None:
    """Memory before and after many clients connect, and the time in which one worker closes them."""
    async with running(1, OPEN) as compose:
        services = ("worker", "lb", "redis")
        before = {service: memory(compose, service) for service in services}
        crowd = Crowd(compose)
        began = time.monotonic()
        await crowd.come(CONNECTIONS)
        took = time.monotonic() - began
        await asyncio.sleep(30)
        after = {service: memory(compose, service) for service in services}
        print(f"{CONNECTIONS} connections came in {took:.1f} s")
        for service in services:
            each = (after[service] - before[service]) * 1e3 / CONNECTIONS
            print(f"{service}: {before[service]:.1f} MB idle, {after[service]:.1f} MB with them, {each:.1f} KB each")
        [worker] = compose.containers("worker")
        began = time.monotonic()
        await asyncio.to_thread(compose.docker, "stop", worker["Id"])
        print(f"one worker sent {CONNECTIONS} away and ended in {time.monotonic() - began:.1f} s, 3 s of it the delay")
        crowd.go()


async def talk(compose: Compose, seconds: float, rate: float) -> tuple[int, float]:
    """Members of rooms talk at a steady rate: deliveries, and seconds of the workers' CPU."""
    clients = [
        [await Client.open(f"ws://127.0.0.1:{compose.port}/rooms/talk{room}") for _ in range(MEMBERS)]
        for room in range(ROOMS)
    ]
    heard = 0

    async def listen(client: Client) -> None:
        nonlocal heard
        while True:
            await client.socket.recv(decode=False)
            heard += 1

    listening = [asyncio.create_task(listen(client)) for room in clients for client in room]
    pad, began, used = "x" * 350, time.monotonic(), await asyncio.to_thread(cpu, compose)
    for number in range(int(rate * seconds)):
        await clients[number % ROOMS][number % MEMBERS].send({"message": pad})
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
    await eventually(lambda: heard >= int(rate * seconds) * (MEMBERS - 1), 30)
    used = await asyncio.to_thread(cpu, compose) - used
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    for room in clients:
        for client in room:
            await client.close()
    return heard, used


async def processes() -> None:
    """Two processes in one container beside two containers of one."""
    for name, workers, overlays in (("two replicas", 2, ()), ("--workers 2", 1, (TOGETHER,))):
        async with running(workers, OPEN, *overlays) as compose:
            empty = memory(compose, "worker")
            heard, used = await talk(compose, SECONDS, RATE)
            print(f"{name}: {empty:.0f} MB empty; {used * 1e6 / heard:.1f} µs of CPU per delivery ({heard} of them)")


async def redis() -> None:
    """A million messages of 400 bytes in a thousand rooms, with the default history."""
    server = RedisServer(persistent=True).start()
    envelope = json.dumps({"sender": "s" * 8, "channel": "c" * 8, "message": "x" * 340}).encode()
    try:
        before = server.client.info("memory")["used_memory"]
        async with Worker(Settings(redis_url=server.url)) as worker:
            await eventually(lambda: worker.ready)
            began = time.monotonic()
            for _ in range(1000):
                await asyncio.gather(*[worker.publish_from_server(f"room{room}", envelope) for room in range(1000)])
            took = time.monotonic() - began
            grown, aof = server.client.info("memory")["used_memory"] - before, server.client.info("persistence")
        print(f"a million messages of {len(envelope)} bytes: {grown / 1e6:.0f} MB in Redis,"
              f" {aof['aof_current_size'] / 1e6:.0f} MB of its file, in {took:.0f} s")  # fmt: skip
    finally:
        server.close()


PARTS: dict[str, Callable[[], object]] = {"idle": idle, "processes": processes, "redis": redis}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        asyncio.run(PARTS[part]())  # type: ignore[arg-type]
