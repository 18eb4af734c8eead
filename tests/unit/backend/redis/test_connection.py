import asyncio
import socket
import ssl
import threading

import pytest
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer, Patience, Pending, pack
from relay.backend.redis.lookups import Lookups
from relay.backend.redis.replies import RedisUnreachable
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis


async def test_the_password_goes_with_the_user_of_the_url(server: ScriptedRedis) -> None:
    url = server.url.replace("redis://", "redis://relay@")
    dialer = Dialer(url, password="hunter2", timeout=0.5, name="test")
    async with RedisClient(dialer, timeout=0.5, waiting=10, on_reconnect=lambda: None) as client:
        await client.call("PING")
    assert server.commands[0] == [b"AUTH", b"relay", b"hunter2"]


async def test_a_slow_name_lookup_is_shared_by_all_attempts() -> None:
    asked, unknown = [], threading.Event()

    def resolve(host: str, _: None) -> None:
        asked.append(host)
        assert unknown.wait(30)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    dialer = Dialer("redis://redis", timeout=0.05, name="test", lookups=Lookups(resolve))
    for _ in range(3):
        with pytest.raises(RedisUnreachable, match="no answer within"):
            await dialer.open(lambda _: None, lambda: None)
    patient = Dialer("redis://redis", timeout=30, name="test", lookups=dialer._lookups)
    waiting = asyncio.create_task(patient.open(lambda _: None, lambda: None))
    await asyncio.sleep(0)
    unknown.set()
    with pytest.raises(RedisUnreachable, match="name resolution"):
        await waiting
    assert asked == ["redis"]


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "its host name cannot be resolved"),
        (ssl.SSLError("certificate verify failed"), "the TLS handshake failed"),
        (AuthenticationError("invalid username-password pair"), "Redis does not accept the user or the password"),
        (FileNotFoundError(2, "No such file or directory"), "a file that redis-url names does not exist"),
        (TimeoutError(), "no answer within 0.5 s"),
        (OSError(113, "No route to host"), "the connection failed"),
    ],
)
async def test_a_failure_has_a_cause_for_the_log_and_a_report(
    monkeypatch: pytest.MonkeyPatch, cause: Exception, text: str
) -> None:
    dialer = Dialer("redis://127.0.0.1:1", timeout=0.5, name="test")

    class Failing:
        async def connect(self) -> None:
            raise RedisConnectionError("Error connecting to 10.0.0.1:6379") from cause

        async def disconnect(self, nowait: bool) -> None: ...

    monkeypatch.setattr(dialer._pool, "make_connection", Failing)
    with pytest.raises(RedisUnreachable) as raised:
        await dialer.open(lambda _: None, lambda: None)
    assert raised.value.report == text
    assert "10.0.0.1:6379" in str(raised.value)


async def test_an_attempt_has_more_time_after_one_whose_time_was_over(server: ScriptedRedis) -> None:
    dialer = Dialer(server.url, password="hunter2", timeout=0.3, name="test")

    async def report() -> str:
        with pytest.raises(RedisUnreachable) as raised:
            await dialer.open(lambda _: None, lambda: None)
        return raised.value.report

    answer, server.answer = server.answer, lambda _: None
    assert [await report() for _ in range(2)] == ["no answer within 0.3 s", "no answer within 0.6 s"]
    server.answer = answer
    (await dialer.open(lambda _: None, lambda: None)).abort()
    server.answer = lambda _: None
    assert await report() == "no answer within 0.3 s"
    # Nobody is there: the next attempt need not be patient.
    await server.stop()
    assert await report() == "connection refused"
    await server.start()
    assert await report() == "no answer within 0.3 s"


async def test_the_success_of_one_owner_leaves_the_patience_of_another_one(server: ScriptedRedis) -> None:
    dialer, patience = Dialer(server.url, password="hunter2", timeout=0.2, name="test"), Patience()
    answer, server.answer = server.answer, lambda _: None
    with pytest.raises(RedisUnreachable):
        await dialer.open(lambda _: None, lambda: None, patience)
    server.answer = answer
    (await dialer.open(lambda _: None, lambda: None, Patience())).abort()
    server.answer = lambda _: None
    with pytest.raises(RedisUnreachable) as raised:
        await dialer.open(lambda _: None, lambda: None, patience)
    assert raised.value.report == "no answer within 0.4 s"


async def test_nothing_is_sent_over_a_connection_that_is_closing(server: ScriptedRedis) -> None:
    lost = asyncio.Event()
    connection = await Dialer(server.url, timeout=5, name="test").open(lambda _: None, lost.set)
    connection.send(pack("GET", "x"))
    connection.abort()
    connection.abort()
    async with asyncio.timeout(5):
        await lost.wait()
    assert [b"GET", b"x"] not in server.commands


