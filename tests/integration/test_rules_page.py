"""The statements of docs/room-rules.md about passwords, owners and closed rooms."""

import base64
from typing import Any

import httpx2 as httpx
from websockets.asyncio.client import connect

from relay.model.rules import RuleChange
from tests.conftest import MakeClient, MakeRelay
from tests.documentation import marked, rows
from tests.fleet import Client
from tests.tokens import SECRET, token

PAGE = "docs/room-rules.md"


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**claims)}"}


WATCHING = [{"room": "a", "can": ["observe"]}]


def test_the_rules_are_those_of_the_code() -> None:
    assert [cells[0].strip("`") for cells in rows(marked(PAGE, "rules"))] == [*RuleChange.__struct_fields__]


async def test_passwords_owners_and_closed_rooms(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(owner_rules="on", closed_rooms="on", auth="optional", auth_secret=SECRET)

    # A room is made over HTTP, or by a token with rules for it.
    nobody = await enter(relay, "/rooms/a")
    assert (nobody.welcome["code"], await nobody.closed()) == ("no_such_room", 4505)
    # To publish makes none, also where somebody watches it.
    watcher = await enter(relay, "/rooms/a?observe=messages", additional_headers=bearer(sub="eve", rooms=WATCHING))
    async with httpx.AsyncClient(base_url=relay.http, headers=bearer(sub="eve", rooms=["a"])) as eve:
        assert (await eve.post("/rooms/a", json={"message": 1})).json()["error"]["code"] == "no_such_room"
        body = {"rooms": ["a"], "envelope": {"message": 1}}
        assert (await eve.post("/publish", json=body)).json()["rooms"][0]["error"]["code"] == "no_such_room"
        await watcher.close()
    async with httpx.AsyncClient(base_url=relay.http, headers=relay.authorised) as server:
        made = await server.put("/rooms/a", json={"password": "hunter2 \u2603"})
        assert (made.status_code, made.json()["rules"]["password"]) == (200, True)
    opening = [{"room": "b", "rules": {"max_members": 3}}]
    ann = await enter(relay, "/rooms/b?peer=ann", additional_headers=bearer(rooms=opening))

    # The password comes with the join.
    for headers, code in (({}, "password_required"), ({"Relay-Password": "hunter3"}, "bad_password")):
        refused = await enter(relay, "/rooms/a", additional_headers=headers)
        assert (refused.welcome["code"], await refused.closed()) == (code, 4505)
    ben = await enter(relay, "/rooms/b?peer=ben")
    assert (await ben.ask({"type": "join", "room": "a", "password": "hunter2 \u2603"}))["type"] == "welcome"
    text = base64.urlsafe_b64encode("hunter2 \u2603".encode()).decode().rstrip("=")
    offered = ["relay.v1", f"password.{text}"]
    async with connect(f"{relay.ws}/rooms/a", subprotocols=offered, proxy=None) as socket:
        assert (await Client(socket).next())["type"] == "welcome"
    assert "hunter" not in relay.logged

    # The first member owns the room, and the eldest one after it.
    cyd = await enter(relay, "/rooms/b?peer=cyd")
    assert (await enter(relay, "/rooms/b")).welcome["code"] == "room_full"
    assert (await ben.ask({"type": "rules", "set": {"locked": True}}))["code"] == "not_owner"
    assert (await ann.ask({"type": "rules", "set": {"locked": True}}))["rules"]["owner"] == "ann"
    await ann.close()
    await cyd.until(lambda event: event.get("rules", {}).get("owner") == "ben")
    assert (await ben.ask({"type": "kick", "peer": "cyd"}))["count"] == 1
    assert await cyd.closed() == 4506

    # A room that is closed is no room any more.
    async with httpx.AsyncClient(base_url=relay.http, headers=relay.authorised) as server:
        assert (await server.delete("/rooms/b")).json()["members"] == 1
        assert await ben.closed() == 4507
        assert (await enter(relay, "/rooms/b")).welcome["code"] == "no_such_room"
        await server.put("/rooms/b", json={})
    async with httpx.AsyncClient(base_url=relay.http, headers=bearer(sub="eve", rooms=["b"])) as eve:
        assert (await eve.post("/rooms/b", json={"message": 1})).status_code == 200
