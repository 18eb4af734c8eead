import asyncio
import contextlib
import logging
from typing import Any

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer, pack
from relay.backend.redis.fence import Fenced
from relay.backend.redis.keys import Keys
from relay.backend.redis.run import RedisRun
from relay.backend.redis.scripts import ALL, PUBLISH
from relay.model.errors import OutcomeUnknown, Unavailable
from tests.fleet import eventually
from tests.unit.backend.redis.conftest import ScriptedRedis, stand_still


def client_of(server: ScriptedRedis, *, timeout: float = 0.5, waiting: int = 10, **callbacks) -> RedisClient:
    dialer = Dialer(server.url, timeout=timeout, name="test")
    return RedisClient(dialer, timeout=timeout, waiting=waiting, **{"on_reconnect": lambda: None} | callbacks)


async def test_scripts_are_loaded_before_the_first_command(server: ScriptedRedis) -> None:
    async with client_of(server) as client:
        assert await client.call("PING") == b"OK"
    commands = [command[0] for command in server.commands if command[0] != b"CLIENT"]
    assert commands == [b"TIME"] + [b"SCRIPT"] * len(ALL) + [b"PING"]


async def test_a_connection_knows_the_clock_of_its_redis_before_the_first_heartbeat(server: ScriptedRedis) -> None:
    """Without it, a script that came too late would write under a lease that is over."""
    seconds = 1_000

    def answer(command: list[bytes]) -> bytes:
        return b"*2\r\n$%d\r\n%d\r\n$1\r\n0\r\n" % (len(str(seconds)), seconds) if command[0] == b"TIME" else b"+OK\r\n"

    server.answer = answer
    async with client_of(server, timeout=5) as client:
        await client.call("PING")
        assert 1_005_000 <= client.clock.deadline < 1_010_000
        # After a failover, as it were.
        seconds = 7_000
        server.hang_up()
        await eventually(lambda: client.clock.deadline > 7_000_000)
        # And with each look after the node.
        seconds = 9_000
        client.bound_clock()
        await eventually(lambda: client.clock.deadline > 9_000_000)


async def test_commands_of_one_turn_leave_in_one_write_and_in_order(server: ScriptedRedis) -> None:
    async with client_of(server) as client:
        await client.call("PING")
        await asyncio.gather(*[client.call("GET", number) for number in range(50)])
    assert server.reads[-1] == [[b"GET", b"%d" % number] for number in range(50)]


async def test_waiting_for_an_absent_redis_is_bounded_in_time_and_number(server: ScriptedRedis) -> None:
    await server.stop()
    async with client_of(server, timeout=0.2, waiting=3) as client:
        results = await asyncio.gather(*[client.call("PING") for _ in range(5)], return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert sum("wait for it already" in str(result) for result in results) == 2
        assert not client.reachable
        assert client.report


async def test_waiting_for_an_absent_redis_is_bounded_in_bytes(server: ScriptedRedis) -> None:
    await server.stop()
    async with client_of(server, timeout=0.2, waiting=1000) as client:
        for _ in range(2):
            calls = [client.call("SET", "k", "x" * 10_000_000) for _ in range(9)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, Unavailable) for result in results)
            # Two of them come when 70 MB wait; those that had waited are no longer counted in the second round.
            assert sum("wait for it already" in str(result) for result in results) == 2


async def test_waiting_commands_are_sent_in_order_when_redis_comes_back(server: ScriptedRedis) -> None:
    await server.stop()
    async with client_of(server, timeout=5) as client:
        calls = [asyncio.ensure_future(client.call("GET", number)) for number in range(5)]
        await asyncio.sleep(0)
        await server.start()
        await asyncio.gather(*calls)
    assert [command[1] for command in server.commands if command[0] == b"GET"] == [b"0", b"1", b"2", b"3", b"4"]


