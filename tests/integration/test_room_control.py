"""Clients that have a say in a room, on two workers: over a connection, by HTTP, and by commands of operators."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import jwt
import pytest

from tests.conftest import MakeClient, new_prefix
from tests.fleet import ADMIN_TOKEN, Client, Json, Relay, eventually
from tests.integration.socketio import OverWebSocket

SECRET = "a-secret-of-the-tests-that-is-long-enough"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture(scope="module")
def fleet(redis_url: str) -> Iterator[list[Relay]]:
    """Two workers over one Redis, which read tokens, and where the first member owns a room."""
    settings = {"auth": "optional", "auth_secret": SECRET, "owner_rules": "on", "redis_prefix": new_prefix()}
    relays = [Relay(redis_url=redis_url, **settings) for _ in range(2)]
    try:
        for relay in relays:
            asyncio.run(relay.ready())
        yield relays
    finally:
        for relay in relays:
            relay.close()


def bearer(subject: str, *can: str, room: str = "*") -> dict[str, Any]:
    """The options of a connection with a token."""
    rights = ["join", "publish", "send-direct", "presence", *can]
    claims = {"sub": subject, "exp": time.time() + 60, "rooms": [{"room": room, "can": rights}]}
    return {"additional_headers": {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}}


async def request(relay: Relay, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.request(method, relay.http + path, json=body, headers=ADMIN, **options)


async def refusal(relay: Relay, path: str, **options: Any) -> str:
    """The code with which a client is refused, and told not to come back."""
    client = await Client.open(relay.ws + path, **options)
    assert await client.closed() == 4505
    return str(client.welcome["code"])


async def told(client: Client, kind: str) -> Json:
    return (await client.until(lambda event: event.get("type") == kind))[-1]


async def test_a_moderator_kicks_a_member_of_another_worker(fleet: list[Relay], enter: MakeClient) -> None:
    ann = await enter(fleet[0], "/rooms/kicking?peer=ann&presence=1")
    troll = await enter(fleet[1], "/rooms/kicking", **bearer("troll"))
    moderator = await enter(fleet[0], "/rooms/elsewhere", **bearer("moderator", "kick"))
    answer = await moderator.ask({"type": "kick", "room": "kicking", "peer": "troll", "reason": "noise", "ban": 60})
    assert (answer["type"], answer["about"], answer["room"]) == ("done", "kick", "kicking")
    kicked = await told(ann, "kicked")
    assert (kicked["peer"], kicked["reason"]) == ("troll", "noise")
    assert (await ann.until(lambda event: event.get("left")))[-1]["left"] == ["troll"]
    assert await troll.closed() == 4506
    assert await refusal(fleet[0], "/rooms/kicking", **bearer("troll")) == "banned"
    # Nor does it come in by another door.
    assert await refusal(fleet[1], "/rooms/kicking?observe=messages", **bearer("troll", "observe")) == "banned"
    watching = await enter(fleet[1], "/rooms/kicking?observe=messages", **bearer("other", "observe"))
    for relay in fleet:
        headers = bearer("troll")["additional_headers"]
        async with httpx.AsyncClient(base_url=relay.http, headers=headers, timeout=10) as client:
            assert (await client.post("/rooms/kicking", json={"message": 1})).json()["error"]["code"] == "banned"
            body = {"rooms": ["kicking", "other"], "envelope": {"message": 1}}
            here, there = (await client.post("/publish", json=body)).json()["rooms"]
        assert (here["error"]["code"], "id" in there) == ("banned", True)
    await ann.ask({"message": 2})
    assert (await watching.next())["message"] == 2
    missing = await moderator.ask({"type": "kick", "room": "kicking", "peer": "troll"})
    assert missing["code"] == "no_such_peer"
    refused = await ann.ask({"type": "move", "to": "other"})
    assert refused["code"] == "not_granted"


async def test_the_owner_locks_its_room_and_all_are_told(fleet: list[Relay], enter: MakeClient) -> None:
    ann = await enter(fleet[0], "/rooms/locking?peer=ann")
    ben = await enter(fleet[1], "/rooms/locking?peer=ben")
    assert (await ben.ask({"type": "rules"}))["rules"]["owner"] == "ann"
    assert (await ben.ask({"type": "rules", "set": {"locked": True}}))["code"] == "not_owner"
    answer = await ann.ask({"type": "rules", "set": {"locked": True}})
    assert answer["rules"]["locked"]
    change = (await ben.until(lambda event: event.get("type") == "rules" and event["rules"]["locked"]))[-1]
    assert change["by"] == "ann"
    assert await refusal(fleet[1], "/rooms/locking?peer=late") == "room_locked"


async def test_a_room_is_closed_and_its_rules_are_forgotten(fleet: list[Relay], enter: MakeClient) -> None:
    members = [
        await enter(relay, f"/rooms/closing?peer={name}") for relay, name in zip(fleet, ("ann", "ben"), strict=True)
    ]
    assert (await request(fleet[0], "PUT", "/rooms/closing", {"max_members": 2})).status_code == 200
    answer = await request(fleet[1], "DELETE", "/rooms/closing?reason=night")
    assert answer.json() == {"room": "closing", "members": 2}
    for member in members:
        assert (await told(member, "closed"))["reason"] == "night"
        assert await member.closed() == 4507
    described = (await request(fleet[0], "GET", "/rooms/closing")).json()
    assert (described["count"], described["rules"]["max_members"]) == (0, None)


async def test_members_are_sent_to_another_room(fleet: list[Relay], enter: MakeClient) -> None:
    ann = await enter(fleet[0], "/rooms/moving?peer=ann")
    ben = await enter(fleet[1], "/rooms/moving?peer=ben")
    # A client of relay.v1 decides itself whether it goes.
    eve = await enter(fleet[1], "/rooms/moving?peer=eve", resume="a-key-of-her-own")
    answer = await request(fleet[0], "POST", "/rooms/moving/move", {"to": "next", "peers": ["ben", "eve"]})
    assert answer.json() == {"room": "moving", "to": "next", "moved": 2}
    for member in (ben, eve):
        assert (await told(member, "move"))["to"] == "next"
    await eventually(lambda: has_members(fleet[1], "next", ["ben"]))
    assert await has_members(fleet[0], "moving", ["ann", "eve"])
    assert not [event for event in await ann.all_up_to_now() if event.get("type") == "move"]


async def has_members(relay: Relay, room: str, peers: list[str]) -> bool:
    return [one["peer"] for one in (await relay.describe(room))["members"]] == peers


async def test_a_socket_io_client_has_a_say_and_hears_of_it(fleet: list[Relay], enter: MakeClient) -> None:
    ann = await enter(fleet[0], "/rooms/socketio?peer=ann")
    token = bearer("mod", "lock", "kick")["additional_headers"]["Authorization"].removeprefix("Bearer ")
    client = await OverWebSocket.open(fleet[1], "/rooms/socketio")
    try:
        await client.enter(token=token)
        await client.emit("relay:rules", {"max_members": 5})
        assert (await told(ann, "rules"))["by"] == "mod"
        name, change = client._read(await client.next(), "42")
        assert (name, change["rules"]["max_members"], change["by"]) == ("relay:rules", 5, "mod")
        await client.emit("relay:kick", {"peer": "ann", "reason": "bye"})
        assert await ann.closed() == 4506
        name, kicked = client._read(await client.next(), "42")
        assert (name, kicked) == ("relay:kicked", {"room": "socketio", "peer": "ann", "reason": "bye"})
        # The owner has left: the room is handed over.
        name, change = client._read(await client.next(), "42")
        assert (name, change["rules"]["owner"]) == ("relay:rules", "mod")
        assert (await client.ask("relay:kick", {"peer": "ann"}))["error"]["code"] == "no_such_peer"
    finally:
        client.lose()


async def test_rooms_are_made_with_rules_and_published_to(fleet: list[Relay], enter: MakeClient) -> None:
    rooms = [{"room": "one", "rules": {"password": "secret-word"}}, {"room": "two"}, {"room": "metrics"}]
    made = (await request(fleet[0], "POST", "/rooms", {"rooms": rooms})).json()["rooms"]
    assert [one.get("error", {}).get("code") for one in made] == [None, None, "bad_room"]
    assert made[0]["rules"]["password"] is True
    assert await refusal(fleet[1], "/rooms/one") == "password_required"
    ann = await enter(fleet[1], "/rooms/two?peer=ann")
    body = {"rooms": ["two", "empty", "metrics"], "envelope": {"n": 1}}
    sent = (await request(fleet[0], "POST", "/publish", body)).json()["rooms"]
    assert [one.get("error", {}).get("code") for one in sent] == [None, None, "bad_room"]
    message = await ann.next()
    assert (message["n"], message["from"], message["id"]) == (1, "$server", sent[0]["id"])


async def test_a_subject_is_found_on_all_workers_until_it_leaves(fleet: list[Relay], enter: MakeClient) -> None:
    first = await enter(fleet[0], "/rooms/room-b?peer=user-1", **bearer("user-*"))
    await enter(fleet[1], "/rooms/room-a?peer=user-2", **bearer("user-*"))
    await enter(fleet[1], "/rooms/room-a?peer=nobody")

    async def places() -> list[tuple[str, str]]:
        answer = (await request(fleet[0], "GET", "/subjects/user-*")).json()
        assert not answer["more"]
        return [(one["room"], one["peer"]) for one in answer["places"]]

    assert await places() == [("room-a", "user-2"), ("room-b", "user-1")]
    await first.close()

    async def first_is_gone() -> bool:
        return await places() == [("room-a", "user-2")]

    await eventually(first_is_gone)


async def test_rooms_are_listed_by_prefix_over_all_workers(fleet: list[Relay], enter: MakeClient) -> None:
    for number, room in enumerate(["list%20a", "list%20b", "list%20c", "other"]):
        await enter(fleet[number % 2], f"/rooms/{room}?peer=p{number}")
    await enter(fleet[0], "/rooms/list%20b?peer=q")
    first = (await request(fleet[0], "GET", "/rooms?prefix=list%20&limit=2")).json()
    assert first["rooms"] == [{"room": "list%20a", "members": 1}, {"room": "list%20b", "members": 2}]
    rest = await request(fleet[1], "GET", "/rooms", params={"prefix": "list ", "limit": 2, "cursor": first["next"]})
    assert (rest.json()["rooms"], rest.json()["next"]) == ([{"room": "list%20c", "members": 1}], None)


async def test_operators_act_by_commands(fleet: list[Relay], enter: MakeClient) -> None:
    ann = await enter(fleet[0], "/rooms/main%20hall?peer=ann")
    ben = await enter(fleet[1], "/rooms/main%20hall?peer=ben")

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", *arguments, "--url", fleet[1].http,
            env=os.environ | {"RELAY_ADMIN_TOKEN": ADMIN_TOKEN},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return out.decode()

    assert await run("lock", "main hall") == "'main hall' is locked\n"
    assert await refusal(fleet[0], "/rooms/main%20hall?peer=late") == "room_locked"
    assert await run("kick", "main hall", "ann") == "ann is out of 'main hall'\n"
    assert await ann.closed() == 4506
    assert (
        await run("close", "main hall", "--reason", "late") == "'main hall' is closed; members that were put out: 1\n"
    )
    assert (await told(ben, "closed"))["reason"] == "late"
    assert "no member of the room" in await run("kick", "main hall", "ann")
