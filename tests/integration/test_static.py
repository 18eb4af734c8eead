"""The folder of the setting `static` on running workers: readers that are slow or leave, and files that change."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Relay, eventually

LARGE = 100 * 2**20
READERS = 30
MARK = b"the end"

Begin = Callable[[], Awaitable[asyncio.StreamReader]]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with a page and a large file, which takes no room on the disk."""
    (tmp_path / "index.html").write_text("the page")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(LARGE - len(MARK))
        file.seek(0, os.SEEK_END)
        file.write(MARK)
    return tmp_path


@pytest.fixture
async def relay(start: MakeRelay, page: Path) -> Relay:
    # Readers that wait for the others are no slow readers yet.
    return await start(static=page, handshake_timeout=60)


@pytest.fixture
async def begin(relay: Relay) -> AsyncIterator[Begin]:
    """Asks for the large file, and reads no more than the head of the response."""
    writers: list[asyncio.StreamWriter] = []

    async def begin() -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=4096)
        writers.append(writer)
        writer.write(b"GET /large.bin HTTP/1.1\r\nHost: relay\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"content-length: %d\r\n" % LARGE in head
        return reader

    yield begin
    for writer in writers:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def open_files(relay: Relay, folder: Path) -> list[Path]:
    """The files of a folder that the process of a relay has open."""
    found = []
    for link in Path(f"/proc/{relay.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in between
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def memory(relay: Relay) -> int:
    """The memory of the process of a relay, in bytes."""
    pages = int(Path(f"/proc/{relay.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_readers_that_do_not_read_hold_no_file_and_little_memory(relay: Relay, page: Path, begin: Begin) -> None:
    assert (await relay.get("/")).text == "the page"
    before = memory(relay)
    readers = [await begin() for _ in range(READERS)]
    await eventually(lambda: not open_files(relay, page))
    assert memory(relay) - before < READERS * 2**20
    assert (await relay.get("/")).text == "the page"
    # One of them reads on, and gets all of it.
    last, count = b"", 0
    async with asyncio.timeout(50):
        while count < LARGE:
            piece = await readers[0].read(2**20)
            assert piece
            count += len(piece)
            last = (last + piece)[-len(MARK) :]
    assert (count, last) == (LARGE, MARK)
    assert "Traceback" not in relay.logged


async def test_a_file_that_changes_while_it_is_sent_ends_the_connection(relay: Relay, page: Path, begin: Begin) -> None:
    reader = await begin()
    (page / "large.new").write_bytes(b"another version")
    (page / "large.new").replace(page / "large.bin")
    received = 0
    async with asyncio.timeout(50):
        try:
            while piece := await reader.read(2**20):
                received += len(piece)
        except ConnectionError:
            pass
    assert received < LARGE
    assert (await relay.get("/large.bin")).text == "another version"
    assert "Traceback" not in relay.logged
    assert "ASGI" not in relay.logged


async def test_websockets_at_the_root_go_on_beside_the_page(relay: Relay, enter: MakeClient) -> None:
    alice, bob = [await enter(relay, "/") for _ in range(2)]
    await alice.send({"sender": "a", "channel": "c", "message": 1})
    assert (await bob.next())["message"] == 1


async def test_requests_for_files_count_for_the_rate_of_their_address(start: MakeRelay, page: Path) -> None:
    relay = await start(static=page, http_rate=1)

    async def ask(address: str, count: int) -> list[httpx.Response]:
        """Send requests at the same time, each over a connection of its own."""
        transport = httpx.AsyncHTTPTransport(verify=False, local_address=address)
        async with httpx.AsyncClient(transport=transport, timeout=30) as client:
            return await asyncio.gather(*[client.get(f"{relay.http}/index.html") for _ in range(count)])

    refused = [one for one in await ask("127.0.0.7", 20) if one.status_code == 429]
    assert refused
    assert {one.json()["error"]["code"] for one in refused} == {"too_many_requests"}
    assert [one.status_code for one in await ask("127.0.0.8", 1)] == [200]
