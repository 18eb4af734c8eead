"""The admin page: refused unless the setting names it, and then it sees and ends rooms of pages alone."""

from __future__ import annotations

import pytest

from relay.backend.memory.usage import MemoryAddressUsage
from relay.model.rules import RuleChange
from relay.rooms.guesses import Guesses
from tests.unit.gateways.socketio.apps.rmc3.pages import site

SECRET = "boss:a-password-of-24-letters"
RIGHT = {"adminUserName": "boss", "adminPassword": "a-password-of-24-letters"}


@pytest.mark.parametrize(
    ("secret", "query", "error"),
    [
        ("", RIGHT, "Please pass"),
        (SECRET, {}, "Please pass"),
        (SECRET, RIGHT | {"adminPassword": "wrong"}, "Invalid admin"),
        (SECRET, RIGHT | {"adminUserName": "other"}, "Invalid admin"),
    ],
)
async def test_an_admin_page_is_refused_without_the_secret(secret: str, query: dict[str, str], error: str) -> None:
    async with site(extensions={"rmc_admin": secret}) as one:
        page = await one.connect("admin", **query)
        assert error in (await page.heard("admin"))[0]["error"]
        await page.socket.until(lambda: page.socket.ended)


async def test_wrong_secrets_of_an_address_are_counted() -> None:
    async with site(extensions={"rmc_admin": SECRET}, token_attempts=2) as one:
        # In one minute.
        one.worker.guesses = Guesses(2, MemoryAddressUsage(lambda: 0))
        for _ in range(3):
            await one.connect("admin", **RIGHT | {"adminPassword": "wrong"})
        page = await one.connect("admin", **RIGHT)
        assert "Invalid admin" in (await page.heard("admin"))[0]["error"]
        other = await one.connect("admin", address="10.2.2.2", **RIGHT)
        assert await other.heard("admin") == [{"connected": True}]


async def test_the_admin_page_sees_rooms_of_pages_and_ends_them() -> None:
    async with site(extensions={"rmc_admin": SECRET}) as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        await one.worker.rules.change("foreign", RuleChange(locked=True), create=True)
        admin = await one.connect("admin", **RIGHT)
        await admin.heard("admin")
        admin.emit("admin", {"all": True})
        (told,) = await admin.heard("admin")
        assert told["listOfUsers"] == 2
        assert told["listOfRooms"]["r"]["owner"] == "ann"
        assert told["listOfRooms"]["r"]["participants"] == ["ann", "ben"]
        assert await admin.ask("admin", {"userinfo": True, "userid": "ben"}) == [{"sessionid": "r"}]
        assert await admin.ask("admin", {"userinfo": True, "userid": "x"}) == [{"error": "User ID does not exist"}]
        assert await admin.ask("admin", {"clearLogs": True}) == [True]
        assert await admin.ask("admin", {"deleteUser": True, "userid": "x"}) == [False]
        assert await admin.ask("admin", {"deleteUser": True, "userid": "ben"}) == [True]
        await ben.socket.until(lambda: ben.socket.ended)
        assert await admin.ask("admin", {"deleteRoom": True, "roomid": "foreign"}) == [False]
        assert await admin.ask("admin", {"deleteRoom": True, "roomid": "r"}) == [True]
        await ann.socket.until(lambda: ann.socket.ended)
        admin.emit("open-room", {"sessionid": "s"})
        admin.emit("admin", 7)
        assert (await admin.heard("logs"))[0].startswith("bad_event")
