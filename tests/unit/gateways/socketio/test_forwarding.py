"""Which of a sibling's answers says that the session is not there, and which is what was said in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.gateways.socketio.forwarding import Forwarder
from relay.gateways.socketio.gateway import error_body
from relay.model.errors import Refused

SCOPE: Any = {"method": "GET", "raw_path": b"/socket.io/", "query_string": b"sid=x", "headers": []}


@asynccontextmanager
async def answering(path: Path, body: bytes) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield str(path)


@pytest.mark.parametrize("unknown", [error_body(Refused("unknown_session")), b"7:::1+0"])
@pytest.mark.parametrize("body", [b'42["unknown_session"]', b'42["message","Session ID unknown"]', b"3:::7:::1+0"])
async def test_words_of_a_client_are_no_answer_of_the_worker(tmp_path: Path, unknown: bytes, body: bytes) -> None:
    async with answering(tmp_path / "one", unknown) as one, answering(tmp_path / "two", body) as two:
        reply = await Forwarder([one, two]).forward(SCOPE, "x", b"")
    assert reply is not None
    assert reply.body == body


async def test_a_session_that_is_nowhere(tmp_path: Path) -> None:
    async with answering(tmp_path / "one", error_body(Refused("unknown_session"))) as one:
        assert await Forwarder([one, str(tmp_path / "gone")]).forward(SCOPE, "x", b"") is None


def test_who_hands_a_request_on_says_whose_it_was() -> None:
    handed_on: Any = {"client": None, "headers": [(b"x-relay-client", b"10.1.2.3")]}
    assert Forwarder(["one", "two"]).client_address(handed_on) == "10.1.2.3"
    assert Forwarder(["one"]).client_address(handed_on) == ""
    assert Forwarder(["one", "two"]).client_address(handed_on | {"client": ("10.9.9.9", 1)}) == "10.9.9.9"
