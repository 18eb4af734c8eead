"""The address of the master: of the answers of several sentinels, the newest counts."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from redis.asyncio.connection import Connection

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.lookups import Lookups
from relay.backend.redis.replies import RedisUnreachable
from relay.backend.redis.sentinel import MasterFinder
from relay.config.redis_url import parse_redis_url
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import Answer, ScriptedRedis, array

SENTINEL_ERROR = b"-ERR No such master with that name\r\n"
NOBODY = 1
"""A port on which nothing listens."""


class Sentinels:
    """Three sentinels; each names a master at an epoch, or answers with something else, or not at all (None)."""

    def __init__(self) -> None:
        self.servers = [ScriptedRedis() for _ in range(3)]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{server.port}' for server in self.servers)}/primary"

    def say(self, *answers: bytes | None) -> None:
        for server, answer in zip(self.servers, answers, strict=True):
            server.answer = _answering(answer)


def _answering(answer: bytes | None) -> Answer:
    return lambda command: answer if command[0] == b"SENTINEL" else b"+OK\r\n"


def names(port: int, epoch: int, host: bytes = b"127.0.0.1", *, state: bytes = b"", run: bytes = b"") -> bytes:
    failover = (b"failover-state", state) if state else ()
    master = (b"name", b"primary", b"ip", host, b"port", b"%d" % port, b"runid", run)
    return array(*master, *failover, b"config-epoch", b"%d" % epoch)


@pytest.fixture
async def sentinels() -> AsyncIterator[Sentinels]:
    sentinels = Sentinels()
    for server in sentinels.servers:
        await server.start()
    yield sentinels
    for server in sentinels.servers:
        await server.stop()


def dial(url: str, timeout: float = 5) -> Dialer:
    return Dialer(url, timeout=timeout, name="test")


async def open_and_end(dialer: Dialer) -> None:
    connection = await dialer.open(lambda _: None, lambda: None)
    connection.abort()


async def test_the_master_that_a_majority_names_is_dialed(sentinels: Sentinels, server: ScriptedRedis) -> None:
    sentinels.say(names(server.port, 3), names(server.port, 3), None)
    await open_and_end(dial(sentinels.url))
    assert len(server.clients) == 1
    assert [b"SENTINEL", b"MASTER", b"primary"] in sentinels.servers[0].commands


async def test_the_master_is_dialed_where_workers_reach_it(sentinels: Sentinels, server: ScriptedRedis) -> None:
    sentinels.say(*[names(6379, 3, b"10.0.0.7")] * 3)
    reached = ("127.0.0.1", server.port)
    dialer = Dialer(sentinels.url, timeout=5, name="test", mapped={("10.0.0.7", 6379): reached})
    await open_and_end(dialer)
    assert await dialer.agreed_master() == reached
    await dialer.close()
    assert len(server.clients) == 1


async def test_sentinels_have_more_time_after_an_attempt_whose_time_was_over(sentinels: Sentinels) -> None:
    sentinels.say(None, None, None)
    dialer = dial(sentinels.url, timeout=0.2)
    for seconds in ("0.1", "0.2"):
        with pytest.raises(RedisUnreachable, match=f"no answer within {seconds} s"):
            await open_and_end(dialer)


async def test_an_attempt_to_reach_a_mute_master_ends_when_the_sentinels_agree_on_another_one(
    sentinels: Sentinels, server: ScriptedRedis
) -> None:
    mute = ScriptedRedis()
    mute.answer = lambda command: None
    await mute.start()
    sentinels.say(*[names(mute.port, 3)] * 3)
    dialer = Dialer(sentinels.url, password="hunter2", timeout=60, name="test")
    attempt = asyncio.create_task(open_and_end(dialer))
    async with asyncio.timeout(5):
        while not mute.commands:
            await asyncio.sleep(0.005)
        assert await dialer.agreed_master() == ("127.0.0.1", mute.port)
        assert not attempt.done()
        sentinels.say(*[names(server.port, 4)] * 3)
        assert await dialer.agreed_master() == ("127.0.0.1", server.port)
        with pytest.raises(RedisUnreachable, match="the sentinels name another master"):
            await attempt
        await open_and_end(dialer)
    await dialer.close()
    await mute.stop()


async def test_a_sentinel_that_was_cut_off_does_not_decide(sentinels: Sentinels, server: ScriptedRedis) -> None:
    sentinels.say(names(NOBODY, 2), names(server.port, 3), None)
    await open_and_end(dial(sentinels.url))
    assert len(server.clients) == 1


async def test_sentinels_that_do_not_know_of_a_failover_yet_do_not_undo_it(
    sentinels: Sentinels, server: ScriptedRedis
) -> None:
    dialer = dial(sentinels.url)
    sentinels.say(names(server.port, 3), names(NOBODY, 2), None)
    await open_and_end(dialer)
    sentinels.say(None, names(NOBODY, 2), names(NOBODY, 2))
    await open_and_end(dialer)
    assert len(server.clients) == 2


@pytest.mark.parametrize("state", [b"reconf_slaves", b"update_config"])
@pytest.mark.parametrize("old", [1024, 65_535])
async def test_the_sentinel_that_leads_a_failover_does_not_undo_it(
    sentinels: Sentinels, old: int, state: bytes
) -> None:
    """It has the new epoch before it names the new master. Ports below and above show that none of them decides."""
    parsed = parse_redis_url(sentinels.url)
    assert parsed is not None
    failovers = list[int]()
    finder = MasterFinder(
        parsed, {"protocol": 2}, Lookups(), lambda: failovers.append(1), clock=lambda: 100.0, timeout=1
    )
    before = names(old, 0)
    sentinels.say(before, before, None)
    assert await finder.find() == ("127.0.0.1", old)
    leads, follows = names(old, 1, state=state), names(30_000, 1)
    sentinels.say(leads, before, None)
    assert await finder.agreed() == ("127.0.0.1", old)
    sentinels.say(leads, follows, None)
    assert await finder.agreed() == ("127.0.0.1", 30_000)
    # By chance, those answer first that do not know of the new master.
    sentinels.say(leads, before, None)
    assert await finder.find() == ("127.0.0.1", 30_000)
    sentinels.say(follows, follows, None)
    assert await finder.find() == ("127.0.0.1", 30_000)
    assert len(failovers) == 1
    await finder.close()


async def test_sentinels_that_were_set_up_anew_are_believed_after_a_while(
    sentinels: Sentinels, server: ScriptedRedis
) -> None:
    now = [100.0]
    parsed = parse_redis_url(sentinels.url)
    assert parsed is not None
    finder = MasterFinder(parsed, {"protocol": 2}, Lookups(), clock=lambda: now[0], timeout=5)
    sentinels.say(names(NOBODY, 7), names(NOBODY, 7), None)
    assert await finder.find() == ("127.0.0.1", NOBODY)
    sentinels.say(names(server.port, 0), names(server.port, 0), None)
    assert await finder.find() == ("127.0.0.1", NOBODY)
    now[0] += 11
    assert await finder.find() == ("127.0.0.1", server.port)


def finder_of(sentinels: Sentinels, on_failover: Callable[[], object]) -> MasterFinder:
    parsed = parse_redis_url(sentinels.url)
    assert parsed is not None
    return MasterFinder(parsed, {"protocol": 2}, Lookups(), on_failover, timeout=5)


async def test_a_sentinel_that_names_another_redis_at_the_same_epoch_is_outvoted(sentinels: Sentinels) -> None:
    """It is the first one of the URL, and its port is the highest."""
    failovers = list[int]()
    finder = finder_of(sentinels, lambda: failovers.append(1))
    sentinels.say(names(65_535, 0, run=b"other"), names(6379, 0, run=b"right"), names(6379, 0, run=b"right"))
    for _ in range(5):
        assert await finder.find() == ("127.0.0.1", 6379)
        assert await finder.agreed() == ("127.0.0.1", 6379)
    # One that does not answer in time leaves no majority: the known master stays.
    sentinels.say(names(65_535, 0, run=b"other"), None, names(6379, 0, run=b"right"))
    assert await finder.find(0.2) == ("127.0.0.1", 6379)
    sentinels.say(names(65_535, 0, run=b"other"), None, None)
    assert await finder.find(0.2) == ("127.0.0.1", 6379)
    assert failovers == []
    await finder.close()


async def test_two_names_of_one_master_are_no_failover(sentinels: Sentinels, caplog: pytest.LogCaptureFixture) -> None:
    failovers = list[int]()
    finder = finder_of(sentinels, lambda: failovers.append(1))
    address, name = names(6379, 0, run=b"one"), names(6379, 0, b"localhost", run=b"one")
    sentinels.say(name, address, address)
    for _ in range(5):
        assert await finder.find() == ("127.0.0.1", 6379)
        assert await finder.agreed() == ("127.0.0.1", 6379)
    sentinels.say(name, name, name)
    assert await finder.agreed() == ("localhost", 6379)
    assert failovers == []
    assert caplog.messages == [
        "the sentinels have another name for the same master: localhost:6379, before 127.0.0.1:6379"
    ]
    await finder.close()


async def test_a_master_whose_name_is_not_known_is_named_in_the_log_and_in_the_report(sentinels: Sentinels) -> None:
    def resolve(host: str, _: None) -> None:
        if host == "redis-9.invalid":
            raise socket.gaierror(-2, "Name or service not known")

    answer = names(6379, 3, b"redis-9.invalid")
    sentinels.say(answer, answer, answer)
    with pytest.raises(RedisUnreachable, match=r"Name or service not known: redis-9\.invalid") as raised:
        await open_and_end(Dialer(sentinels.url, timeout=5, name="test", lookups=Lookups(resolve)))
    assert raised.value.report == "the host name redis-9.invalid cannot be resolved"


async def test_names_of_stopped_containers_do_not_delay_the_new_master(
    sentinels: Sentinels, server: ScriptedRedis
) -> None:
    """The old master and a sentinel have gone, and their names with them: finding that out takes long."""
    known, asked = threading.Event(), list[str]()

    def resolve(host: str, _: None) -> None:
        asked.append(host)
        if host in {"old-master", "gone-sentinel"}:
            assert known.wait(30)
            raise OSError("Temporary failure in name resolution")

    first, second, _ = (f"127.0.0.1:{one.port}" for one in sentinels.servers)
    url = f"redis+sentinel://gone-sentinel,{first},{second}/primary"
    dialer = Dialer(url, timeout=0.5, name="test", lookups=Lookups(resolve))
    sentinels.say(names(6379, 3, b"old-master"), names(6379, 3, b"old-master"), None)
    for _ in range(3):
        with pytest.raises(RedisUnreachable):
            await open_and_end(dialer)
    sentinels.say(names(server.port, 4, b"localhost"), names(server.port, 4, b"localhost"), None)
    # A busy machine may need several attempts.
    async with asyncio.timeout(30):
        while not server.clients:
            with suppress(RedisUnreachable):
                await open_and_end(dialer)
    assert {host: asked.count(host) for host in ("old-master", "gone-sentinel")} == {
        "old-master": 1,
        "gone-sentinel": 1,
    }
    known.set()


@pytest.mark.parametrize("broken", [b"+OK\r\n", b"*0\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n", SENTINEL_ERROR])
async def test_one_good_answer_is_enough(sentinels: Sentinels, server: ScriptedRedis, broken: bytes) -> None:
    sentinels.say(broken, names(server.port, 3), broken)
    await open_and_end(dial(sentinels.url))
    assert len(server.clients) == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (SENTINEL_ERROR, "No such master with that name"),
        (b"-NOAUTH Authentication required.\r\n", "Redis asks for a password"),
        (b"+OK\r\n", "its answer is not that of a sentinel"),
        (None, "no answer within 0.5 s"),
    ],
)
async def test_an_operator_reads_why_there_is_no_master(sentinels: Sentinels, answer: bytes | None, cause: str) -> None:
    sentinels.say(answer, answer, answer)
    with pytest.raises(RedisUnreachable) as raised:
        await open_and_end(dial(sentinels.url, timeout=1))
    assert raised.value.report.startswith("none of 3 sentinels names the master of redis-url (")
    assert cause in raised.value.report


async def test_sentinels_that_are_down_are_named_with_the_cause(sentinels: Sentinels) -> None:
    url = sentinels.url
    for server in sentinels.servers:
        await server.stop()
    with pytest.raises(RedisUnreachable) as raised:
        await open_and_end(dial(url))
    assert raised.value.report == ("none of 3 sentinels names the master of redis-url (a sentinel: connection refused)")


async def test_an_error_of_any_kind_is_that_of_one_sentinel(
    sentinels: Sentinels, server: ScriptedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Connection.connect

    async def broken(self: Connection) -> None:
        if self.port == sentinels.servers[0].port:
            raise UnicodeError("label too long")
        await connect(self)

    monkeypatch.setattr(Connection, "connect", broken)
    sentinels.say(names(server.port, 3), names(server.port, 3), names(server.port, 3))
    await open_and_end(dial(sentinels.url))
    assert len(server.clients) == 1


async def test_the_login_of_sentinels_is_their_own_and_is_not_shown(
    sentinels: Sentinels, server: ScriptedRedis
) -> None:
    def refuse(command: list[bytes]) -> bytes:
        return b"-ERR no user watcher with Secret2\r\n"

    sentinels.say(names(server.port, 1), names(server.port, 1), None)
    url = sentinels.url.replace("://", "://app:Secret1@") + "?sentinel_username=watcher&sentinel_password=Secret2"
    await open_and_end(dial(url))
    assert sentinels.servers[0].commands[0] == [b"AUTH", b"watcher", b"Secret2"]
    assert server.commands[0] == [b"AUTH", b"app", b"Secret1"]
    for one in sentinels.servers:
        one.answer = refuse
    with pytest.raises(RedisUnreachable) as raised:
        await open_and_end(dial(url))
    assert "Secret2" not in f"{raised.value} {raised.value.report}"


async def test_another_master_is_logged_escaped(sentinels: Sentinels, caplog: pytest.LogCaptureFixture) -> None:
    dialer, port = dial(sentinels.url), NOBODY
    for host in (b"127.0.0.1", b"127.0.0.1\n"):
        sentinels.say(names(port, 1, host), names(port, 1, host), None)
        with pytest.raises(RedisUnreachable):
            await open_and_end(dialer)
    assert caplog.messages == [
        f"the sentinels name another master: 127.0.0.1\\x0a:{port}, before 127.0.0.1:{port} (2 of 3 sentinels answered)"
    ]


async def test_a_client_leaves_a_master_that_has_become_a_replica(sentinels: Sentinels) -> None:
    old, new = ScriptedRedis(), ScriptedRedis()
    for server in (old, new):
        await server.start()
    sentinels.say(names(old.port, 1), names(old.port, 1), None)
    try:
        async with RedisClient(dial(sentinels.url), timeout=5, waiting=10, on_reconnect=lambda: None) as client:
            await client.call("PING")
            sentinels.say(names(new.port, 2), names(new.port, 2), None)
            old.answer = lambda command: b"-READONLY You can't write against a read only replica.\r\n"
            with pytest.raises(Unavailable):
                await client.call("SET", "a", "b")
            async with asyncio.timeout(30):
                while client.reachable:
                    await asyncio.sleep(0)
            await client.call("SET", "a", "c")
            assert [b"SET", b"a", b"c"] in new.commands
    finally:
        for server in (old, new):
            await server.stop()
