"""Scalable broadcasts: the source of each viewer, and the events for pages when somebody leaves."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from relay.backend.broadcasts import BROADCAST_TTL, BroadcastMember
from relay.backend.memory.broadcasts import MemoryBroadcasts
from relay.gateways.socketio.apps.rmc3 import broadcasting
from tests.fleet import eventually
from tests.unit.gateways.socketio.apps.rmc3.pages import MESSAGE, Page, Site, asked, site

STREAMS = {"audio": True, "video": True, "oneway": True}


async def connect(one: Site, userid: str, most: str = "1") -> Page:
    return await one.connect(userid, enableScalableBroadcast="true", maxRelayLimitPerUser=most)


def take_part(page: Page, userid: str = "") -> None:
    userid = userid or page.userid
    page.emit("join-broadcast", {"broadcastId": "host", "userid": userid, "typeOfStreams": STREAMS})


async def begin(one: Site, most: str = "1") -> Page:
    """The initiator of a broadcast, as the library's demo begins one: its user id becomes that of the broadcast."""
    host = await connect(one, "someone", most)
    assert await host.ask("check-broadcast-presence", "host") == [False]
    host.userid = "host"
    take_part(host)
    assert await host.heard("number-of-broadcast-viewers-updated") == [
        {"numberOfBroadcastViewers": 0, "broadcastId": "host"}
    ]
    assert await host.heard("start-broadcasting") == [STREAMS]
    assert await host.ask("open-room", asked("host", extra={"broadcastId": "host"})) == [True]
    return host


async def view(one: Site, userid: str) -> tuple[Page, str]:
    """A viewer, and its source."""
    page = await connect(one, userid)
    take_part(page)
    (hints,) = await page.heard("join-broadcaster")
    assert (hints["broadcastId"], hints["typeOfStreams"]) == ("host", STREAMS)
    assert await page.ask("join-room", asked(hints["userid"], extra={"broadcastId": "host"})) == [True]
    return page, hints["userid"]


async def test_viewers_receive_from_the_initiator_and_then_from_viewers_that_can_relay() -> None:
    async with site() as one:
        host = await begin(one)
        ann, of_ann = await view(one, "ann")
        assert of_ann == "host"
        assert (await host.heard("number-of-broadcast-viewers-updated"))[0]["numberOfBroadcastViewers"] == 1
        ann.emit("can-relay-broadcast")
        ben, of_ben = await view(one, "ben")
        assert of_ben == "ann"
        assert await ben.ask("check-broadcast-presence", "host") == [True]
        assert await ben.ask("check-broadcast-presence", "ann") == [False]
        assert await ben.ask("get-number-of-users-in-specific-broadcast", "host") == [2]
        assert await ben.ask("get-number-of-users-in-specific-broadcast", "other") == [0]
        # A request to take part goes to the one alone, without extra data.
        ben.request("ann")
        (request,) = await ann.heard(MESSAGE)
        assert (request["sender"], request["remoteUserId"], "extra" in request) == ("ben", "ann", False)
        ben.request("host")
        assert (await host.heard(MESSAGE))[0]["remoteUserId"] == "host"
        assert MESSAGE not in ann.names()


async def test_receivers_of_a_viewer_that_leaves_are_asked_to_join_anew() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("can-relay-broadcast")
        ben, of_ben = await view(one, "ben")
        assert of_ben == "ann"
        ann.leave()
        assert await ben.heard("rejoin-broadcast") == ["host"]
        while (await host.heard("number-of-broadcast-viewers-updated"))[0]["numberOfBroadcastViewers"] != 1:
            pass
        take_part(ben)
        assert (await ben.heard("join-broadcaster"))[0]["userid"] == "host"


async def test_all_viewers_hear_that_the_initiator_has_left() -> None:
    async with site() as one:
        host = await begin(one, "2")
        pages = [(await view(one, userid))[0] for userid in ("ann", "ben")]
        host.leave()
        for page in pages:
            assert await page.heard("broadcast-stopped") == ["host"]
            assert "rejoin-broadcast" not in page.names()


async def test_pages_of_a_broadcast_talk_to_each_other() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("scalable-broadcast-message", {"said": 1})
        assert await host.heard("scalable-broadcast-message") == [{"said": 1}]


