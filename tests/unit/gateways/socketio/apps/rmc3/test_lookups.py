"""Answers about rooms: public ones, passwords, and rooms that a token hides."""

from __future__ import annotations

from tests.tokens import SECRET, token
from tests.unit.gateways.socketio.apps.rmc3.pages import MESSAGE, site


async def test_a_password_is_checked_without_a_join() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r", password="geheim")
        for password, room, answer in (
            ("geheim", "r", [True, "r", False]),
            ("falsch", "r", [False, "r", "Invalid password"]),
            ("", "r", [False, "r", "You did not enter the password."]),
            ("geheim", "", [False, "", "You did not enter the room-id."]),
            ("geheim", "s", [False, "s", "Room not available"]),
        ):
            assert await ben.ask("is-valid-password", password, room) == answer
        await ben.open("s")
        assert await ann.ask("is-valid-password", "x", "s") == [False, "s", "This room do not have any password."]


async def test_public_rooms_are_listed_by_their_identifier() -> None:
    async with site(extensions={"rmc_public_rooms": "on"}) as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        await ann.open("r", identifier="chess", extra={"name": "Ann"}, password="geheim")
        await ben.open("s", identifier="go")
        await cid.join("s")
        assert await cid.ask("get-public-rooms", "chess") == [
            [
                {
                    "sessionid": "r", "owner": "ann", "participants": ["ann"], "extra": {"name": "Ann"},
                    "session": {"data": True}, "maxParticipantsAllowed": 1000, "isRoomFull": False,
                    "isPasswordProtected": True,
                }
            ]
        ]  # fmt: skip
        assert await cid.ask("get-public-rooms", "other") == [[]]
        assert await cid.ask("get-public-rooms", " ") == [None, "publicRoomIdentifier is required"]
        ben.leave()
        assert await cid.heard("set-isInitiator-true") == ["s"]
        (rooms,) = await ann.ask("get-public-rooms", "go")
        assert [(room["sessionid"], room["owner"]) for room in rooms] == [("s", "cid")]
        await cid.open("t")
        assert await ann.ask("get-public-rooms", "go") == [[]]


async def test_rooms_are_not_listed_unless_the_setting_says_so() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r", identifier="chess")
        assert await ann.ask("get-public-rooms", "chess") == [[]]


async def test_a_token_decides_which_rooms_a_page_sees_and_enters() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.connect("ann", token=token(sub="ann", rooms=["r"]))
        assert await ann.open("other") != [True]
        assert await ann.open("r") == [True]
        ben = await one.connect("ben", token=token(sub="ben", rooms=["s"]))
        assert (await ben.ask("check-presence", "r"))[0] is False
        refused = await one.connect("cid")
        assert refused.socket.refused["data"]["code"] == "token_required"


async def test_a_token_without_presence_does_not_show_who_is_in_a_room() -> None:
    async with site(auth="required", auth_secret=SECRET, extensions={"rmc_public_rooms": "on"}) as one:
        ann = await one.connect("ann", token=token(sub="ann", rooms=["r"]))
        await ann.open("r", identifier="chess", extra={"x": 1})
        rooms: list[object] = [{"room": "r", "can": ["join", "publish", "send-direct"]}]
        ben = await one.connect("ben", token=token(sub="ben", rooms=rooms))
        ((listed,),) = await ben.ask("get-public-rooms", "chess")
        assert (listed["sessionid"], listed["participants"]) == ("r", [])
        assert await ben.join("r") == [True]
        assert await ben.ask("get-remote-user-extra-data", "ann") == ["User ID does not exist"]
        detect = {"remoteUserId": "system", "message": {"detectPresence": True, "userid": "ann"}}
        assert await ben.ask(MESSAGE, detect) == [False, "ann"]


async def test_with_a_token_its_subject_alone_brings_a_page_back() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.connect("ann", token=token(sub="ann", rooms=["r"]))
        await ann.open("r")
        ann.lose()
        other = await one.connect("ann", token=token(sub="eve", rooms=["r"]))
        assert other.names() == []
        again = await one.connect("ann", token=token(sub="ann", rooms=["r"]), address="10.4.4.4", origin="https://x")
        assert await again.heard("set-isInitiator-true") == ["r"]


async def test_a_newer_token_of_the_same_subject_replaces_the_one_before() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.connect("ann", token=token(sub="ann", rooms=["r"]))
        assert "expires" in (await ann.ask("relay:refresh", token(sub="ann", rooms=["s"])))[0]
        assert await ann.open("s") == [True]
        assert (await ann.ask("relay:refresh", token(sub="eve", rooms=["s"])))[0]["error"]["code"] == "wrong_peer"
        ann.emit("relay:refresh", 7)
        while not (await ann.heard("logs"))[0].startswith("bad_event"):
            pass
