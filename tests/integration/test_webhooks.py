"""The webhook of real workers: the events that the receiver gets, also when it, a worker or Redis fails."""

import asyncio
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2 as httpx
import pytest

from relay.backend.redis.keys import Keys
from tests.conftest import MakeClient, MakeRelay, new_prefix
from tests.documentation import snippet
from tests.fleet import RedisServer, Relay, eventually, require
from tests.ports import free_port, release_port
from tests.webhook_receiver import SECRET, HookReceiver

ALL = ("room_opened", "joined", "left", "room_closed")


class Fleet(NamedTuple):
    """Two workers over one Redis, and the port of the receiver that they call, which has a short time to answer."""

    relays: list[Relay]
    port: int
    prefix: str


def begin_fleet(redis_url: str) -> Fleet:
    port, prefix = free_port(), new_prefix()
    settings = HookReceiver(port=port).settings | {"redis_url": redis_url, "redis_prefix": prefix}
    return Fleet([Relay(webhook_timeout=0.3, **settings) for _ in range(2)], port, prefix)


def end(fleet: Fleet) -> None:
    for relay in fleet.relays:
        relay.close()
    release_port(fleet.port)


@pytest.fixture(scope="module")
def shared(redis_url: str) -> Iterator[Fleet]:
    """For tests that leave no member and no event behind."""
    fleet = begin_fleet(redis_url)
    yield fleet
    end(fleet)


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with HookReceiver() as receiver:
        yield receiver


@pytest.fixture
async def shared_receiver(shared: Fleet) -> AsyncIterator[HookReceiver]:
    for relay in shared.relays:
        await relay.ready()
    async with HookReceiver(port=shared.port) as receiver:
        yield receiver


@pytest.fixture
async def two(redis_url: str) -> AsyncIterator[tuple[Fleet, HookReceiver]]:
    """Two workers that a test may kill."""
    fleet = begin_fleet(redis_url)
    async with HookReceiver(port=fleet.port) as receiver:
        for relay in fleet.relays:
            await relay.ready()
        yield fleet, receiver
        end(fleet)


def same(received: Any, shown: Any, where: str = "") -> None:
    """Fail unless two events have the same fields, and the same values where these do not differ each time."""
    if isinstance(shown, dict):
        assert list(received) == list(shown), where
        for key in shown:
            if key in {"id", "position"}:
                head, tail = (one.partition("-")[2] for one in (received[key], shown[key]))
                assert head == tail, where
            elif key == "time":
                assert abs(received[key] - time.time()) < 60, where
            else:
                same(received[key], shown[key], f"{where}.{key}")
    else:
        assert received == shown, where


async def check_the_body_of_the_page(relays: list[Relay], receiver: HookReceiver, enter: MakeClient) -> None:
    client = await enter(relays[-1], "/rooms/demo?peer=alice&info=%7B%22name%22%3A%22Alice%22%7D")
    await receiver.told("room_opened", "joined", room="demo")
    await client.close()
    await receiver.told(*ALL, room="demo")
    shown = json.loads(snippet("webhook-body"))["events"]
    for received, one in zip(receiver.events, shown, strict=True):
        same(received, one, one["type"])
    assert not receiver.repeats


async def test_the_body_of_the_page(shared: Fleet, shared_receiver: HookReceiver, enter: MakeClient) -> None:
    await check_the_body_of_the_page(shared.relays, shared_receiver, enter)


async def test_the_body_of_the_page_without_redis(start: MakeRelay, receiver: HookReceiver, enter: MakeClient) -> None:
    await check_the_body_of_the_page([await start(**receiver.settings)], receiver, enter)


OUTCOMES = {"status": "refused", "redirect": "refused", "slow": "timeout", "away": "unreachable"}