async def test_nobody_is_the_initiator_of_a_broadcast_that_has_one() -> None:
    async with site() as one:
        await begin(one)
        thief = await connect(one, "thief")
        take_part(thief, "host")
        assert (await thief.heard("userid-already-taken"))[0] == "host"


async def test_pages_without_scalable_broadcasts_have_none_of_their_events() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        take_part(ann, "host")
        assert await ann.open("r") == [True]
        assert ann.names() == []


async def test_a_room_that_is_named_like_no_peer_is_no_broadcast() -> None:
    async with site() as one:
        ann, ben = await connect(one, "ann"), await connect(one, "ben")
        assert await ann.open("$server") == [True]
        assert await ben.join("$server") == [True]
        ben.send("ann", {"x": 1})
        await ann.heard("user-connected")
        ben.leave()
        assert await ann.heard("user-disconnected") == ["ben"]
        ann.emit("join-broadcast", {"broadcastId": "$server", "userid": "ann"})
        assert "bad_peer" in (await ann.heard("logs"))[0]
        assert await one.members("%24server") == ["ann"]
        assert ann.socket.reason is None


@pytest.mark.parametrize("value", [None, 7, [], {}, {"broadcastId": []}, {"broadcastId": "a", "userid": "\n"}])
async def test_bad_arguments_harm_nobody(value: Any) -> None:
    async with site() as one:
        ann = await connect(one, "ann", most="x")
        for name in (
            "join-broadcast", "can-relay-broadcast", "can-not-relay-broadcast", "check-broadcast-presence",
            "get-number-of-users-in-specific-broadcast",
        ):  # fmt: skip
            ann.emit(name, value)
            ann.emit(name)
        ann.emit("join-broadcast", {"broadcastId": "a", "userid": "ann", "typeOfStreams": {"x": "y" * 2000}})
        take_part(ann)
        await ann.heard("start-broadcasting")
        assert ann.socket.reason is None


async def test_a_broadcast_goes_on_when_its_initiator_changes_its_id() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("can-relay-broadcast")
        assert await host.ask("changed-uuid", "star") == []
        ben, of_ben = await view(one, "ben")
        assert of_ben == "ann"
        assert await ben.ask("check-broadcast-presence", "host") == [True]
        assert await ben.ask("get-number-of-users-in-specific-broadcast", "host") == [2]
        while (await host.heard("number-of-broadcast-viewers-updated"))[0]["numberOfBroadcastViewers"] != 2:
            pass
        # A viewer that has to find another source is sent to the initiator under its new id.
        ann.leave()
        assert await ben.heard("rejoin-broadcast") == ["host"]
        take_part(ben)
        assert (await ben.heard("join-broadcaster"))[0]["userid"] == "star"
        assert "broadcast-stopped" not in ann.names() + ben.names()
        host.leave()
        assert await ben.heard("broadcast-stopped") == ["host"]


async def test_receivers_of_a_viewer_that_changes_its_id_stay_with_it() -> None:
    async with site() as one:
        await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("can-relay-broadcast")
        ben, of_ben = await view(one, "ben")
        assert of_ben == "ann"
        assert await ann.ask("changed-uuid", "anna") == []
        ben.send("anna", {"x": 1})
        await ann.heard(MESSAGE)
        assert "rejoin-broadcast" not in ben.names()
        ann.leave()
        assert await ben.heard("rejoin-broadcast") == ["host"]


async def test_an_id_that_cannot_be_had_changes_nothing_in_the_broadcast() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        assert (await host.ask("changed-uuid", "ann"))[0] is False
        host.leave()
        assert await ann.heard("broadcast-stopped") == ["host"]


async def test_the_tree_ends_with_the_broadcast() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        host.leave()
        await ann.heard("broadcast-stopped")
        assert await one.worker.broadcasts.find("host", "ann") == BroadcastMember()


async def test_a_second_tab_with_the_user_id_of_a_viewer_takes_nothing_from_the_first() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("can-relay-broadcast")
        ben, of_ben = await view(one, "ben")
        tab = await connect(one, "ann")
        take_part(tab)
        assert (await tab.heard("userid-already-taken"))[0] == "ann"
        tab.leave()
        assert await one.worker.broadcasts.find("host", "ben") == BroadcastMember("ann", initiator="host")
        assert of_ben == "ann"
        # The library takes another id, and connects anew.
        other = await connect(one, "other")
        take_part(other)
        await other.heard("join-broadcaster")
        while (await host.heard("number-of-broadcast-viewers-updated"))[0]["numberOfBroadcastViewers"] != 3:
            pass
        assert "rejoin-broadcast" not in ben.names()


