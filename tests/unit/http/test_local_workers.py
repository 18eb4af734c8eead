"""Requests to local workers: complete replies in time, or the reason why there is none."""

from pathlib import Path

import pytest

from relay.http.local_workers import MAX_REPLY, NoReply, WorkerReply, ask, ask_all
from tests.unit.http.conftest import ServeRaw, response


async def test_a_reply(serve_raw: ServeRaw) -> None:
    async with serve_raw(response(b"hello", "503 Service Unavailable")) as socket:
        assert await ask(socket, "/health") == WorkerReply(503, b"hello")


async def test_empty_body(serve_raw: ServeRaw) -> None:
    async with serve_raw(response(b"")) as socket:
        assert await ask(socket, "/health") == WorkerReply(200, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ntoo long",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 20x OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX-Content-Length: 2\r\n\r\nhi",
    ],
)
async def test_an_incomplete_reply(serve_raw: ServeRaw, answer: bytes) -> None:
    async with serve_raw(answer) as socket:
        assert await ask(socket, "/health") == NoReply("the answer is incomplete")


async def test_a_reply_beyond_the_limit(serve_raw: ServeRaw) -> None:
    async with serve_raw(response(b"x" * (MAX_REPLY + 1))) as socket:
        assert await ask(socket, "/metrics") == NoReply(f"the answer is longer than {MAX_REPLY} bytes")


async def test_a_local_worker_that_does_not_finish(serve_raw: ServeRaw) -> None:
    async with serve_raw(b"HTTP/1.1 200 OK\r\n", hold=True) as socket:
        assert await ask(socket, "/health", seconds=0.05) == NoReply("no answer within 0.05 s")


async def test_a_local_worker_that_is_not_there(tmp_path: Path) -> None:
    answer = await ask(str(tmp_path / "nobody"), "/health")
    assert isinstance(answer, NoReply)
    assert answer.text.startswith("cannot be reached")
    assert str(tmp_path) not in answer.text


async def test_all_are_asked_at_once_and_replies_are_in_order(serve_raw: ServeRaw) -> None:
    async with (
        serve_raw(b"", name="slow", hold=True) as slow,
        serve_raw(response(b"1"), name="one") as one,
        serve_raw(response(b"2"), name="two") as two,
    ):
        answers = await ask_all([one, slow, slow, two], "/health", seconds=0.2)
    silence = NoReply("no answer within 0.2 s")
    assert answers == [WorkerReply(200, b"1"), silence, silence, WorkerReply(200, b"2")]