@pytest.mark.parametrize(
    "failure",
    ["status", "away", *(pytest.param(one, marks=pytest.mark.gateways) for one in ("redirect", "slow"))],
)
async def test_a_receiver_that_fails_gets_all_once_it_works(
    failure: str, shared: Fleet, shared_receiver: HookReceiver, enter: MakeClient
) -> None:
    receiver, relays, room = shared_receiver, shared.relays, f"room-{failure}"

    async def failures() -> float:
        outcome = OUTCOMES[failure]
        return sum([await one.metric("relay_webhook_requests_total", outcome=outcome) for one in relays])

    before = await failures()
    if failure == "status":
        receiver.status = 500
    elif failure == "slow":
        receiver.status, receiver.delay = 503, 1.0
    elif failure == "redirect":
        receiver.status, receiver.headers = 302, {"Location": receiver.url}
    else:
        await receiver.close()
    clients = [await enter(relays[number % 2], f"/rooms/{room}?peer=p{number}") for number in range(4)]
    for client in clients:
        await client.close()
    repeats = failure == "status"
    await eventually(lambda: _is(failures(), before + 1 + repeats))
    if repeats:
        first, second = [one.time for one in receiver.requests]
        assert second - first < 1
    receiver.status, receiver.delay, receiver.headers = 204, 0.0, {}
    if failure == "away":
        await receiver.open()
    await receiver.until(lambda: len(receiver.types(room)) == 10)
    types = receiver.types(room)
    assert (types[:2], types[-2:]) == (["room_opened", "joined"], ["left", "room_closed"])
    assert (types.count("joined"), types.count("left")) == (4, 4)
    joined = [event["peer"] for event in receiver.events if event["type"] == "joined"]
    assert joined == [f"p{number}" for number in range(4)]
    assert not receiver.repeats
    log = "".join(one.logged for one in relays)
    assert "did not accept events" in log
    assert SECRET not in log
    assert str(receiver.port) not in log


async def test_members_that_are_put_out_are_told_with_the_reason(
    shared: Fleet, shared_receiver: HookReceiver, enter: MakeClient
) -> None:
    relay, receiver = shared.relays[0], shared_receiver
    for number, peer in enumerate("abc"):
        await enter(shared.relays[number % 2], f"/rooms/put-out?peer={peer}")
    async with httpx.AsyncClient(headers=relay.authorised) as server:
        url = f"{relay.http}/rooms/put-out"
        assert (await server.post(f"{url}/kick", json={"peer": "a"})).status_code == 200
        assert (await server.delete(url)).status_code == 200
    types = ["room_opened", *["joined"] * 3, *["left"] * 3, "room_closed"]
    await receiver.told(*types, room="put-out")
    reasons = {event["peer"]: event["reason"] for event in receiver.events if event["type"] == "left"}
    assert reasons == {"a": "kicked", "b": "closed", "c": "closed"}


async def test_members_of_a_worker_that_was_killed_are_told_as_lost(
    two: tuple[Fleet, HookReceiver], enter: MakeClient
) -> None:
    """Also the only member of its room; one that returns in time is not told."""
    (relays, _, _), receiver = two
    await enter(relays[0], "/rooms/alone?peer=only")
    survivor = await enter(relays[1], "/rooms/room?peer=stays")
    lost = await enter(relays[0], "/rooms/room?peer=lost")
    back = await enter(relays[0], "/rooms/room?peer=back")
    await receiver.until(lambda: len(receiver.events) == 6)
    relays[0].signal(signal.SIGKILL)
    await enter(relays[1], "/rooms/room?peer=back", resume=back.welcome["resume"])
    await receiver.told("room_opened", "joined", "left", "room_closed", room="alone")
    await receiver.told("room_opened", *["joined"] * 3, "left")
    left = {event["peer"]: event["reason"] for event in receiver.events if event["type"] == "left"}
    assert left == {"only": "lost", "lost": "lost"}
    await survivor.close()
    await receiver.told("room_opened", *["joined"] * 3, "left", "left")
    assert lost.welcome["peer"] == "lost"


async def test_the_events_of_a_fleet_that_is_killed_at_once_are_not_lost(
    two: tuple[Fleet, HookReceiver], enter: MakeClient, start: MakeRelay, redis_server: RedisServer
) -> None:
    """It is killed when the replies to joins are out: before, while or after it moves the events."""
    (relays, _, prefix), receiver = two
    clients = await asyncio.gather(*[enter(relays[n % 2], f"/rooms/r{n}?peer=p") for n in range(30)])
    for relay in relays:
        relay.signal(signal.SIGKILL)
    assert len(clients) == 30
    keys = Keys(prefix)
    worker = await start(redis_url=redis_server.url, redis_prefix=prefix, **receiver.settings)
    await receiver.until(lambda: all(receiver.types(f"r{number}") == list(ALL) for number in range(30)), 20)
    with redis_server.client as redis:
        # The worker is not registered any more for rooms in which nobody is.
        await eventually(lambda: not redis.keys(keys.worker_rooms("*")))
    assert await worker.metric("relay_webhook_queued_events") == 0


