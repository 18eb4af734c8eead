"""The Python client and `relay watch` on real workers."""

import asyncio
import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from relay.client import (
    Changed,
    Closed,
    Envelope,
    Interrupted,
    Joined,
    Left,
    Lost,
    Options,
    Rejected,
    Resumed,
    Room,
    escape_peer,
    join,
    unescape,
)
from relay.model.names import escape_room
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import ADMIN_TOKEN, Client, eventually


async def numbers(room: Room, total: int) -> list[int]:
    """Return the numbers of the next `total` envelopes."""
    heard: list[int] = []
    async for event in room:
        assert not isinstance(event, Lost)
        if isinstance(event, Envelope):
            heard.append(event.data["n"])
            if len(heard) == total:
                break
    return heard


async def test_two_clients_meet_talk_and_part(pair) -> None:
    async with join(pair[0].http, "room", peer="a", presence=True) as a:
        async with join(pair[1].ws, "room", peer="b") as b:
            assert (a.first, b.first) == (True, False)
            assert await anext(a) == Joined("b")
            ident = await b.send({"message": "hello"}, to="a")
            # The key of the publish command is not part of the envelope.
            assert await anext(a) == Envelope(
                ident, "b", {"message": "hello", "to": "a", "from": "b", "id": str(ident)}
            )
            with pytest.raises(Rejected, match="no_such_peer"):
                await a.send({}, to="c")
        assert await anext(a) == Left("b")
        assert a.members == {"a"}


async def test_names_of_any_text_are_one_room_over_workers_and_survive_a_return(pair) -> None:
    name, anna, ben = "main hall/2 %20 é \U0001f600", "Анна K", "я" * 255
    async with join(pair[0].http, name, peer=anna, presence=True) as a:
        async with join(pair[1].ws, name, peer=ben, presence=True) as b:
            assert (a.name, unescape(a.peer), unescape(b.peer)) == (name, anna, ben)
            assert await anext(a) == Joined(b.peer)
            assert b.members == {a.peer, b.peer} == {escape_peer(anna), escape_peer(ben)}
            ident = await b.send({"n": 1}, to=a.peer)
            event = await anext(a)
            assert (event.id, event.sender) == (ident, b.peer)
            with pytest.raises(Rejected, match="bad_peer"):
                await a.send({"n": 2}, to=ben)
            b.drop()
            await a.send({"n": 3}, to=escape_peer(ben))
            received = [await anext(b) for _ in range(3)]
            assert [type(event) for event in received] == [Interrupted, Envelope, Resumed]
            assert unescape(b.peer) == ben
        assert await anext(a) == Left(b.peer)
    for other in ("main hall", "main hall/2 %20 é", escape_room(name)):
        async with join(pair[0].http, other) as alone:
            assert alone.first


async def test_members_show_each_other_their_infos(pair) -> None:
    async with join(pair[0].ws, "room", peer="a", presence=True, info={"name": "Zoë O'Hara"}) as a:
        async with join(pair[1].ws, "room", peer="b", presence=True, info={"n": 0}) as b:
            assert dict(b.infos) == {"a": {"name": "Zoë O'Hara"}, "b": {"n": 0}}
            joined = await anext(a)
            if joined == Joined("b"):
                # The info came in the next frame.
                assert await anext(a) == Changed("b", {"n": 0})
            else:
                assert joined == Joined("b", {"n": 0})
            await b.set_info({"n": 1})
            assert await anext(a) == Changed("b", {"n": 1})
            a.drop()
            assert isinstance(await anext(a), Interrupted)
            await b.set_info(None)
            events = {type(event): event for event in [await anext(a), await anext(a)]}
            assert events[Changed] == Changed("b", None)
            await asyncio.gather(*[b.set_info({"n": number}) for number in range(20)])
            assert await anext(a) == Changed("b", {"n": 19})
            assert dict(a.infos) == {"a": {"name": "Zoë O'Hara"}, "b": {"n": 19}}
        assert await anext(a) == Left("b")
        assert dict(a.infos) == {"a": {"name": "Zoë O'Hara"}}


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        ({"to": []}, "bad_envelope"),
        ({"to": "?"}, "bad_peer"),
        ({"channel": "c" * 3000}, "bad_envelope"),
        ({"x": "x" * 1_600_000}, "too_large"),
        ({"x": ["y"] * 400_000, "z": {"key": "k"}}, "too_large"),
    ],
)
async def test_a_refused_envelope_is_reported_and_delays_no_other(pair, envelope, code: str) -> None:
    async with join(pair[0].ws, "room") as a, join(pair[1].ws, "room") as b:
        refused, sent = a.post(envelope), [a.post({"n": n}) for n in range(5)]
        with pytest.raises(Rejected, match=code):
            await refused
        assert len(await asyncio.gather(*sent)) == 5
        assert await numbers(b, 5) == list(range(5))


