"""The bounds of `deploy/haproxy` on one address, with smaller numbers, in front of a worker that accepts everything."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.conformance.test_load_balancer import CONFIGURATION, balancing, here
from tests.fleet import eventually

SILENT, SERVED, HANDSHAKES, NEW = 15, 20, 40, 200
SMALLER = {
    r"sub\(sess\.busy\) gt \d+": f"sub(sess.busy) gt {SILENT}",
    r"sc1_conn_cur gt \d+": f"sc1_conn_cur gt {SERVED}",
    r"sc1_gpc0_rate gt \d+": f"sc1_gpc0_rate gt {HANDSHAKES}",
    r"sc0_conn_rate gt \d+": f"sc0_conn_rate gt {NEW}",
}
SCHOOL = 500

# The example of RFC 6455, 1.3.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    """Raw connections to the load balancer, from chosen addresses of this machine."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._open: list[Connection] = []

    async def connect(self, address: str = "127.0.0.1", proxied: str = "") -> Connection:
        """Connect; `proxied` is the address that a proxy with the PROXY protocol names."""
        connection = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))
        self._open.append(connection)
        if proxied:
            connection[1].write(f"PROXY TCP{6 if ':' in proxied else 4} {proxied} {proxied} 1 2\r\n".encode())
        return connection

    async def ask(self, connection: Connection, path: str = "/health", upgrade: bool = False) -> tuple[int, bytes]:
        """Send a request; return the status and all of the head of the answer."""
        more = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n" if upgrade else ""
        connection[1].write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        head = await connection[0].readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head

    async def enter(self, address: str = "127.0.0.1", proxied: str = "") -> int:
        """Open a WebSocket, and return the status."""
        return (await self.ask(await self.connect(address, proxied), upgrade=True))[0]

    @property
    def alive(self) -> int:
        return sum(not reader.at_eof() and reader.exception() is None for reader, _ in self._open)

    async def close(self) -> None:
        for _, writer in self._open:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        self._open.clear()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request; keep a WebSocket open."""
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        while b"upgrade: websocket" not in (await reader.readuntil(b"\r\n\r\n")).lower():
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.write(SWITCHING)
        await reader.read()
    writer.close()


@asynccontextmanager
async def balanced(folder: Path, replaced: dict[str, str], proxied: str = "") -> AsyncIterator[Clients]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as worker:
        text = here(CONFIGURATION.read_text(), [worker.sockets[0].getsockname()[1]])
        for pattern, put in replaced.items():
            text, found = re.subn(pattern, put, text)
            assert found, pattern
        async with balancing(text, folder) as url:
            clients = Clients(url)
            try:
                # The check of the worker's health comes a second after the start.
                await eventually(lambda: _ready(clients, proxied))
                yield clients
            finally:
                await clients.close()


async def _ready(clients: Clients, proxied: str) -> bool:
    connection = await clients.connect("127.0.0.9", proxied)
    return (await clients.ask(connection))[0] == 200


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with balanced(tmp_path, SMALLER) as made:
        yield made


@pytest.fixture
async def behind_proxy(tmp_path: Path) -> AsyncIterator[Clients]:
    """As `clients`, where the address of a client is in a line of the PROXY protocol.

    New connections are counted before that line arrives, so that bound stays as it is.
    """
    replaced = {pattern: put for pattern, put in SMALLER.items() if "busy" not in pattern}
    async with balanced(tmp_path, replaced | {r"(bind 127\S+)": r"\1 accept-proxy"}, "203.0.113.9") as made:
        yield made


async def test_silent_connections_of_an_address_are_bounded_and_others_are_served(clients: Clients) -> None:
    for _ in range(3 * SILENT):
        with suppress(OSError):
            await clients.connect()
    await eventually(lambda: clients.alive <= SILENT + 1)
    assert (await clients.ask(await clients.connect("127.0.0.2")))[0] == 200


async def test_connections_that_are_used_do_not_count_as_silent(clients: Clients) -> None:
    assert [await clients.enter() for _ in range(SERVED)] == [101] * SERVED
    for _ in range(SILENT):
        assert (await clients.ask(await clients.connect("127.0.0.1")))[0] in (200, 429)


async def test_a_websocket_too_many_is_refused_with_the_code_of_a_worker(clients: Clients) -> None:
    for _ in range(SERVED):
        assert await clients.enter() == 101
    reader, writer = await clients.connect()
    status, head = await clients.ask((reader, writer), upgrade=True)
    assert status == 429
    assert b"retry-after: 2" in head.lower()
    (length,) = re.findall(rb"content-length: (\d+)", head.lower())
    assert b'"code":"too_many_connections"' in await reader.readexactly(int(length))
    assert await clients.enter("127.0.0.2") == 101
    await clients.close()
    await eventually(lambda: _enters(clients))


async def _enters(clients: Clients) -> bool:
    return await clients.enter() == 101


async def test_handshakes_too_fast_are_refused(clients: Clients) -> None:
    async def enter_and_leave() -> int:
        try:
            return await clients.enter()
        finally:
            await clients.close()

    statuses = [await enter_and_leave() for _ in range(HANDSHAKES + 5)]
    assert statuses[:SERVED] == [101] * SERVED
    assert statuses[-1] == 429
    assert await clients.enter("127.0.0.2") == 101


async def test_new_connections_too_fast_are_closed(clients: Clients) -> None:
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        for _ in range(NEW + 5):
            assert (await clients.ask(await clients.connect()))[0] == 200
            await clients.close()
    assert (await clients.ask(await clients.connect("127.0.0.2")))[0] == 200


async def test_ipv6_is_counted_by_its_network_and_ipv4_by_address(behind_proxy: Clients) -> None:
    hosts = itertools.cycle(["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1:8000:1:2:3"])
    for _ in range(SERVED):
        assert await behind_proxy.enter("127.0.0.3", next(hosts)) == 101
    assert await behind_proxy.enter("127.0.0.3", next(hosts)) == 429
    for other in ("2001:db8:0:2::1", "192.0.2.1", "192.0.2.2"):
        assert await behind_proxy.enter("127.0.0.3", other) == 101
    for _ in range(SERVED - 1):
        assert await behind_proxy.enter("127.0.0.3", "::ffff:192.0.2.1") == 101
    assert await behind_proxy.enter("127.0.0.3", "192.0.2.1") == 429


async def test_http2_without_tls_is_refused(clients: Clients) -> None:
    reader, writer = await clients.connect()
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")


async def test_a_school_behind_one_address_is_served(tmp_path: Path) -> None:
    """With the numbers of the file: 500 pages, each of which loads two files over own connections and enters."""

    async def page(clients: Clients) -> list[int]:
        files = await asyncio.gather(*[clients.connect() for _ in range(2)])
        return [*[(await clients.ask(file))[0] for file in files], await clients.enter()]

    async with balanced(tmp_path, {}) as clients:
        for _ in range(SCHOOL // 50):
            pages = await asyncio.gather(*[page(clients) for _ in range(50)])
            assert pages == [[200, 200, 101]] * 50
