"""Requests to a receiver, over a real connection."""

import asyncio
import io
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from relay import logs
from relay.webhooks.receiver import WebhookReceiver
from tests.webhook_receiver import SECRET, HookReceiver

BODY = b'{"events":[]}'


@pytest.fixture
async def server() -> AsyncIterator[HookReceiver]:
    async with HookReceiver() as server:
        yield server


@pytest.fixture
async def receiver(server: HookReceiver) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(server.url, [SECRET], timeout=30, wall_clock=time.time)
    yield receiver
    await receiver.close()


@pytest.fixture
async def impatient(server: HookReceiver) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(server.url, [SECRET], timeout=0.5, wall_clock=time.time)
    yield receiver
    await receiver.close()


async def test_any_status_of_success_accepts(server: HookReceiver, receiver: WebhookReceiver) -> None:
    for server.status in (200, 204, 299):
        assert await receiver.post(BODY) == ("accepted", "")
    first = server.requests[0]
    assert first.body == BODY
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"].startswith("signal-relay/")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_another_status_refuses(server: HookReceiver, receiver: WebhookReceiver, status: int) -> None:
    server.status = status
    assert await receiver.post(BODY) == ("refused", f"it answered with status {status}")


async def test_redirects_are_not_followed(server: HookReceiver, receiver: WebhookReceiver) -> None:
    server.status, server.headers = 307, {"Location": server.url}
    outcome, why = await receiver.post(BODY)
    assert (outcome, "redirects" in why, len(server.requests)) == ("refused", True, 1)


async def test_a_slow_answer_is_given_up(server: HookReceiver, impatient: WebhookReceiver) -> None:
    server.delay = 5
    assert await impatient.post(BODY) == ("timeout", "it did not answer within 0.5 s")
    assert server.answered == 0


async def test_an_answer_that_drips_is_given_up(server: HookReceiver, impatient: WebhookReceiver) -> None:
    """A timeout for each read would never end."""
    server.drips = "head"
    assert (await impatient.post(BODY)).outcome == "timeout"


async def test_a_long_answer_is_not_read_to_its_end(server: HookReceiver, receiver: WebhookReceiver) -> None:
    server.status, server.content = 200, b"x" * 50_000_000
    assert (await receiver.post(BODY)).outcome == "accepted"
    assert server.answered == 0


async def test_a_connection_is_used_again(server: HookReceiver, receiver: WebhookReceiver) -> None:
    server.content = b"ok"
    server.status = 200
    for _ in range(3):
        await receiver.post(BODY)
    assert len(server.connections) == 1


async def test_a_server_that_is_away_is_unreachable(server: HookReceiver, receiver: WebhookReceiver) -> None:
    await server.close()
    assert await receiver.post(BODY) == ("unreachable", "it cannot be reached: Connection refused")
    await server.open()
    assert (await receiver.post(BODY)).outcome == "accepted"


async def test_a_connection_that_breaks_is_a_failure(server: HookReceiver, receiver: WebhookReceiver) -> None:
    server.delay = 5
    posting = asyncio.ensure_future(receiver.post(BODY))
    await server.until(lambda: server.requests)
    await server.close()
    outcome, why = await posting
    assert (outcome, "127.0.0.1" in why) == ("unreachable", False)


@pytest.fixture
def debug_log() -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure("debug", "text", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_the_log_has_no_url(server: HookReceiver, debug_log: io.StringIO) -> None:
    url = server.url.replace("//", "//user:hidden-password@") + "?key=hidden-key"
    receiver = WebhookReceiver(url, [SECRET], timeout=0.5, wall_clock=time.time)
    await receiver.post(BODY)
    await server.close()
    _, why = await receiver.post(BODY)
    await receiver.close()
    assert "hidden" not in debug_log.getvalue() + why
    assert server.requests[0].headers["authorization"].startswith("Basic ")


def test_a_worker_without_a_webhook_does_not_load_the_http_library() -> None:
    loaded = "import sys, relay.app, relay.rooms.worker; print('httpx2' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert printed.stdout == "False\n"
