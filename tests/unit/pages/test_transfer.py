"""Sending a file: piece by piece, open only meanwhile, and only one version of it."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from anyio import CapacityLimiter
from starlette.responses import FileResponse
from starlette.types import Message, Scope

from relay.pages.transfer import MOST_WAITING, FileTransfer
from relay.rooms.connection import ABORT_EXTENSION
from tests.fleet import eventually
from tests.unit.rooms.buffering import make_buffers

PIECE = FileTransfer.chunk_size
CONTENT = bytes(range(256)) * (5 * PIECE // 256) + b"the rest"


class Client:
    """Takes a response message by message; `between` is called ahead of each piece of the body."""

    def __init__(self, between: Any = None) -> None:
        self.body = b""
        self.pieces: list[int] = []
        self.complete = False
        self.aborted = 0
        self.buffers = make_buffers()
        self._between = between

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            if self._between is not None:
                self._between()
            self.body += message["body"]
            self.pieces.append(len(message["body"]))
            self.complete = not message["more_body"]

    async def receive(self) -> Message:
        return {"type": "http.disconnect"}

    def abort(self) -> None:
        self.aborted += 1

    def scope(self, *, own_server: bool = True, **headers: str) -> Scope:
        named = [(name.encode(), text.encode()) for name, text in headers.items()]
        extensions = {ABORT_EXTENSION: self.abort} if own_server else {}
        asgi = {"spec_version": "2.4"}
        state = {"worker": SimpleNamespace(admissions=SimpleNamespace(buffers=self.buffers))}
        return {
            "type": "http", "method": "GET", "headers": named, "extensions": extensions, "asgi": asgi, "state": state,
        }  # fmt: skip


def transfer(path: Path) -> FileTransfer:
    return FileTransfer(str(path), path.stat(), CapacityLimiter(1), {}, "text/plain")


def open_files(folder: Path) -> list[Path]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was that of the listing
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(folder)]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(CONTENT)
    return path


async def test_a_file_is_sent_in_pieces_and_is_not_open_between_them(large: Path) -> None:
    found = []
    client = Client(lambda: found.append(open_files(large.parent)))
    await transfer(large)(client.scope(), client.receive, client.send)
    assert client.body == CONTENT
    assert client.complete
    assert max(client.pieces) == PIECE
    assert len(found) == 6
    assert not any(found)


@pytest.mark.parametrize("asked", [f"bytes=5-{2 * PIECE}", "bytes=5-9,70000-200000"])
async def test_ranges_are_sent_in_pieces_as_well(large: Path, asked: str) -> None:
    found = []
    client = Client(lambda: found.append(open_files(large.parent)))
    await transfer(large)(client.scope(range=asked), client.receive, client.send)
    assert client.complete
    assert CONTENT[5:10] in client.body
    assert max(client.pieces) <= PIECE
    assert not any(found)


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(os.urandom(path.stat().st_size))
    other.replace(path)


@pytest.mark.parametrize(
    "change", [replace, Path.unlink, lambda path: os.truncate(path, 10), lambda path: path.write_bytes(b"x" * 10**6)]
)
async def test_a_file_that_changes_on_the_way_ends_the_connection(
    large: Path, change: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changes = [change]
    client = Client(lambda: changes and changes.pop()(large))
    await transfer(large)(client.scope(), client.receive, client.send)
    assert client.aborted == 1
    assert f"static: {large} was not sent to its end (" in caplog.text
    assert not client.complete
    assert CONTENT.startswith(client.body)


async def test_the_bytes_of_a_file_that_may_wait_count_for_the_address_while_it_is_sent(large: Path) -> None:
    counted = []
    client = Client(lambda: counted.append(client.buffers.everything.total))
    for size in (len(CONTENT), 1000):
        os.truncate(large, size)
        await transfer(large)(client.scope(), client.receive, client.send)
        assert client.buffers.everything.total == 0
    assert set(counted) == {MOST_WAITING, 1000}


async def test_a_transfer_is_cut_off_where_too_much_waits_for_an_address(large: Path) -> None:
    client = Client()
    client.buffers = make_buffers(address_limit=MOST_WAITING - 1)
    stalled = asyncio.Event()

    async def send(_: Message) -> None:
        await stalled.wait()

    task = asyncio.create_task(transfer(large)(client.scope(), client.receive, send))
    await eventually(lambda: client.aborted == 1)
    assert client.buffers.everything.total == 0
    stalled.set()
    await task


async def test_another_server_ends_the_connection_by_itself(large: Path) -> None:
    changes = [Path.unlink]
    client = Client(lambda: changes and changes.pop()(large))
    with pytest.raises(FileNotFoundError):
        await transfer(large)(client.scope(own_server=False), client.receive, client.send)


def test_starlette_has_the_methods_that_are_overridden() -> None:
    for name in ("_open_file", "_parse_range_header", "chunk_size"):
        assert name in vars(FileResponse)