async def test_members_that_redis_has_lost_are_told_as_restored(
    start: MakeRelay, own_redis: RedisServer, enter: MakeClient, receiver: HookReceiver
) -> None:
    relay = await start(redis_url=own_redis.url, **receiver.settings)
    client = await enter(relay, "/rooms/room?peer=a")
    await receiver.told("room_opened", "joined")
    with own_redis.client as redis:
        redis.flushall()
    await receiver.told("room_opened", "joined", "room_opened", "joined")
    assert [event.get("restored", False) for event in receiver.events] == [False, False, True, True]
    await client.close()
    await receiver.told("room_opened", "joined", *ALL)


async def test_a_worker_that_stops_hands_the_sending_over(two: tuple[Fleet, HookReceiver], enter: MakeClient) -> None:
    (relays, _, _), receiver = two
    first = await enter(relays[1], "/rooms/room?peer=a")
    await receiver.told("room_opened", "joined")
    await relays[0].terminate()
    await first.close()
    await receiver.told(*ALL)


async def test_an_overflow_is_told(start: MakeRelay, enter: MakeClient, receiver: HookReceiver) -> None:
    receiver.status = 500
    relay = await start(webhook_queue=100, webhook_batch=10, **receiver.settings)
    for number in range(60):
        client = await enter(relay, f"/rooms/r{number}?peer=p")
        await client.close()
    await eventually(lambda: _is(relay.metric("relay_webhook_dropped_events_total"), 60 * 4 - 100))
    assert await relay.metric("relay_webhook_requests_total", outcome="refused") > 0
    receiver.status = 204

    def told() -> list[int]:
        # More than one, if events were dropped after a refused batch had told of those before.
        return [event["count"] for event in receiver.events if event["type"] == "events_dropped"]

    await receiver.until(lambda: len(receiver.events) == 100 + len(told()))
    assert sum(told()) == 60 * 4 - 100
    assert receiver.types("r59") == list(ALL)
    await eventually(lambda: _is(relay.metric("relay_webhook_queued_events"), 0))


async def _is(awaitable: Any, expected: float) -> bool:
    return bool(await awaitable == expected)


def test_the_secrets_are_shown_nowhere() -> None:
    url = "http://user:hidden1@127.0.0.1/?key=hidden2"
    environ = os.environ | {"RELAY_WEBHOOK_URL": url, "RELAY_WEBHOOK_SECRET": SECRET}
    shown = subprocess.run([sys.executable, "-m", "relay", "config"], env=environ, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "webhook" in shown.stdout
    assert not [secret for secret in ("hidden", SECRET, SECRET[:10]) if secret in shown.stdout + shown.stderr]


@pytest.mark.parametrize("name", ["webhook-python", "webhook-node"])
async def test_the_receivers_of_the_page(
    name: str, start: MakeRelay, enter: MakeClient, tmp_path: Path, receiver: HookReceiver
) -> None:
    """They accept the relay's events, and refuse those of somebody else."""
    is_python = name == "webhook-python"
    file = tmp_path / ("receiver.py" if is_python else "receiver.mjs")
    file.write_text(snippet(name))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable if is_python else require("node"),
        str(file),
        env=os.environ | {"PORT": str(port), "WEBHOOK_SECRET": "new-secret-of-32-or-more-characters"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        secrets = f"{SECRET} new-secret-of-32-or-more-characters"
        relay = await start(webhook_url=f"http://127.0.0.1:{port}/", webhook_secret=secrets)
        client = await enter(relay, "/rooms/demo?peer=alice")
        await client.close()
        assert process.stdout is not None
        async with asyncio.timeout(20):
            lines = [(await process.stdout.readline()).decode().split() for _ in range(4)]
        assert [line[0] for line in lines] == list(ALL)
        assert [line[1:] for line in lines[1:3]] == [["demo", "alice"]] * 2
        now = int(time.time())
        mac = hmac.new(secrets.split()[1].encode(), f"{now}.{{}}".encode(), "sha256").hexdigest()
        wrong = ("", "t=1,v1=aa", f"t={now},v1={'0' * 64}", f"t={now},v1={mac}0", f"t={now},v1", "nonsense")
        async with httpx.AsyncClient() as stranger:
            for signature in wrong:
                headers = {"Relay-Signature": signature}
                answer = await stranger.post(f"http://127.0.0.1:{port}/", content=b"{}", headers=headers)
                assert answer.status_code == 401
    finally:
        process.kill()
        await process.communicate()
        release_port(port)