async def test_bytes_that_are_no_redis_protocol_end_the_connection_after_the_replies_before_them(
    server: ScriptedRedis,
) -> None:
    replies, lost = [], asyncio.Event()
    connection = await Dialer(server.url, timeout=5, name="test").open(replies.extend, lost.set)
    server.answer = lambda command: b"+first\r\ngarbage\r\n"
    connection.send(pack("PING"))
    async with asyncio.timeout(5):
        await lost.wait()
    assert replies == [b"first"]


async def test_a_socket_in_the_file_system_needs_no_name_lookup(tmp_path) -> None:
    asked: list[str] = []
    lookups = Lookups(lambda host, _: asked.append(host))
    with pytest.raises(RedisUnreachable):
        await Dialer(f"unix://{tmp_path}/none", timeout=1, name="test", lookups=lookups).open(
            lambda _: None, lambda: None
        )
    assert asked == []


def test_pending_callbacks_get_replies_in_order_and_the_rest_an_error() -> None:
    pending, got = Pending(), []
    assert pending.deadline is None
    for number in range(3):
        pending.add(number, lambda reply, number=number: got.append((number, reply)))
    pending.resolve([b"a"])
    assert pending.deadline == 1
    pending.fail(TimeoutError("late"))
    assert [(number, str(reply)) for number, reply in got] == [(0, "b'a'"), (1, "late"), (2, "late")]
    assert pending.deadline is None


@pytest.mark.parametrize("cause", [TypeError("no option x"), UnicodeError("label too long"), KeyError("x")])
async def test_an_unexpected_error_of_the_library_is_a_failed_attempt_and_no_death(
    monkeypatch: pytest.MonkeyPatch, cause: Exception, caplog
) -> None:
    dialer = Dialer("redis://127.0.0.1:1", timeout=0.5, name="test")
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise cause

    monkeypatch.setattr(dialer._pool, "make_connection", fail)
    async with RedisClient(dialer, timeout=0.3, waiting=9, on_reconnect=lambda: None) as client:
        with pytest.raises(Unavailable):
            await client.call("PING")
        assert client.loop is not None
        assert not client.loop.problem
    assert len(attempts) > 1
    assert caplog.text.count(type(cause).__name__) == 1


@pytest.mark.parametrize(
    ("reply", "report"),
    [
        (b"-NOAUTH Authentication required.", "Redis asks for a password (NOAUTH Authentication required.)"),
        (b"-WRONGPASS bad", "Redis does not accept the user or the password (WRONGPASS bad)"),
        (b"-ERR max number of clients reached", "Redis answers: ERR max number of clients reached"),
        (
            b"-DENIED Redis is in protected mode.",
            "this Redis is in protected mode (DENIED Redis is in protected mode.)",
        ),
        (b"-LOADING Redis is loading", "Redis is still loading its data (LOADING Redis is loading)"),
        (b"-ERR a\x1b[2Jb", "Redis answers: a\\x1b[2Jb"),
        (b"-ERR " + 1000 * b"x", "Redis answers: ERR " + 196 * "x"),
        (
            b"-ERR unknown command 'AUTH', with args beginning with: 'x' 'Secret1' ",
            "Redis answers: ERR unknown command 'AUTH', with args beginning with: 'x' '***' ",
        ),
    ],
)
async def test_a_refused_connection_is_reported_in_the_words_of_redis_without_the_password(
    server: ScriptedRedis, reply: bytes, report: str
) -> None:
    server.answer = lambda command: reply + b"\r\n"
    dialer = Dialer(server.url.replace("://", "://x:Secret1@"), timeout=1, name="test")
    with pytest.raises(RedisUnreachable) as raised:
        await dialer.open(lambda _: None, lambda: None)
    found = raised.value.report.replace("ERR ", "")
    # Behind it, there may be a remedy.
    assert found.startswith(report.replace("ERR ", ""))
    assert found.removeprefix(report.replace("ERR ", ""))[:2] in {"", "; "}
    assert "Secret1" not in str(raised.value)
    assert len(str(raised.value)) <= 300


@pytest.mark.parametrize("url", ["", "redis://:Secret1?rest@h", "redis://h/prod", "redis://h?family=0"])
def test_a_url_that_is_not_valid_is_refused_before_anything_is_opened(url: str) -> None:
    with pytest.raises(ValueError, match=r"^[^S]*$"):
        Dialer(url, timeout=1, name="test")
