"""The decisions of an owner: passwords, the most participants, the end of its room; and the owner that follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.gateways.socketio.apps.rmc3.stay import Attributes, read_attributes
from relay.model.errors import RelayError, Unavailable
from relay.model.rules import RoomRules, RuleChange
from tests.tokens import SECRET, token
from tests.unit.gateways.socketio.apps.rmc3.pages import MESSAGE, room_of, site


async def test_a_password_is_asked_for_and_the_errors_are_those_of_the_original_in_its_order() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann", maxParticipantsAllowed="2"), await one.connect("ben")
        assert await ann.open("r", password="geheim") == [True]
        assert (await ben.ask("check-presence", "r"))[2] == {"_room": {"isFull": False, "isPasswordProtected": True}}
        assert await ben.join("r") == [False, "Invalid password"]
        assert await ben.join("r", password="falsch") == [False, "Invalid password"]
        assert await ben.join("r", password="geheim") == [True]
        cid = await one.connect("cid")
        assert (await cid.ask("check-presence", "r"))[2]["_room"]["isFull"] is True
        assert await cid.join("r", password="falsch") == [False, "Invalid password"]
        assert await cid.join("r", password="geheim") == [False, "Room full"]


async def test_a_password_may_be_a_number_and_any_object_or_false_is_none() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        assert await ann.open("r", password=42) == [True]
        assert await ben.join("r", password="42") == [True]
        for room, password in (("s", {"x": 1}), ("t", False), ("u", None)):
            assert await ann.open(room, password=password) == [True]
            assert await ben.join(room) == [True]
        assert await ann.open("v", password="geheim") == [True]
        assert await ann.ask("set-password", False) == [True, "v", None]
        assert await ben.join("v") == [True]


async def test_the_owner_changes_the_password_and_nobody_else_does() -> None:
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        assert await ann.ask("set-password", "geheim") == [None, None, "Did not join any room yet"]
        await ann.open("r")
        await ben.join("r")
        assert await ben.ask("set-password", "meins") == [False, "r", "Room permission denied"]
        assert await ann.ask("set-password", "geheim") == [True, "r", None]
        assert await cid.join("r") == [False, "Invalid password"]
        assert await ann.ask("set-password", "") == [True, "r", None]
        assert await cid.join("r") == [True]


async def test_the_owner_sets_no_password_that_nobody_could_offer() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r", password="geheim")
        right, room, text = await ann.ask("set-password", "x" * 129)
        assert (right, room) == (False, "r")
        assert "128" in text
        assert await ben.join("r", password="geheim") == [True]


async def test_password_and_cap_end_with_the_last_member() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann", maxParticipantsAllowed="1"), await one.connect("ben")
        await ann.open("r", password="geheim")
        await ann.open("elsewhere")
        assert await ben.join("r", password="geheim") == [False, "Room not available"]
        assert await ben.open("r") == [True]
        assert await ann.join("r") == [True]


async def test_the_default_room_and_rooms_of_a_server_take_neither_password_nor_cap() -> None:
    async with site(default_room="lobby") as one:
        await one.worker.rules.change("made", RuleChange(max_members=5), create=True)
        for room, most in (("lobby", None), ("made", 5)):
            ann, ben = await one.connect("ann", maxParticipantsAllowed="1"), await one.connect("ben")
            assert await ann.open(room, password="geheim") == [True]
            rules = await one.worker.rules.get(room)
            assert rules == RoomRules(max_members=most, owner="ann")
            assert await ben.join(room) == [True]
            assert await ann.ask("set-password", "geheim") == [False, room, "Room permission denied"]
            ann.leave()
            ben.leave()


# Owners.


async def test_the_eldest_member_follows_the_owner_and_alone_is_told() -> None:
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        await ann.open("r")
        await ben.join("r")
        await cid.join("r")
        ann.leave()
        assert await ben.heard("set-isInitiator-true") == ["r"]
        ben.send("cid", {"x": 1})
        await cid.heard(MESSAGE)
        assert "set-isInitiator-true" not in cid.names()
        ben.leave()
        assert await cid.heard("set-isInitiator-true") == ["r"]


@pytest.mark.parametrize("how", ["query", "oneway", "broadcast"])
async def test_a_room_that_ends_with_its_owner_is_gone_for_all(how: str) -> None:
    async with site() as one:
        ann = await one.connect("ann", autoCloseEntireSession="true" if how == "query" else "false")
        ben, cid = await one.connect("ben"), await one.connect("cid")
        await ann.open("r", session={"data": True} | ({} if how == "query" else {how: True}))
        await ben.join("r")
        ann.leave()
        presence = [True]
        while presence[0]:
            presence = await cid.ask("check-presence", "r")
        assert ben.names() == []
        assert await cid.open("r") == [True]
        assert await ben.join("r") == [True]


async def test_the_owner_ends_the_room_for_all() -> None:
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        assert await ann.ask("close-entire-session") == [False, "Room not available"]
        await ann.open("r")
        await ben.join("r")
        await cid.join("r")
        assert await ben.ask("close-entire-session") == [False, "Room permission denied"]
        assert await ann.ask("close-entire-session") == [True]
        for page in (ben, cid):
            assert (await page.heard("closed-entire-session"))[0] == "r"
            assert "set-isInitiator-true" not in page.names()
        assert await ben.open("r") == [True]
        assert await one.members("r") == ["ben"]


async def test_an_owner_that_may_not_publish_is_told_so_and_stays() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        rooms: list[object] = [{"room": "r", "can": ["join", "presence"]}]
        ann = await one.connect("ann", token=token(sub="ann", rooms=rooms))
        ben = await one.connect("ben", token=token(sub="ben", rooms=["r"]))
        await ann.open("r")
        await ben.join("r")
        done, text = await ann.ask("close-entire-session")
        assert (done, text.split(":")[0]) == (False, "not_granted")
        assert await one.members("r") == ["ann", "ben"]


async def test_the_room_does_not_end_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")

        def publish(member: object, command: object, done: Callable[[RelayError], None]) -> int:
            done(Unavailable("Redis is away"))
            return 0

        with monkeypatch.context() as patch:
            patch.setattr(one.worker, "publish", publish)
            assert (await ann.ask("close-entire-session"))[0] is False
        assert await one.members("r") == ["ann", "ben"]
        assert await ann.ask("close-entire-session") == [True]
        await ben.heard("closed-entire-session")


async def test_no_member_but_the_owner_ends_the_room_by_a_message() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        await one.worker.publish_from_server(
            "r", b'{"channel":"rmc-control","message":{"closed":true}}', sender="stranger"
        )
        ann.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        assert ben.names() == ["user-connected"]


async def test_a_room_that_the_relay_closes_ends_for_its_pages() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r")
        await one.worker.rules.close("r")
        assert (await ann.heard("closed-entire-session"))[0] == "r"


@pytest.mark.parametrize("stored", [b"", b"[]", b"{", b'{"session":1,"auto_close":"yes"}'])
def test_attributes_that_no_page_has_written_are_none(stored: bytes) -> None:
    assert read_attributes(stored) == Attributes()