async def test_all_scripts_are_loaded_in_one_round_trip(server: ScriptedRedis) -> None:
    loaded: list[bytes] = []

    def answer_all_at_once(command: list[bytes]) -> bytes | None:
        if command[0] != b"SCRIPT":
            return b"+PONG\r\n"
        loaded.append(command[2])
        return b"+OK\r\n" * len(ALL) if len(loaded) == len(ALL) else None

    server.answer = answer_all_at_once
    async with client_of(server) as client:
        await client.call("PING")
    assert loaded == [script.source.encode() for script in ALL]


async def test_a_command_that_waited_long_does_not_end_the_new_connection(server: ScriptedRedis) -> None:
    await server.stop()
    async with client_of(server, timeout=1.5) as client:
        began = asyncio.get_running_loop().time()
        waiting = asyncio.ensure_future(client.call("GET", 1))
        await asyncio.sleep(0.7)
        server.answer = lambda command: b"+OK\r\n" if command[0] in {b"CLIENT", b"SCRIPT", b"TIME"} else None
        await server.start()
        async with asyncio.timeout(5):
            while [b"GET", b"1"] not in server.commands:
                await asyncio.sleep(0.005)
        later = asyncio.ensure_future(client.call("PING"))
        await asyncio.sleep(began + 1.7 - asyncio.get_running_loop().time())
        server.clients[-1].write(b"+first\r\n+second\r\n")
        assert (await waiting, await later) == (b"first", b"second")
        assert len(server.clients) == 1


async def test_a_command_whose_reply_was_lost_has_an_unknown_outcome(server: ScriptedRedis) -> None:
    async with client_of(server, timeout=5) as client:
        await client.call("PING")
        server.answer = lambda command: None if command[0] == b"GET" else b"+OK\r\n"
        call = asyncio.ensure_future(client.call("GET", "x"))
        async with asyncio.timeout(5):
            while [b"GET", b"x"] not in server.commands:
                await asyncio.sleep(0.005)
        server.hang_up()
        with pytest.raises(OutcomeUnknown):
            await call
        assert await client.call("PING") == b"OK"


async def test_a_silent_connection_is_given_up_and_opened_again(server: ScriptedRedis) -> None:
    reconnects = []
    dialer = Dialer(server.url, timeout=0.2, name="test")
    async with RedisClient(dialer, timeout=0.2, waiting=9, on_reconnect=lambda: reconnects.append(1)) as client:
        await client.call("PING")
        server.answer = lambda command: None if command[0] == b"GET" else b"+OK\r\n"
        with pytest.raises(OutcomeUnknown):
            await client.call("GET", "x")
        assert await client.call("PING") == b"OK"
        assert reconnects == [1]


async def test_a_worker_that_stood_still_does_not_take_that_for_a_silent_redis(server: ScriptedRedis) -> None:
    reconnects = []
    async with client_of(server, timeout=0.3, on_reconnect=lambda: reconnects.append(1)) as client:
        await client.call("PING")
        call = asyncio.ensure_future(client.call("GET", "x"))
        await asyncio.sleep(0)
        stand_still()
        assert await call == b"OK"
    assert reconnects == []


async def test_a_command_waits_for_a_connection_although_the_worker_stood_still(server: ScriptedRedis) -> None:
    dialer = Dialer(server.url, timeout=0.3, name="test")
    async with RedisClient(dialer, timeout=0.6, waiting=9, on_reconnect=lambda: None) as client:
        call = asyncio.ensure_future(client.call("PING"))
        await asyncio.sleep(0)
        stand_still()
        assert await call == b"OK"


async def test_a_connection_that_is_given_up_is_reset(server: ScriptedRedis) -> None:
    async with client_of(server, timeout=0.2) as client:
        await client.call("PING")
        server.answer = lambda command: None if command[0] == b"GET" else b"+OK\r\n"
        with pytest.raises(OutcomeUnknown):
            await client.call("GET", "x")
        async with asyncio.timeout(5):
            while not server.resets:
                await asyncio.sleep(0.005)


