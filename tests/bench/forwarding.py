"""Measures the cost of a forwarded request of a polling client, beside the same request sent to the owner itself.

Run it by `python -m tests.bench.forwarding`. Two replicas share a Redis; all sessions are on the first one. Each client
posts a ping and polls for the pong, so that no request waits and Redis has no part in it. The requests go to the owner
(direct), or to the other replica (forwarded), over connections that are kept. CPU is that of both workers.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

import uvloop

from relay.http_client import HttpConnection, connect
from tests.bench.accounting import cpu_seconds
from tests.fleet import RedisServer, Relay
from tests.ports import free_port

CLIENTS, SECONDS, ROUNDS = 20, 3.0, 5


class Client:
    """One Engine.IO 3 client, whose session begins on `owner`."""

    def __init__(self) -> None:
        self._sid = b""
        self._numbers = itertools.count()

    async def begin(self, owner: HttpConnection) -> None:
        body = await self._request(owner, b"GET", b"")
        self._sid = body.partition(b'"sid":"')[2].partition(b'"')[0]
        # The default namespace greets the client.
        while not body.endswith(b"2:40"):
            body = await self._request(owner, b"GET", b"")

    async def ping(self, worker: HttpConnection) -> None:
        """One post and one poll."""
        assert await self._request(worker, b"POST", b"1:2") == b"ok"
        assert await self._request(worker, b"GET", b"") == b"1:3"

    async def _request(self, worker: HttpConnection, method: bytes, body: bytes) -> bytes:
        sid = b"&sid=" + self._sid if self._sid else b""
        target = b"/socket.io/?EIO=3&transport=polling&b64=1&t=%d%b" % (next(self._numbers), sid)
        lines = (
            b"%b %b HTTP/1.1" % (method, target),
            b"host: relay",
            b"cookie: a=b",
            b"origin: https://page.example",
            b"content-length: %d\r\n\r\n" % len(body),
        )
        response = await worker.exchange(b"\r\n".join(lines) + body)
        return await response.read(100_000)


async def run(clients: Sequence[Client], connections: Sequence[HttpConnection], seconds: float) -> list[float]:
    """Let all clients ping for a time; return how long each ping took."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def work(client: Client, connection: HttpConnection) -> None:
        while (began := time.perf_counter()) < end:
            await client.ping(connection)
            times.append(time.perf_counter() - began)

    await asyncio.gather(*[work(*pair) for pair in zip(clients, connections, strict=True)])
    return times


async def measure(owner: Relay, other: Relay) -> None:
    pids = [owner.process.pid, other.process.pid]
    ways = {
        name: [await connect(("127.0.0.1", relay.port)) for _ in range(CLIENTS)]
        for name, relay in (("direct", owner), ("forwarded", other))
    }
    clients = [Client() for _ in range(CLIENTS)]
    for client, connection in zip(clients, ways["direct"], strict=True):
        await client.begin(connection)
    cost: dict[str, list[list[float]]] = {name: [] for name in ways}
    latency: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, connections in ways.items():
            before = [cpu_seconds([pid]) for pid in pids]
            requests = 2 * len(await run(clients, connections, SECONDS))
            cost[name].append(
                [(cpu_seconds([pid]) - cpu) / requests * 1e6 for pid, cpu in zip(pids, before, strict=True)]
            )
            latency[name] += await run(clients[:1], connections[:1], SECONDS / 5)
    print("µs of CPU for one request: owner, other worker, both; median latency of one client, one request")
    for name in ways:
        owner_cpu, other_cpu = [median(column) for column in zip(*cost[name], strict=True)]
        print(
            f"{name:10} {owner_cpu:6.0f} {other_cpu:6.0f} {owner_cpu + other_cpu:6.0f}"
            f" {median(latency[name]) / 2 * 1e6:6.0f} µs"
        )


def main() -> None:
    with ExitStack() as stack:
        redis = RedisServer().start()
        stack.callback(redis.close)
        relays = [
            Relay(
                redis_url=redis.url,
                forward_listen=f"127.0.0.1:{free_port()}",
                forward_networks="127.0.0.1/32",
                worker_lease=10,
            )
            for _ in range(2)
        ]
        for relay in relays:
            stack.callback(relay.close)

        async def work() -> None:
            await asyncio.gather(*[relay.ready() for relay in relays])
            await measure(*relays)

        uvloop.run(work())


if __name__ == "__main__":
    main()