async def test_an_attempt_that_arrives_late_does_not_cost_the_membership(pair) -> None:
    attempts: list[str] = []

    async def lose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an attempt to connect as far as a network that breaks before the relay."""
        attempts.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.transport.abort()

    async with await asyncio.start_server(lose, "127.0.0.1", 0) as network:
        urls = [pair[0].ws, f"ws://127.0.0.1:{network.sockets[0].getsockname()[1]}", pair[1].ws]
        async with join(urls, "room", peer="a", presence=True) as a:
            a.drop()
            assert isinstance(await anext(a), Interrupted)
            await eventually(lambda: a.connected)
            [attempt] = attempts
            key = attempt.partition("resume.")[2].split("\r\n")[0]
            late = await Client.open(pair[0].ws + "/rooms/room?peer=a", resume=key)
            await late.closed()
            assert await a.send({"n": 1})
            assert a.reconnects == 2


async def test_a_taken_peer_id_is_final(pair) -> None:
    async with join(pair[0].ws, "room", peer="a"):
        with pytest.raises(Closed, match="peer_taken"):
            async with join(pair[1].ws, "room", peer="a"):
                pass


@pytest.mark.parametrize("seed", range(3))
async def test_connections_that_break_at_random_lose_and_repeat_nothing(
    start: MakeRelay, redis_url, prefix, seed: int
) -> None:
    draw = random.Random(seed)
    relays = [
        await start(redis_url=redis_url, redis_prefix=prefix, reconnect_grace=10, worker_lease=5) for _ in range(2)
    ]
    urls = [relay.ws for relay in relays]
    total = 300
    async with join(urls, "room", peer="a") as a, join(urls[::-1], "room", peer="b") as b:
        listening = asyncio.create_task(numbers(b, total))
        sending = []
        for n in range(total):
            sending.append(a.post({"n": n}))
            if draw.random() < 0.05:
                draw.choice([a, b]).drop()
            await asyncio.sleep(draw.random() * 0.01)
        ids = await asyncio.gather(*sending)
        assert ids == sorted(ids)
        assert await listening == list(range(total))
        assert a.reconnects + b.reconnects > 3
        assert b.duplicates == 0


async def test_the_clients_of_a_killed_worker_go_to_another(pair) -> None:
    urls = [relay.ws for relay in pair]
    async with join(urls, "room", peer="a") as a, join(urls[1], "room", peer="b") as b:
        pair[0].signal(signal.SIGKILL)
        await a.send({"n": 1})
        assert (await anext(b)).data["n"] == 1
        assert isinstance(await anext(a), Interrupted)


class Watching:
    """`relay watch` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "relay", "watch", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    async def noted(self, text: str) -> str:
        assert self.process.stderr
        while text not in (line := await asyncio.to_thread(self.process.stderr.readline)):
            assert line, "it has ended"
        return line

    async def line(self) -> str:
        assert self.process.stdout
        return (await asyncio.to_thread(self.process.stdout.readline)).rstrip("\n")

    async def interrupted(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return await self.ended()

    def close(self) -> None:
        with self.process:
            self.process.kill()

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 15)


