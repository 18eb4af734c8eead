"""Written and received bytes: over real TCP, over TLS, and where nothing is known."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.rooms.connection import Transfer
from relay.wire import transfer as module
from relay.wire.transfer import transfer_of

LARGE = 8_000_000


class Accepted(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport.set_result(transport)


async def read(reader: asyncio.StreamReader, count: int) -> None:
    async with asyncio.timeout(10):
        while count:
            data = await reader.read(count)
            assert data
            count -= len(data)


async def arrived(transport: asyncio.Transport) -> Transfer:
    """Wait until everything that was written has arrived."""
    async with asyncio.timeout(5):
        while True:
            transfer = transfer_of(transport)
            assert transfer is not None
            if transfer.received == transfer.written:
                return transfer
            await asyncio.sleep(0.005)


async def test_bytes_that_arrive_while_they_are_counted_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = Accepted()
    server = await asyncio.get_running_loop().create_server(lambda: accepted, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    transport = await accepted.transport
    before = await arrived(transport)
    ask, late = module._unacknowledged, [30, 20]

    def unacknowledged(descriptor: int) -> int:
        """Tell what was true before these bytes arrived."""
        return ask(descriptor) + (late.pop() if late else 0)

    monkeypatch.setattr(module, "_unacknowledged", unacknowledged)
    assert transfer_of(transport) == before
    assert not late
    transport.abort()
    writer.close()
    server.close()


async def test_every_byte_counts_wherever_it_waits() -> None:
    accepted = Accepted()
    server = await asyncio.get_running_loop().create_server(lambda: accepted, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1000)
    transport = await accepted.transport
    before = await arrived(transport)
    transport.write(b"x" * 1000)
    assert (await arrived(transport)).written == before.written + 1000
    # More than the system takes: the rest waits in the transport.
    transport.write(b"x" * LARGE)
    transfer = transfer_of(transport)
    assert transfer is not None
    assert transfer.written == before.written + 1000 + LARGE
    assert transfer.received < transfer.written - LARGE // 4
    await read(reader, 1000 + LARGE)
    assert (await arrived(transport)).received == before.written + 1000 + LARGE
    transport.abort()
    assert transfer_of(transport) is None
    writer.close()
    server.close()


async def test_over_tls_all_has_arrived_while_nothing_waits() -> None:
    accepted = Accepted()
    authority = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)
    server = await asyncio.get_running_loop().create_server(lambda: accepted, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusting, server_hostname="localhost", limit=1000
    )
    transport = await accepted.transport
    assert await arrived(transport) == Transfer(1, 1)
    transport.write(b"x" * LARGE)
    # After a turn, the transport has passed on as many bytes as the system takes.
    await asyncio.sleep(0.01)
    assert transfer_of(transport) == Transfer(1, 0)
    await read(reader, LARGE)
    assert await arrived(transport) == Transfer(1, 1)
    writer.close()
    server.close()


async def test_nothing_is_known_of_a_unix_socket(tmp_path: Path) -> None:
    accepted = Accepted()
    path = str(tmp_path / "socket")
    server = await asyncio.get_running_loop().create_unix_server(lambda: accepted, path)
    _, writer = await asyncio.open_unix_connection(path)
    assert transfer_of(await accepted.transport) is None
    writer.close()
    server.close()


async def test_nothing_is_known_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = Accepted()
    server = await asyncio.get_running_loop().create_server(lambda: accepted, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    transport = await accepted.transport
    monkeypatch.setattr("relay.wire.transfer.sys.platform", "darwin")
    assert transfer_of(transport) is None
    writer.close()
    server.close()


async def test_while_the_end_is_reported_the_arrived_bytes_are_known() -> None:
    found: list[Transfer | None] = []

    class Ending(Accepted):
        def connection_lost(self, error: Exception | None) -> None:
            found.extend([transfer_of(self.transport.result()), transfer_of(self.transport.result(), ended=True)])
            done.set()

    accepted, done = Ending(), asyncio.Event()
    server = await asyncio.get_running_loop().create_server(lambda: accepted, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    transport = await accepted.transport
    transport.write(b"x" * 1000)
    before = await arrived(transport)
    writer.transport.abort()
    await done.wait()
    assert found[0] is None
    assert found[1] is not None
    assert found[1].received == before.received
    # A message that is dropped now has not arrived, although all bytes have that were written.
    assert found[1].written > found[1].received
    server.close()