async def test_a_refusal_is_unavailable_and_its_reason_is_for_operators(server: ScriptedRedis, caplog) -> None:
    errors = []
    async with client_of(server, on_error=lambda: errors.append(1)) as client:
        await client.call("PING")
        server.answer = lambda command: b"-OOM command not allowed\r\n"
        with pytest.raises(Unavailable) as raised:
            await client.call("SET", "a", "b")
        assert raised.value.text == Unavailable().text
        assert raised.value.report.startswith("Redis has no memory left (OOM command not allowed); ")
    assert errors == [1]
    assert "OOM command not allowed" in caplog.text


async def test_a_script_that_fails_has_an_unknown_outcome(server: ScriptedRedis, caplog) -> None:
    async with client_of(server) as client:
        await client.call("PING")
        server.answer = lambda command: b"-WRONGTYPE Operation script: 5f1d, on @user_script:7.\r\n"
        with pytest.raises(OutcomeUnknown) as raised:
            await client.run(PUBLISH, ("k",), "a")
        assert "WRONGTYPE" not in raised.value.text
        assert "user_script" not in raised.value.text
    assert "@user_script:7" in caplog.text


async def test_forgotten_scripts_are_loaded_again(server: ScriptedRedis) -> None:
    known = [False]

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"SCRIPT":
            known[0] = True
        return b"+done\r\n" if known[0] else b"-NOSCRIPT No matching script\r\n"

    async with client_of(server) as client:
        await client.call("PING")
        server.answer = answer
        assert await client.run(PUBLISH, ("k",), "a") == b"done"


async def test_no_command_overtakes_those_that_wait_for_the_scripts(server: ScriptedRedis) -> None:
    done = []
    async with client_of(server) as client:
        await client.call("PING")
        before = len(server.commands)
        server.answer = lambda command: None
        for number in (b"1", b"2"):
            client.send_script(PUBLISH, (), (number,), done.append)
        await until_sent(server, before + 2)
        server.clients[0].write(b"-NOSCRIPT No matching script\r\n")
        await until_sent(server, before + 3)
        client.send_script(PUBLISH, (), (b"3",), done.append)
        await asyncio.sleep(0.02)
        server.clients[0].write(b"-NOSCRIPT No matching script\r\n")
        await asyncio.sleep(0.02)
        server.answer = lambda command: b"+done\r\n"
        server.clients[0].write(b"+sha\r\n" * len(ALL))
        async with asyncio.timeout(5):
            while len(done) < 3:
                await asyncio.sleep(0.005)
    sent = [command[-1] for command in server.commands[before:] if command[0] == b"EVALSHA"]
    assert sent == [b"1", b"2", b"1", b"2", b"3"]


def told_time(seconds: int) -> bytes:
    return b"*2\r\n$%d\r\n%d\r\n$1\r\n0\r\n" % (len(str(seconds)), seconds)


