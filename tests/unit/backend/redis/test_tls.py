"""The connection over TLS: attempts that are given up while the process stands still."""

import asyncio
import gc
import random
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest
import uvloop

from relay.backend.redis.connection import Dialer
from relay.backend.redis.replies import RedisUnreachable
from tests.certificates import Certificates

ATTEMPTS = 50


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    certificates = Certificates()
    yield certificates
    certificates.close()


@pytest.fixture(scope="module")
def port(certificates: Certificates) -> Iterator[int]:
    """The port of a server that answers while the process of the test stands still: its loop is in another thread."""
    told: Future[int] = Future()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(1000):
                writer.write(b"+OK\r\n")
        writer.close()

    async def serve() -> None:
        loop.set_exception_handler(lambda *_: None)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.certificate, certificates.key)
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            told.set_result(server.sockets[0].getsockname()[1])
            await end.wait()

    thread = Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    yield told.result(10)
    loop.call_soon_threadsafe(end.set)
    thread.join(10)
    loop.close()


async def burden() -> None:
    """Keep the event loop busy, a moment at a time."""
    draw = random.Random(1)
    while True:
        time.sleep(draw.uniform(0, 0.03))  # noqa: ASYNC251
        await asyncio.sleep(draw.uniform(0, 0.01))


def test_attempts_that_end_on_a_busy_machine_leave_no_failure_behind(port: int, certificates: Certificates) -> None:
    """Where it can happen, one attempt in fourteen does so."""
    reports: list[dict[str, Any]] = []
    url = f"rediss://127.0.0.1:{port}/?ssl_ca_certs={certificates.authority}"

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        busy, draw = asyncio.ensure_future(burden()), random.Random(2)
        for _ in range(ATTEMPTS):
            with suppress(RedisUnreachable):
                dialer = Dialer(url, timeout=draw.uniform(0.02, 0.12), name="test")
                (await dialer.open(lambda replies: None, lambda: None)).abort()
        busy.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
        gc.collect()
        runner.run(asyncio.sleep(0.01))
    assert reports == []
