"""Forwarding a request: which worker is asked, which reply counts, and what is passed on."""

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
async def test_a_clients_message_is_not_taken_for_the_error_of_an_unknown_session(
    tmp_path: Path, unknown: bytes, body: bytes
) -> None:
    async with answering(tmp_path / "one", unknown) as one, answering(tmp_path / "two", body) as two:
        reply = await Forwarder([one, two]).forward(SCOPE, "x", b"")
    assert reply is not None
    assert reply.body == body


async def test_no_reply_when_no_worker_has_the_session(tmp_path: Path) -> None:
    async with answering(tmp_path / "one", error_body(Refused("unknown_session"))) as one:
        assert await Forwarder([one, str(tmp_path / "gone")]).forward(SCOPE, "x", b"") is None


def test_a_forwarded_request_counts_by_the_address_of_its_client() -> None:
    handed_on: Any = {"client": None, "headers": [(b"x-relay-client", b"10.1.2.3")]}
    assert Forwarder(["one", "two"]).client_address(handed_on) == "10.1.2.3"
    assert Forwarder(["one"]).client_address(handed_on) == ""
    assert Forwarder(["one", "two"]).client_address(handed_on | {"client": ("10.9.9.9", 1)}) == "10.9.9.9"


class Worker:
    """A worker behind the same port, which keeps the requests that it gets."""

    def __init__(self, reply: bytes) -> None:
        self.requests: list[bytes] = []
        self._reply = reply

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        writer.write(self._reply)
        writer.close()


REPLY = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nX-Engine-Sid: x\r\nDate: now\r\nVary: Origin\r\n"
    b"Access-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok"
)


async def test_a_request_and_its_reply_are_passed_on_with_the_headers_that_matter(tmp_path: Path) -> None:
    scope: Any = {
        "method": "POST",
        "raw_path": b"/socket.io/",
        "query_string": b"sid=x",
        "client": ("10.1.2.3", 1),
        "headers": [(b"origin", b"https://page"), (b"content-type", b"text/plain"), (b"cookie", b"secret")],
    }
    worker = Worker(REPLY)
    async with await asyncio.start_unix_server(worker, tmp_path / "one"):
        reply = await Forwarder([str(tmp_path / "one"), "/gone"]).forward(scope, "x", b"body")
    assert worker.requests == [
        b"POST /socket.io/?sid=x HTTP/1.1\r\nhost: relay\r\nconnection: close\r\norigin: https://page\r\n"
        b"content-type: text/plain\r\nx-relay-client: 10.1.2.3\r\ncontent-length: 4\r\n\r\nbody"
    ]
    assert reply is not None
    assert (reply.status, reply.body) == (400, b"ok")
    assert dict(reply.headers) == {
        b"content-type": b"text/html",
        b"x-engine-sid": b"x",
        b"vary": b"Origin",
        b"access-control-allow-origin": b"*",
    }


async def test_the_worker_of_a_session_is_remembered_until_it_does_not_have_it(tmp_path: Path) -> None:
    unknown = b'{"code":1,"message":"Session ID unknown"}'
    other = Worker(b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(unknown), unknown))
    owner = Worker(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n4a")
    paths = [str(tmp_path / name) for name in ("other", "owner")]
    forwarder = Forwarder(paths)
    async with await asyncio.start_unix_server(other, paths[0]):
        async with await asyncio.start_unix_server(owner, paths[1]):
            for _ in range(3):
                assert await forwarder.forward(SCOPE | {"client": None}, "x", b"") is not None
            assert (len(other.requests), len(owner.requests)) == (1, 3)
        assert await forwarder.forward(SCOPE | {"client": None}, "x", b"") is None
        assert await forwarder.forward(SCOPE | {"client": None}, "x", b"") is None
        assert len(other.requests) == 2


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
async def test_a_worker_that_gives_no_whole_reply_does_not_have_the_session(tmp_path: Path, reply: bytes) -> None:
    async with await asyncio.start_unix_server(Worker(reply), tmp_path / "one"):
        assert await Forwarder([str(tmp_path / "one"), "/gone"]).forward(SCOPE, "x", b"") is None


@pytest.mark.parametrize(
    ("sockets", "server", "forwards"),
    [
        (["one", "two"], ("127.0.0.1", 8888), True),
        (["one"], ("127.0.0.1", 8888), False),
        ([], ("127.0.0.1", 8888), False),
        (["one", "two"], ("/run/one", None), False),
        (["one", "two"], None, False),
    ],
)
def test_only_a_request_of_a_client_itself_is_forwarded(sockets: list[str], server: Any, forwards: bool) -> None:
    assert Forwarder(sockets).may_forward({"server": server}) is forwards
