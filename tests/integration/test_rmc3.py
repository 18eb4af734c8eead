"""Pages of RTCMultiConnection 3 on two workers: rooms, owners and places, also when a worker is killed."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.integration.rmc3 import CUSTOM, MESSAGE, RmcPage

_numbers = itertools.count()

Connect = Callable[..., Awaitable[RmcPage]]


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connect(relay: Relay, userid: str, **more: Any) -> RmcPage:
            page = await RmcPage.connect(relay, userid, **more)
            stack.callback(page.lose)
            return page

        yield connect


@pytest.fixture
async def patient(redis_server: RedisServer, start: MakeRelay) -> tuple[Relay, Relay]:
    """Two workers that hold places for longer than any test takes to come back."""
    common = {"redis_url": redis_server.url, "redis_prefix": f"relay:rmc3-{next(_numbers)}", "reconnect_grace": 60}
    return await start(**common), await start(**common)


async def test_pages_on_two_workers_meet(pair: tuple[Relay, Relay], connected: Connect) -> None:
    a, b = pair
    ann, ben = await connected(a, "ann"), await connected(b, "ben")
    assert (await ben.ask("check-presence", "r"))[0] is False
    assert await ben.join("r") == [False, "Room not available"]
    assert await ann.open("r", extra={"name": "Ann"}, password="geheim") == [True]
    (exists, _, extra) = await ben.ask("check-presence", "r")
    assert (exists, extra["name"], extra["_room"]["isPasswordProtected"]) == (True, "Ann", True)
    assert await ben.join("r", password="falsch") == [False, "Invalid password"]
    assert await ben.join("r", password="geheim") == [True]
    await ben.send("r", {"newParticipationRequest": True})
    (request,) = await ann.heard(MESSAGE)
    assert (request["remoteUserId"], request["sender"]) == ("ann", "ben")
    await ann.send("ben", {"type": "offer"})
    (offer,) = await ben.heard(MESSAGE)
    assert (offer["message"], offer["extra"]) == ({"type": "offer"}, {"name": "Ann"})
    assert await ann.heard("user-connected") == ["ben"]
    assert await ben.heard("user-connected") == ["ann"]
    await ann.close()
    assert await ben.heard("user-disconnected") == ["ann"]
    assert await ben.heard("set-isInitiator-true") == ["r"]
    assert await ben.ask("set-password", "") == [True, "r", None]


async def test_of_twenty_pages_on_two_workers_one_opens_the_room(pair: tuple[Relay, Relay], connected: Connect) -> None:
    pages = [await connected(pair[number % 2], f"p{number}") for number in range(20)]
    answers = await asyncio.gather(*[page.open("r") for page in pages])
    assert sorted(answers) == [[False, "Room not available"]] * 19 + [[True]]
    opened = answers.index([True])
    joined = await asyncio.gather(*[page.join("r") for page in pages if page is not pages[opened]])
    assert joined == [[True]] * 19


async def test_the_owner_of_a_killed_worker_is_followed_by_another(
    pair: tuple[Relay, Relay], connected: Connect
) -> None:
    a, b = pair
    ann, ben = await connected(a, "ann"), await connected(b, "ben")
    await ann.open("r")
    await ben.join("r")
    await ben.hears(ann)
    a.process.kill()
    assert await ben.heard("set-isInitiator-true") == ["r"]
    assert await ben.heard("user-disconnected") == ["ann"]
    assert await ben.ask("set-password", "mine") == [True, "r", None]


@pytest.mark.parametrize("brings_pid", [True, False])
async def test_pages_of_a_killed_worker_come_back_unasked_on_another(
    patient: tuple[Relay, Relay], connected: Connect, *, brings_pid: bool
) -> None:
    a, b = patient
    ann, ben = await connected(a, "ann"), await connected(b, "ben")
    await ann.open("r", password="geheim")
    await ben.join("r", password="geheim")
    a.process.kill()
    ann = await connected(b, "ann", pid=ann.pid if brings_pid else "")
    assert await ann.heard("set-isInitiator-true") == ["r"]
    await ann.hears(ben)
    await ben.hears(ann)
    assert not [event for event in ben.events if event[0] == "user-disconnected"]
    assert await ann.ask("set-password", "other") == [True, "r", None]


@pytest.mark.parametrize("brings_pid", [True, False])
async def test_a_page_that_blinks_is_in_its_room_again_on_either_worker(
    patient: tuple[Relay, Relay], connected: Connect, *, brings_pid: bool
) -> None:
    a, b = patient
    ann, ben = await connected(a, "ann"), await connected(b, "ben")
    await ann.open("r")
    await ben.join("r")
    for number in range(50):
        ben.lose()
        ben = await connected(patient[number % 2], "ben", pid=ben.pid if brings_pid else "")
        await ben.hears(ann)
    assert not [event for event in ann.events if event[0] in ("user-disconnected", "set-isInitiator-true")]


async def test_a_native_member_and_pages_share_custom_events(
    pair: tuple[Relay, Relay], connected: Connect, enter: MakeClient
) -> None:
    a, b = pair
    ann = await connected(a, "ann")
    await ann.open("r")
    native = await enter(b, "/rooms/r?peer=native&presence=1")
    await ann.emit(CUSTOM, {"chat": "hello"})
    received = (await native.until(lambda event: "event" in event))[-1]
    assert (received["event"], received["args"], received["from"]) == (CUSTOM, [{"chat": "hello"}], "ann")
    await native.send({"event": "chat", "args": ["hi"]})
    assert await ann.heard("chat") == ["hi"]
    # It answers a request to take part as a page does.
    ben = await connected(b, "ben")
    assert await ben.join("r") == [True]
    await ben.send("r", {"newParticipationRequest": True})
    asked = (await native.until(lambda event: event.get("channel") == "rmc"))[-1]
    assert (asked["channel"], asked["message"]["sender"]) == ("rmc", "ben")
    await native.send({"to": "ben", "channel": "rmc", "message": {"message": {"type": "offer"}}})
    (offer,) = await ben.heard(MESSAGE)
    assert (offer["sender"], offer["remoteUserId"], offer["message"]) == ("native", "ben", {"type": "offer"})


async def test_thirty_viewers_of_a_broadcast_on_two_workers(pair: tuple[Relay, Relay], connected: Connect) -> None:
    """Each viewer receives from somebody, within the limit; those whose source goes get another one."""

    async def take_part(page: RmcPage) -> str:
        await page.emit("join-broadcast", {"broadcastId": "host", "userid": page.userid, "typeOfStreams": {}})
        (hints,) = await page.heard("join-broadcaster")
        await page.emit("can-relay-broadcast")
        return str(hints["userid"])

    scalable = {"enableScalableBroadcast": "true", "maxRelayLimitPerUser": "2"}
    host = await connected(pair[0], "host", **scalable)
    await host.emit("join-broadcast", {"broadcastId": "host", "userid": "host", "typeOfStreams": {}})
    await host.heard("start-broadcasting")
    sources: dict[str, str] = {}
    pages: dict[str, RmcPage] = {}
    for number in range(30):
        page = pages[f"v{number}"] = await connected(pair[number % 2], f"v{number}", **scalable)
        sources[page.userid] = await take_part(page)
        # The next viewer comes when Redis knows whether this one can relay.
        assert await page.ask("get-number-of-users-in-specific-broadcast", "host") == [number + 1]
    counts = Counter(sources.values())
    assert set(counts) <= {"host", *pages}
    assert max(counts.values()) == 2
    # Members of the killed worker leave; all that received from them get another source, which is there.
    pair[1].process.kill()
    gone = {userid for number, userid in enumerate(pages) if number % 2}
    orphans = [userid for userid, source in sources.items() if source in gone and userid not in gone]
    assert orphans
    for userid in orphans:
        assert await pages[userid].heard("rejoin-broadcast") == ["host"]
    for userid in orphans:
        assert await take_part(pages[userid]) not in gone
    while (await host.heard("number-of-broadcast-viewers-updated"))[0]["numberOfBroadcastViewers"] != 15:
        pass
    await host.close()
    for number in range(0, 30, 2):
        assert await pages[f"v{number}"].heard("broadcast-stopped") == ["host"]


async def test_members_of_a_broadcast_on_two_workers_change_their_ids(
    pair: tuple[Relay, Relay], connected: Connect
) -> None:
    scalable = {"enableScalableBroadcast": "true", "maxRelayLimitPerUser": "1"}

    async def take_part(page: RmcPage, userid: str) -> str:
        await page.emit("join-broadcast", {"broadcastId": "host", "userid": userid, "typeOfStreams": {}})
        return str((await page.heard("join-broadcaster"))[0]["userid"])

    host, ann, ben = [
        await connected(relay, name, **scalable)
        for relay, name in ((pair[0], "host"), (pair[1], "ann"), (pair[0], "ben"))
    ]
    await host.emit("join-broadcast", {"broadcastId": "host", "userid": "host", "typeOfStreams": {}})
    await host.heard("start-broadcasting")
    assert await take_part(ann, "ann") == "host"
    await ann.emit("can-relay-broadcast")
    assert await host.ask("changed-uuid", "star") == []
    assert await ann.ask("changed-uuid", "anna") == []
    assert await take_part(ben, "ben") == "anna"
    await ann.close()
    assert await ben.heard("rejoin-broadcast") == ["host"]
    assert await take_part(ben, "ben") == "star"
    assert await ben.ask("check-broadcast-presence", "host") == [True]
    await host.close()
    assert await ben.heard("broadcast-stopped") == ["host"]
    assert await ben.ask("check-broadcast-presence", "host") == [False]


async def test_a_room_outlives_the_data_of_redis(start: MakeRelay, connected: Connect) -> None:
    """Redis loses everything: room, owner and password are there again, and a page that blinks comes back."""
    redis = RedisServer().start()
    try:
        common = {"redis_url": redis.url, "redis_prefix": "relay:rmc3-loss", "reconnect_grace": 60}
        relays = await start(**common), await start(**common)
        ann, ben = await connected(relays[0], "ann"), await connected(relays[1], "ben")
        await ann.open("r", password="geheim")
        await ben.join("r", password="geheim")
        redis.kill()
        redis.forget()
        redis.start()
        for relay in relays:
            await eventually(relay.healthy, 30)
        cid = await connected(relays[1], "cid")
        await eventually(partial(has_room, cid), 30)
        assert await cid.join("r") == [False, "Invalid password"]
        assert await cid.join("r", password="geheim") == [True]
        for number in range(6):
            ben.lose()
            ben = await connected(relays[number % 2], "ben", pid=ben.pid)
            # Redis has lost the history: a signal sent while the page was away may be lost with it.
            await eventually(partial(arrives, ann, ben), 30)
        assert await ann.ask("set-password", "other") == [True, "r", None]
        assert not [event for event in ann.events if event[0] in ("user-disconnected", "set-isInitiator-true")]
    finally:
        redis.close()


async def has_room(page: RmcPage) -> bool:
    return bool((await page.ask("check-presence", "r"))[0])


async def arrives(sender: RmcPage, receiver: RmcPage) -> bool:
    await sender.send(receiver.userid, {"again": True})
    return any(event[0] == MESSAGE for event in receiver.events)


async def test_wrong_passwords_of_the_admin_page_are_counted_by_all_workers(
    redis_server: RedisServer, start: MakeRelay, connected: Connect
) -> None:
    common = {"redis_url": redis_server.url, "redis_prefix": "relay:rmc3-admin", "token_attempts": 4}
    secret = "boss:a-password-of-24-letters"
    relays = await start(**common, rmc_admin=secret), await start(**common, rmc_admin=secret)

    async def offer(relay: Relay, password: str) -> Any:
        page = await connected(relay, "admin", adminUserName="boss", adminPassword=password)
        return (await page.heard("admin"))[0]

    async def is_refused_everywhere() -> bool:
        """Of all that happens in one minute; the next one begins with none."""
        for number in range(4):
            assert "error" in await offer(relays[0], f"wrong-{number}")
        # With its own first guess, the other worker learns of the others.
        assert "error" in await offer(relays[1], "wrong")
        return all([("error" in await offer(relay, "a-password-of-24-letters")) for relay in relays])

    await eventually(is_refused_everywhere, 30)
