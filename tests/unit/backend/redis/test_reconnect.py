import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from relay.backend.redis import reconnect as module
from relay.backend.redis.reconnect import ReconnectDelay, Reconnector
from relay.backend.redis.replies import RedisUnreachable


def test_delays_double_to_half_a_second_and_are_random() -> None:
    longest = ReconnectDelay(draw=lambda: 1.0)
    assert [longest.next() for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    longest.reset()
    assert longest.next() == 0.05
    assert ReconnectDelay(draw=lambda: 0.0).next() == 0.025


@pytest.mark.parametrize("error", [None, RedisUnreachable("refused", "refused")])
async def test_a_reconnector_ends_although_its_cancellation_was_swallowed(error: Exception | None) -> None:
    dialing = asyncio.Event()

    async def dial() -> None:
        dialing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if error:
            raise error

    task = asyncio.create_task(Reconnector("test", dial, lambda: None).run())
    await dialing.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done == {task}


class Server:
    """Runs a reconnector; `behave` says what happens to each connection, by its number."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "relay.backend.redis")
        self.caplog = caplog
        self.behave: Callable[[int], None] = lambda number: None
        self.attempts = 0
        self.reconnects: list[int] = []
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.reconnector = Reconnector("commands", self._connect, lambda: self.reconnects.append(1))

    def start(self, behave: Callable[[int], None]) -> None:
        assert self.reconnector.report == "not connected yet"
        self.behave = behave
        self.task = asyncio.create_task(self.reconnector.run())

    async def _connect(self) -> None:
        self.attempts += 1
        try:
            self.behave(self.attempts)
        finally:
            self.changed.set()

    def later(self, call: Callable[[], None], seconds: float = 0.0) -> None:
        asyncio.get_running_loop().call_later(seconds, call)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage().removeprefix("commands: ") for record in self.caplog.records]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Server]:
    server = Server(caplog)
    yield server
    assert server.task is not None
    server.task.cancel()
    await asyncio.wait([server.task])


async def test_each_change_is_logged_once_and_the_report_in_words_of_the_relay(server: Server) -> None:
    def behave(number: int) -> None:
        if number in {1, 2, 4}:
            raise RedisUnreachable("Error 111 connecting to 10.0.0.1:6379\n", "connection refused")
        server.reconnector.confirmed()

    server.start(behave)
    await server.until(lambda: server.attempts == 3)
    assert (server.reconnector.report, server.reconnects) == ("", [])
    server.reconnector.disconnected()
    await server.until(lambda: server.reconnects)
    assert [line.partition(" (")[0].partition(" after")[0] for line in server.lines] == [
        "cannot reach Redis",
        "connected to Redis",
        "lost the connection to Redis; connecting again",
        "cannot reach Redis",
        "connected to Redis again",
    ]
    assert "10.0.0.1:6379\\x0a" in server.lines[0]


async def test_a_server_that_accepts_and_drops_is_asked_ever_less_often_and_logged_once(server: Server) -> None:
    server.start(lambda number: server.later(server.reconnector.disconnected))
    await asyncio.sleep(2)
    assert 4 <= server.attempts <= 10
    assert server.lines == [
        "Redis accepts connections, but does not serve them (the connection ended before Redis answered); "
        "trying again until it does"
    ]
    assert server.reconnector.report == "the connection ended before Redis answered"
    assert not server.reconnects


async def test_a_refusal_is_reported_in_the_words_of_redis_and_logged_when_it_changes(server: Server) -> None:
    def behave(number: int) -> None:
        cause = RedisUnreachable("NOPERM no\x1b", "no permission") if number < 4 else RedisUnreachable("OTHER", "other")
        server.later(lambda: server.reconnector.disconnected(cause))

    server.start(behave)
    await server.until(lambda: server.attempts > 6)
    assert len(server.lines) == 2
    assert "(NOPERM no\\x1b)" in server.lines[0]
    assert "(OTHER)" in server.lines[1]
    assert server.reconnector.report == "other"


async def test_connections_that_do_not_last_are_opened_ever_less_often(server: Server) -> None:
    def behave(number: int) -> None:
        server.reconnector.confirmed()
        server.later(server.reconnector.disconnected)

    server.start(behave)
    await asyncio.sleep(2)
    assert 4 <= server.attempts <= 10
    assert [line.partition(" after")[0].partition(";")[0] for line in server.lines] == [
        "lost the connection to Redis",
        "connected to Redis again",
        "Redis, or a proxy ahead of it, ends each connection soon",
    ]
    assert len(server.reconnects) == server.attempts - 1


async def test_a_connection_that_lasts_ends_the_outage(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STABLE", 0.2)

    def behave(number: int) -> None:
        server.reconnector.confirmed()
        if number < 5:
            server.later(server.reconnector.disconnected)

    server.start(behave)
    await server.until(lambda: server.attempts == 5)
    assert "ends each connection" in server.lines[-1]
    async with asyncio.timeout(5):
        while "connected to Redis again" not in server.lines[-1]:
            await asyncio.sleep(0.01)
    before = asyncio.get_running_loop().time()
    server.reconnector.disconnected()
    await server.until(lambda: server.attempts == 6)
    assert asyncio.get_running_loop().time() - before < 0.24  # The shortest pause without the reset is 0.25 s.
    assert server.lines[-2:] == [
        "lost the connection to Redis; connecting again",
        "connected to Redis again after 0.0 s",
    ]


async def test_a_server_that_makes_causes_up_does_not_fill_the_log(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(ReconnectDelay, "next", lambda self: 0.001)

    def behave(number: int) -> None:
        raise RedisUnreachable(f"cause {number}", "cause")

    server.start(behave)
    await server.until(lambda: server.attempts == 60)
    assert len(server.lines) == 20