@pytest.fixture
def watching() -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start(*arguments: str) -> Watching:
        started.append(Watching(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


async def test_watching_a_room_prints_its_events_and_escapes_them(pair, watching) -> None:
    async with join(pair[0].ws, "room", peer="a", presence=True) as a:
        watcher = watching("room", "--url", pair[1].ws, "--peer", "w")
        assert "members: a, w" in await watcher.noted("members")
        assert await anext(a) == Joined("w")
        await a.send({"sender": "me", "channel": "c\x1b[2J", "message": "hi \x1b]0;x\x07"})
        assert (await watcher.line())[12:] == r"  a  [c\x1b[2J]  hi \x1b]0;x\x07"
        await a.send({"offer": {"sdp": "v=0"}})
        assert (await watcher.line())[12:] == '  a  {"offer":{"sdp":"v=0"}}'
        async with join(pair[0].ws, "room", peer="b"):
            assert (await watcher.line())[12:] == "  + b"
        assert (await watcher.line())[12:] == "  - b"
        assert await watcher.interrupted() == 0
        assert await anext(a) == Joined("b")


async def test_watching_with_the_admin_token_is_not_noticed(fleet_of: MakeFleet, watching) -> None:
    first, second = await fleet_of(2)
    async with join(first.ws, "room", peer="a", presence=True) as a:
        watcher = watching("room", "--url", second.ws, "--admin-token", ADMIN_TOKEN)
        assert "observing room; members: a" in await watcher.noted("members")
        async with join(second.ws, "room", peer="b") as b:
            assert (await watcher.line())[12:] == "  + b"
            await b.send({"message": "only you"}, to="a")
            assert (await watcher.line())[12:] == '  b  {"message":"only you","to":"a"}'
        assert (await watcher.line())[12:] == "  - b"
        assert await watcher.interrupted() == 0
        events = [await anext(a)]
        while not isinstance(events[-1], Left):
            events.append(await anext(a))
        assert [event.peer for event in events if isinstance(event, Joined | Left)] == ["b", "b"]
    refused = watching("room", "--url", first.ws, "--admin-token", "x" * 16)
    assert "--peer NAME" in await refused.noted("unauthorized")
    assert await refused.ended() == 1


async def test_watching_as_json_and_through_a_restart(start: MakeRelay, redis_url, prefix, watching) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix, reconnect_grace=5)
    watcher = watching("room", "--url", relay.ws, "--json")
    await watcher.noted("members")
    async with join(relay.ws, "room", peer="a") as a:
        assert json.loads(await watcher.line()) == {"type": "joined", "peer": "a"}
        await a.send({"n": 1})
        told = json.loads(await watcher.line())
        assert (told["type"], told["from"], told["n"]) == ("envelope", "a", 1)
        port = relay.port
        await relay.terminate()
        assert json.loads(await watcher.line())["type"] == "interrupted"
        await start(redis_url=redis_url, redis_prefix=prefix, port=port)
        assert json.loads(await watcher.line())["type"] == "resumed"
    assert await watcher.interrupted() == 0


async def test_watching_without_success_says_what_to_do(pair, watching) -> None:
    async with join(pair[0].ws, "room", peer="a"):
        taken = watching("room", "--url", pair[0].ws, "--peer", "a")
        assert "choose another --peer" in await taken.noted("peer_taken")
        assert await taken.ended() == 1


@pytest.mark.parametrize("url", ["localhost:8888", "ftp://localhost"])
async def test_watching_at_no_address_is_a_usage_error(watching, url: str) -> None:
    watcher = watching("room", "--url", url)
    assert "--url" in await watcher.noted("--url")
    assert await watcher.ended() == 2


async def test_a_client_waits_for_a_relay_that_starts_slowly(start: MakeRelay) -> None:
    relay = await start(ready=False)
    async with join(relay.ws, "room", options=Options(connect_timeout=20)) as room:
        await eventually(lambda: room.connected)


async def test_numbers_of_any_size_end_no_client(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start()
    ann = await enter(relay)
    async with join(relay.ws, "room") as room:
        await ann.send('{"n":1e400}')
        await ann.send('{"n":%s}' % ("1" * 5000))
        await ann.send('{"n":2}')
        assert await numbers(room, 3) == [math.inf, math.inf, 2]
