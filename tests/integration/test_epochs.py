"""Redis comes back with older data, or with all of it: which members are told of a loss, and in which room."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, RedisServer, Relay, eventually

SETTINGS = {"reconnect_grace": 30, "worker_lease": 2, "publish_timeout": 3}


@pytest.fixture
def disk() -> Iterator[RedisServer]:
    """A Redis that keeps its data when it is killed, and can go back to an earlier state of it."""
    server = RedisServer(persistent=True).start()
    yield server
    server.close()


async def say(client: Client, number: int, room: str = "") -> str:
    """Send so many messages, and return the id of the last one."""
    last = ""
    for _ in range(number):
        envelope: dict[str, Any] = {"message": "x"}
        command = {"type": "publish", "envelope": envelope} | ({"room": room} if room else {})
        last = (await client.ask(command))["id"]
    return last


async def heard(client: Client, message_id: str) -> str:
    await client.until(lambda event: event.get("id") == message_id)
    return message_id


async def die(relay: Relay) -> None:
    relay.signal(signal.SIGKILL)
    await asyncio.to_thread(relay.process.wait)


def flush(disk: RedisServer) -> None:
    """Make Redis write its memory to its disk: with `everysec`, it may put that off."""
    with disk.client as client:
        client.config_set("appendfsync", "always")
        client.set("flushed", 1)


async def restart(disk: RedisServer, *, older: bool) -> None:
    await asyncio.to_thread(flush, disk)
    await asyncio.to_thread(disk.kill)
    if older:
        await asyncio.to_thread(disk.go_back)
    await asyncio.to_thread(disk.start)


async def resume(enter: MakeClient, relay: Relay, peer: str, client: Client, since: str, room: str = "room") -> Client:
    return await enter(relay, f"/rooms/{room}?peer={peer}&since={since}", resume=client.welcome["resume"])


def loss_of(client: Client) -> tuple[Any, Any]:
    return client.welcome.get("recovered"), client.welcome.get("reason")


async def lost(client: Client) -> tuple[Any, Any]:
    """The code and the reason of the next error."""
    error = (await client.until(lambda event: event.get("type") == "error"))[-1]
    return error["code"], error["reason"]


async def test_after_all_workers_died_with_a_redis_that_goes_back_everybody_is_told(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    old = await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(old, "/rooms/room?peer=a"), await enter(old, "/rooms/room?peer=b")
    await say(a, 3)
    await asyncio.to_thread(disk.remember)
    overtaken = await heard(b, await say(a, 3))
    await die(old)
    await restart(disk, older=True)
    one, other = await start(redis_url=disk.url, **SETTINGS), await start(redis_url=disk.url, **SETTINGS)
    c = await enter(one, "/rooms/room?peer=c")
    newest = await say(c, 20)
    assert newest.split("-")[0] > overtaken.split("-")[0]
    again = await resume(enter, other, "b", b, overtaken)
    assert (again.welcome["resumed"], *loss_of(again)) == (True, False, "epoch")
    assert loss_of(await resume(enter, one, "a", a, overtaken)) == (False, "epoch")


async def test_a_room_whose_worker_lives_is_compared_before_its_ids_are_used_again(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    alive, dead = await start(redis_url=disk.url, **SETTINGS), await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(alive, "/rooms/room?peer=a"), await enter(dead, "/rooms/room?peer=b")
    await say(a, 3)
    await asyncio.to_thread(disk.remember)
    overtaken = await heard(b, await say(a, 3))
    await die(dead)
    await restart(disk, older=True)
    new = await start(redis_url=disk.url, **SETTINGS)
    c = await enter(new, "/rooms/room?peer=c")
    await say(c, 20)
    assert await lost(a) == ("messages_lost", "epoch")
    assert loss_of(await resume(enter, new, "b", b, overtaken)) == (False, "epoch")
    assert "another one took its part" in alive.logged
    assert await alive.metric("relay_redis_run_changes_total") == 1


async def test_a_room_with_held_members_only_is_compared_as_well(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    alive = await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(alive, "/rooms/room?peer=a"), await enter(alive, "/rooms/room?peer=b")
    await say(a, 3)
    await asyncio.to_thread(disk.remember)
    overtaken = await heard(b, await say(a, 3))
    a.lose()
    b.lose()
    await asyncio.sleep(0.3)
    await restart(disk, older=True)
    new = await start(redis_url=disk.url, **SETTINGS)
    c = await enter(new, "/rooms/room?peer=c")
    await say(c, 20)
    assert loss_of(await resume(enter, new, "b", b, overtaken)) == (False, "epoch")


async def test_a_worker_that_only_holds_members_does_not_vouch_for_those_of_a_dead_one(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    alive, dead = await start(redis_url=disk.url, **SETTINGS), await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(alive, "/rooms/room?peer=a"), await enter(dead, "/rooms/room?peer=b")
    await heard(b, await say(a, 3))
    a.lose()
    other = await enter(dead, "/rooms/room?peer=d")
    await asyncio.sleep(0.3)
    await asyncio.to_thread(disk.remember)
    overtaken = await heard(b, await say(other, 3))
    await die(dead)
    await restart(disk, older=True)
    new = await start(redis_url=disk.url, **SETTINGS)
    c = await enter(new, "/rooms/room?peer=c")
    await say(c, 20)
    assert loss_of(await resume(enter, new, "b", b, overtaken)) == (False, "epoch")


async def test_a_member_that_has_seen_more_than_redis_shows_that_redis_went_back(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    old = await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(old, "/rooms/room?peer=a"), await enter(old, "/rooms/room?peer=b")
    await say(a, 3)
    await asyncio.to_thread(disk.remember)
    newest = await heard(b, await say(a, 3))
    await die(old)
    await restart(disk, older=True)
    new = await start(redis_url=disk.url, **SETTINGS)
    # At once, and not after the time in which a worker could confirm the room.
    async with asyncio.timeout(3):
        again = await resume(enter, new, "b", b, newest)
    assert loss_of(again) == (False, "epoch")
    assert again.welcome["id"].split("-")[0] > newest.split("-")[0]


async def test_nobody_is_told_when_redis_comes_back_with_all_its_data_under_living_workers(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    one, other = await start(redis_url=disk.url, **SETTINGS), await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(one, "/rooms/room?peer=a"), await enter(one, "/rooms/room?peer=b")
    held = await enter(one, "/rooms/held?peer=h")
    await say(held, 2)
    position, newest = await say(held, 1), await heard(b, await say(a, 3))
    held.lose()
    b.lose()
    await asyncio.sleep(0.3)
    await restart(disk, older=False)
    c, d = await asyncio.gather(enter(other, "/rooms/room?peer=c"), enter(other, "/rooms/held?peer=d"))
    assert c.welcome["id"].split("-")[0] == newest.split("-")[0]
    await say(c, 2)
    await say(d, 2)
    assert loss_of(await resume(enter, other, "b", b, newest)) == (True, None)
    assert loss_of(await resume(enter, other, "h", held, position, "held")) == (True, None)
    assert [event for event in await a.all_up_to_now() if event.get("type") == "error"] == []


async def test_held_members_that_return_as_soon_as_redis_has_all_its_data_are_recovered(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    relay = await start(redis_url=disk.url, **SETTINGS)
    clients = {room: await enter(relay, f"/rooms/{room}?peer=a") for room in ("one", "two", "three")}
    positions = {room: await say(client, 2) for room, client in clients.items()}
    for client in clients.values():
        client.lose()
    await eventually(lambda: _are_held(relay, len(clients)))
    await restart(disk, older=False)
    # They join before the worker has compared the rooms with the events that it has seen, and wait for that.
    await eventually(lambda: _is_ready(relay))
    returned = [
        await asyncio.gather(
            enter(relay, f"/rooms/{room}?peer=stranger&since={positions[room]}"),
            resume(enter, relay, "a", client, positions[room], room),
        )
        for room, client in clients.items()
    ]
    assert [loss_of(client) for _, client in returned] == [(True, None)] * 3


async def _are_held(relay: Relay, number: int) -> bool:
    return await relay.metric("relay_held_members") == number


async def _is_ready(relay: Relay) -> bool:
    return (await relay.get("/health")).status_code == 200


async def test_nobody_is_told_when_a_worker_is_started_again(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    old = await start(redis_url=disk.url, **SETTINGS)
    a, b = await enter(old, "/rooms/room?peer=a"), await enter(old, "/rooms/room?peer=b")
    newest = await heard(b, await say(a, 3))
    await old.terminate()
    new = await start(redis_url=disk.url, **SETTINGS)
    assert loss_of(await resume(enter, new, "b", b, newest)) == (True, None)
    assert loss_of(await resume(enter, new, "a", a, newest)) == (True, None)


@pytest.mark.parametrize("ahead", [1, 10**6])
async def test_a_stranger_that_claims_to_have_seen_more_changes_nothing_for_others(
    start: MakeRelay, enter: MakeClient, disk: RedisServer, ahead: int
) -> None:
    alive = await start(redis_url=disk.url, **SETTINGS)
    a = await enter(alive, "/rooms/room?peer=a")
    epoch, _, seq = (await say(a, 3)).partition("-")
    await restart(disk, older=False)
    other = await start(redis_url=disk.url, **SETTINGS)
    for forged in (f"{epoch}-{int(seq) + ahead}", f"{int(epoch) + ahead}-1", f"{10**15 + ahead}-1"):
        stranger = await enter(other, f"/rooms/room?peer=s{forged}&since={forged}", resume="not-a-key-of-the-room")
        assert stranger.welcome["recovered"] is False
        member = await enter(other, f"/rooms/room?peer=m{forged}")
        again = await resume(enter, other, f"m{forged}", member, forged)
        assert again.welcome["recovered"] is False
        assert again.welcome["id"].split("-")[0] == epoch
    await say(a, 1)
    assert [event for event in await a.all_up_to_now() if event.get("type") == "error"] == []


async def test_a_member_that_returns_after_a_new_epoch_gets_the_messages_of_that_epoch(
    start: MakeRelay, enter: MakeClient, disk: RedisServer
) -> None:
    relay = await start(redis_url=disk.url, **SETTINGS)
    ann = await enter(relay, "/rooms/room?peer=ann")
    ben = await enter(relay, "/rooms/room?peer=ben&presence=1")
    position = await heard(ben, await say(ann, 3))
    ben.lose()
    await eventually(lambda: is_held(relay, "ben"))
    with disk.client as client:
        client.delete("relay:{room}:meta", "relay:{room}:log", "relay:{room}:repeats")
    await say(ann, 2)
    back = await resume(enter, relay, "ben", ben, position)
    assert (back.welcome["recovered"], back.welcome["reason"]) == (False, "epoch")
    epoch, _, seq = back.welcome["id"].partition("-")
    assert epoch > position.partition("-")[0]
    assert seq == "0"
    last = await say(ann, 1)
    got = [event for event in await back.until(lambda event: event.get("id") == last) if "message" in event]
    # The two from before its return, once and in order, and then the live one.
    assert len(got) == 3
    assert [event["id"].partition("-")[0] for event in got] == [epoch] * 3
    assert sorted(got, key=lambda event: int(event["id"].partition("-")[2])) == got
    # A client of whom the relay knows a position in this epoch is recovered as ever.
    back.lose()
    again = await resume(enter, relay, "ben", back, last)
    assert again.welcome["recovered"] is True


async def is_held(relay: Relay, peer: str) -> bool:
    return any(one["peer"] == peer and one.get("held") for one in (await relay.describe("room"))["members"])