def publication(number: int) -> Fenced:
    """A command with a part less than it says."""
    return Fenced(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\n%d\r\n" % number)


async def test_a_fence_is_the_time_at_which_the_connection_is_given_up(server: ScriptedRedis) -> None:
    def answer(command: list[bytes]) -> bytes | None:
        known = {b"TIME": told_time(2_000_000_000), b"PUBLISH": None}
        return known.get(command[0], b"+OK\r\n")

    server.answer = answer
    replies: list[Any] = []
    async with client_of(server, timeout=5, clustered=True) as client:
        await client.call("PING")
        client.send(publication(1), replies.append)
        await eventually(lambda: server.commands[-1][:2] == [b"PUBLISH", b"1"])
        first = int(server.commands[-1][2])
        assert 2_000_000_004_000 < first <= 2_000_000_005_100
        await asyncio.sleep(0.2)
        # The first one is unanswered.
        client.send(publication(2), replies.append)
        await eventually(lambda: server.commands[-1][:2] == [b"PUBLISH", b"2"])
        assert abs(int(server.commands[-1][2]) - first) < 100
        server.clients[0].write(b"+1\r\n+2\r\n")
        await eventually(lambda: len(replies) == 2)
        await asyncio.sleep(0.2)
        client.send(publication(3), replies.append)
        await eventually(lambda: server.commands[-1][:2] == [b"PUBLISH", b"3"])
        assert int(server.commands[-1][2]) > first + 100, "the fence moves on with the replies"


async def test_without_the_time_of_redis_there_is_no_fence(server: ScriptedRedis) -> None:
    async with client_of(server, clustered=True) as client:
        await client.call("PING")
        client.send(publication(1), lambda reply: None)
        await eventually(lambda: server.commands[-1] == [b"PUBLISH", b"1", b"0" * 13])


async def test_a_late_command_is_sent_again_after_the_time_and_not_overtaken(
    server: ScriptedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[Any] = []
    async with client_of(server, timeout=5, clustered=True) as client:
        await client.call("PING")
        before = len(server.commands)
        server.answer = lambda command: None
        client.resend(pack("PUBLISH", 1), done.append, late=True)
        client.send(publication(2), done.append)
        await until_sent(server, before + 1)
        server.answer = lambda command: b"+%b\r\n" % command[1]
        server.clients[0].write(told_time(2_100_000_000))
        await eventually(lambda: done == [b"1", b"2"])
    sent = server.commands[before:]
    assert [command[:2] for command in sent] == [[b"TIME"], [b"PUBLISH", b"1"], [b"PUBLISH", b"2"]]
    assert int(sent[2][2]) > 2_100_000_000_000
    assert "was a clock set?" in caplog.text


async def until_sent(server: ScriptedRedis, count: int) -> None:
    async with asyncio.timeout(5):
        while len(server.commands) < count:
            await asyncio.sleep(0.005)


async def test_closing_while_connecting_leaves_no_connection_behind(server: ScriptedRedis) -> None:
    server.answer = lambda command: None
    async with client_of(server, timeout=5):
        async with asyncio.timeout(5):
            while not any(command[0] == b"SCRIPT" for command in server.commands):
                await asyncio.sleep(0.005)
        (connection,) = server.clients
    async with asyncio.timeout(1):
        with contextlib.suppress(ConnectionResetError):
            await connection.wait_closed()


async def test_a_callback_that_fails_at_once_is_not_the_error_of_the_sender(server: ScriptedRedis, caplog) -> None:
    def fails(reply: Any) -> None:
        raise RuntimeError("a mistake of this test")

    async with client_of(server, waiting=0) as client:
        client.send(pack("PING"), fails)
    assert "could not be handled" in caplog.text


async def test_a_callback_that_fails_does_not_keep_others_from_their_replies(server: ScriptedRedis, caplog) -> None:
    async with client_of(server) as client:
        await client.call("PING")
        client.send(pack("GET", 1), lambda reply: 1 / 0)
        assert await client.call("PING") == b"OK"
    assert "could not be handled" in caplog.text


async def test_a_redis_that_asks_for_a_password_is_logged_once(server: ScriptedRedis, caplog) -> None:
    server.answer = lambda command: b"-NOAUTH Authentication required.\r\n"
    with caplog.at_level(logging.WARNING, "relay.backend.redis"):
        async with client_of(server, timeout=0.4) as client:
            with pytest.raises(Unavailable) as raised:
                await client.call("PING")
            assert raised.value.text == "Redis could not be reached for 0.4 s"
            assert "NOAUTH Authentication required" in raised.value.report
            assert client.report.startswith("Redis asks for a password (NOAUTH Authentication required.); ")
    assert len(caplog.records) == 1
    assert "NOAUTH Authentication required." in caplog.text


@pytest.mark.parametrize("turns", range(0, 40, 2))
async def test_a_client_can_be_closed_at_any_moment_of_connecting(server: ScriptedRedis, turns: int) -> None:
    async with asyncio.timeout(5), client_of(server) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
    assert client.loop is not None
    assert client.loop.task.done()


async def test_a_script_is_sent_again_over_the_next_connection_if_this_one_is_lost(server: ScriptedRedis) -> None:
    async with client_of(server, timeout=5) as client:
        await client.call("PING")
        server.hang_up()
        async with asyncio.timeout(5):
            while client.reachable:
                await asyncio.sleep(0)
        done: asyncio.Future = asyncio.get_running_loop().create_future()
        client.resend(pack("EVALSHA", PUBLISH.sha, 0), done.set_result)
        assert await done == b"OK"


async def test_a_connection_lost_while_the_scripts_load_is_opened_again(server: ScriptedRedis, caplog) -> None:
    def hang_up(command: list[bytes]) -> bytes | None:
        if command[0] == b"SCRIPT":
            server.answer = lambda command: b"+OK\r\n"
            asyncio.get_running_loop().call_soon(server.hang_up)
            return None
        return b"+OK\r\n"

    server.answer = hang_up
    async with client_of(server, timeout=5) as client:
        assert await client.call("PING") == b"OK"
    assert "connection lost while the scripts were loaded" in caplog.text


async def test_a_cancelled_caller_affects_no_other_caller(server: ScriptedRedis) -> None:
    async with client_of(server, timeout=5) as client:
        await client.call("PING")
        call = asyncio.ensure_future(client.call("GET", 1))
        await asyncio.sleep(0)
        call.cancel()
        assert await client.call("GET", 2) == b"OK"


async def test_a_callback_that_fails_does_not_end_the_deadlines_of_others(server: ScriptedRedis, caplog) -> None:
    await server.stop()
    async with client_of(server, timeout=0.2) as client:
        client.send(pack("GET", 1), lambda reply: 1 / 0)
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await client.call("GET", 2)
    assert "could not be handled" in caplog.text


@pytest.mark.parametrize("code", ["NOREPLICAS", "READONLY", "MASTERDOWN", "LOADING", "MISCONF"])
async def test_no_command_reaches_a_redis_whose_run_cannot_be_learned(server: ScriptedRedis, code: str) -> None:
    """A new master has no replicas yet: commands that a worker sent it now would know nothing of the older data."""
    refusing = [True]

    def answer(command: list[bytes]) -> bytes:
        if command[0] != b"EVALSHA":
            return b"+OK\r\n"
        return f"-{code} not now\r\n".encode() if refusing[0] else b"$7\r\nnew.r 7\r\n"

    server.answer = answer
    changes: list[int] = []
    run = RedisRun(Keys("relay"), ttl=60, on_change=lambda: changes.append(1))
    run.note(b"old.r 0")
    async with client_of(server, timeout=5, run=run) as client:
        waits = client.call("GET", "key")
        await eventually(lambda: code in client.report)
        assert [command for command in server.commands if command[0] == b"GET"] == []
        refusing[0] = False
        assert await waits == b"OK"
        assert changes == [1]


@pytest.mark.parametrize("reply", [b"-NOPERM no\r\n", b"-ERR something else\r\n"])
async def test_a_redis_that_does_not_tell_its_run_serves_all_the_same(server: ScriptedRedis, reply: bytes) -> None:
    server.answer = lambda command: reply if command[0] == b"EVALSHA" else b"+OK\r\n"
    run = RedisRun(Keys("relay"), ttl=60, on_change=lambda: None)
    async with client_of(server, timeout=5, run=run) as client:
        assert await client.call("PING") == b"OK"


async def test_a_redis_that_is_away_is_not_asked_for_its_run(caplog: pytest.LogCaptureFixture) -> None:
    """A node of a cluster that is given up before it was reached hands its commands back: that is no refusal."""
    run = RedisRun(Keys("relay"), ttl=60, on_change=lambda: None)
    dialer = Dialer("redis://127.0.0.1:1", timeout=0.2, name="test")
    async with RedisClient(dialer, timeout=0.2, waiting=10, on_reconnect=lambda: None, run=run) as client:
        client.check_run()
        assert client.is_idle
        client.hand_back(object())
    assert "does not tell its run id" not in caplog.text