async def test_of_two_pages_that_begin_a_broadcast_at_once_one_is_its_initiator() -> None:
    async with site() as one:
        pages = [await connect(one, f"p{number}") for number in range(4)]

        async def start(page: Page) -> bool:
            (exists,) = await page.ask("check-broadcast-presence", "host")
            page.userid = page.userid if exists else "host"
            take_part(page)
            await page.heard("join-broadcaster" if exists else "start-broadcasting")
            return bool(exists)

        assert sorted(await asyncio.gather(*map(start, pages))) == [False, True, True, True]


async def test_a_viewer_that_comes_back_knows_its_source() -> None:
    async with site() as one:
        await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("can-relay-broadcast")
        ben, _ = await view(one, "ben")
        ben.lose()
        ben = await connect(one, "ben")
        ben.send("ann", {"x": 1})
        await ann.heard(MESSAGE)
        ann.leave()
        assert await ben.heard("rejoin-broadcast") == ["host"]


@pytest.mark.parametrize(("gone", "told"), [("ann", "rejoin-broadcast"), ("host", "broadcast-stopped")])
async def test_a_viewer_that_comes_back_is_told_of_ends_meanwhile(gone: str, told: str) -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        ann.emit("can-relay-broadcast")
        ben, of_ben = await view(one, "ben")
        assert of_ben == "ann"
        ben.lose()
        {"ann": ann, "host": host}[gone].leave()
        while gone in await one.members("host"):
            await asyncio.sleep(0)
        ben = await connect(one, "ben")
        assert await ben.heard(told) == ["host"]


async def test_an_initiator_that_comes_back_goes_on() -> None:
    async with site() as one:
        host = await begin(one)
        await view(one, "ann")
        host.userid = "host"
        host.lose()
        # The handshake has the user id with which the page connected first: its private id finds the place.
        assert host.socket.connected is not None
        host = await one.connect("someone", pid=host.socket.connected["pid"], enableScalableBroadcast="true")
        assert (await host.heard("number-of-broadcast-viewers-updated"))[0]["numberOfBroadcastViewers"] == 1


async def test_an_initiator_that_comes_back_gives_up_the_places_of_viewers_that_left_meanwhile() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        assert host.socket.connected is not None
        pid = host.socket.connected["pid"]
        host.lose()
        ann.leave()
        while "ann" in await one.members("host"):
            await asyncio.sleep(0)
        host = await one.connect("someone", pid=pid, enableScalableBroadcast="true")
        await host.heard("number-of-broadcast-viewers-updated")
        place = await one.worker.broadcasts.find("host", "host")
        assert place is not None
        assert place.receivers == 0


async def test_an_initiator_keeps_the_tree_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broadcasting.RENEWAL == BROADCAST_TTL / 3
    monkeypatch.setattr(broadcasting, "RENEWAL", 0.02)
    async with site() as one:
        host = await begin(one)
        trees = cast(MemoryBroadcasts, one.worker.broadcasts)

        async def initiator() -> str:
            found = await trees.find("host", "host")
            return "" if found is None else found.initiator

        for _ in range(2):
            trees._trees.clear()
            assert await eventually(initiator) == "host"
        await host.ask("changed-uuid", "star")
        trees._trees.clear()
        assert await eventually(initiator) == "star"
        # Elsewhere, it renews nothing.
        assert await host.open("r") == [True]
        trees._trees.clear()
        assert await host.ask("check-broadcast-presence", "host") == [False]


async def test_a_viewer_that_is_away_while_the_initiator_changes_its_id_comes_back_into_the_broadcast() -> None:
    async with site() as one:
        host = await begin(one)
        ann, _ = await view(one, "ann")
        ann.lose()
        assert await host.ask("changed-uuid", "star") == []
        ann = await connect(one, "ann")
        host.send("ann", {"x": 1})
        assert (await ann.heard(MESSAGE))[0]["sender"] == "star"
        take_part(ann)
        assert (await ann.heard("join-broadcaster"))[0]["userid"] == "star"
        assert "broadcast-stopped" not in ann.names()
        host.leave()
        assert await ann.heard("broadcast-stopped") == ["host"]
