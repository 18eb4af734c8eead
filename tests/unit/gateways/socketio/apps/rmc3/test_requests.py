"""User ids that change, and bad arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest

from relay.model.errors import RelayError, Unavailable
from relay.model.rules import RuleChange
from tests.unit.gateways.socketio.apps.rmc3.pages import CUSTOM, MESSAGE, room_of, site

# User ids.


async def test_a_page_changes_its_user_id_before_it_joins() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        assert await ann.ask("changed-uuid", "anna") == []
        await ann.open("r")
        assert await one.members("r") == ["anna"]


async def test_a_page_changes_its_user_id_in_its_room_and_keeps_its_contacts_and_ownership() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r", password="geheim", session={"oneway": True})
        await ben.join("r", password="geheim")
        ann.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        await ben.heard("user-connected")
        assert await ann.ask("changed-uuid", "anna") == []
        assert await one.members("r") == ["anna", "ben"]
        ann.send("ben", {"x": 2})
        assert (await ben.heard(MESSAGE))[0]["sender"] == "anna"
        ben.request("r")
        assert (await ann.heard(MESSAGE))[0]["remoteUserId"] == "anna"
        assert await ann.ask("set-password", "neu") == [True, "r", None]
        assert ben.names() == []


async def test_a_page_changes_its_user_id_in_a_room_that_lets_nobody_in() -> None:
    async with site(places_per_address=2) as one:
        ann, ben = await one.connect("ann", maxParticipantsAllowed="2"), await one.connect("ben")
        await ann.open("r", password="geheim")
        await ben.join("r", password="geheim")
        assert await ann.ask("set-password", "neu") == [True, "r", None]
        await one.worker.rules.change("r", RuleChange(locked=True))
        assert await ben.ask("changed-uuid", "benno") == []
        assert await one.members("r") == ["ann", "benno"]


async def test_a_page_that_has_come_back_changes_its_user_id_in_a_room_with_a_password() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r", password="geheim")
        ann.lose()
        again = await one.connect("ann")
        await again.heard("set-isInitiator-true")
        assert await again.ask("changed-uuid", "anna") == []
        assert await one.members("r") == ["anna"]


@pytest.mark.parametrize("away", ["publish", "change"])
async def test_a_page_keeps_its_user_id_and_its_room_where_redis_goes_away(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")

        def publish(member: object, command: object, done: Callable[[RelayError], None]) -> int:
            done(Unavailable("Redis is away"))
            return 0

        async def change(*_: object, **__: object) -> None:
            raise Unavailable("Redis is away")

        with monkeypatch.context() as patch:
            if away == "publish":
                patch.setattr(one.worker, "publish", publish)
            else:
                patch.setattr(type(one.worker.rules), "change", change)
            assert (await ann.ask("changed-uuid", "anna"))[0] is False
        assert await one.members("r") == ["ann", "ben"]
        assert await ann.ask("set-password", "geheim") == [True, "r", None]
        ann.send("ben", {"x": 1})
        assert (await ben.heard(MESSAGE))[0]["sender"] == "ann"
        assert await ann.ask("changed-uuid", "anna") == []
        assert await one.members("r") == ["anna", "ben"]


@pytest.mark.parametrize("userid", ["", "ann", "x" * 300])
async def test_the_callback_of_a_new_user_id_is_always_called(userid: str) -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r")
        assert await ann.ask("changed-uuid", userid) in ([], [False, ANY])


@pytest.mark.parametrize("held", [False, True])
async def test_no_page_takes_the_user_id_of_another(*, held: bool) -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben", address="10.9.9.9")
        await ann.open("r")
        await ben.join("r")
        if held:
            ann.lose()
        ben.emit("changed-uuid", "ann", number="9")
        assert (await ben.heard("userid-already-taken"))[0] == "ann"
        assert (await ben.answered("9"))[0] is False
        assert await one.members("r") == ["ann", "ben"]


async def test_no_page_is_the_admin() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        assert (await ann.ask("changed-uuid", "admin"))[0] is False
        await ann.open("r")
        assert await one.members("r") == ["ann"]


async def test_no_page_is_the_admin_in_a_broadcast() -> None:
    async with site() as one:
        ann = await one.connect("ann", enableScalableBroadcast="true")
        ann.emit("join-broadcast", {"broadcastId": "r", "userid": "admin"})
        assert "bad_peer" in (await ann.heard("logs"))[0]
        assert await one.members("r") == []


# Bad input.

BAD: list[Any] = [
    None,
    7,
    True,
    [],
    {},
    [[]],
    {"x": 1},
    "x" * 2000,
    {"sessionid": []},
    {"sessionid": "r", "extra": "x" * 20_000},
]
NAMES = [
    "check-presence", "open-room", "join-room", "extra-data-updated", "get-remote-user-extra-data", "set-password",
    "is-valid-password", "get-public-rooms", "changed-uuid", "disconnect-with", "close-entire-session",
    "set-custom-socket-event-listener", MESSAGE, CUSTOM, "admin", "unknown",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_bad_arguments_harm_nobody(name: str) -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        for value in BAD:
            ben.emit(name, value)
            ben.emit(name, value, number="1000")
        ben.emit(name)
        ben.emit(name, number="1000")
        # Before it has joined, and after that.
        assert (await ben.open("s"))[0] in (True, False)
        for value in BAD:
            ben.emit(name, value)
        assert (await ben.ask("check-presence", "r"))[:2] == [True, "r"]
        assert ben.socket.reason is None
        assert "ann" in await one.members("r")
        assert await ann.ask("set-password", "x") == [True, "r", None]


async def test_an_event_that_is_too_large_is_refused_and_the_page_goes_on() -> None:
    async with site(max_message=100_000) as one:
        ann = await one.connect("ann")
        ann.emit("extra-data-updated", {"x": "y" * 150_000})
        assert "too_large" in (await ann.heard("logs"))[0]
        assert await ann.open("r") == [True]


@pytest.mark.parametrize("userid", ["\n", "x" * 300, "$server"])
async def test_a_user_id_that_no_peer_has_is_refused(userid: str) -> None:
    async with site() as one:
        page = await one.connect(userid)
        assert page.socket.refused["data"]["code"] == "bad_peer"


async def test_a_page_without_a_user_id_gets_one() -> None:
    async with site() as one:
        page = await one.connect("")
        assert await page.open("r") == [True]
