"""The statements of docs/protocol.md to authors of clients, one by one."""

import asyncio
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, RedisServer, Relay

Json = dict[str, Any]
Pair = tuple[Relay, Relay]


_numbers = itertools.count()


@pytest.fixture(scope="module", params=["one in memory", "two over Redis"])
def relays(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Pair]:
    """Two relays that a client may come to: one in memory, or two workers over Redis; no test stops or changes them."""
    settings: Json = {"reconnect_grace": 10, "worker_lease": 5}
    if request.param == "two over Redis":
        settings |= {"redis_url": redis_server.url, "redis_prefix": f"relay:protocol{os.getpid()}"}
    running = [Relay(**settings) for _ in range(2 if "redis_url" in settings else 1)]
    for relay in running:
        asyncio.run(relay.ready())
    yield running[0], running[-1]
    for relay in running:
        relay.close()


@pytest.fixture
def room() -> str:
    """The path of a new room."""
    return f"/rooms/room-{next(_numbers)}"


def seq(frame: Json) -> int:
    return int(frame["id"].split("-")[1])


async def lost(client: Client) -> None:
    """Lose a connection without a close frame."""
    client.lose()
    await client.socket.wait_closed()


# Joining.


async def test_a_key_of_ones_own_proves_who_joined_when_the_first_welcome_was_lost(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    first = await enter(relays[0], f"{room}?peer=a", resume="own-key_0123456789abcd")
    assert (first.welcome["resumed"], first.welcome["first"]) == (False, True)
    await lost(first)
    bob = await enter(relays[0], f"{room}?peer=bob")
    await bob.ask({"message": "meanwhile"})
    again = await enter(relays[1], f"{room}?peer=a", resume="own-key_0123456789abcd")
    assert (again.welcome["resumed"], again.welcome["first"]) == (True, True)
    # Without `since`, the client begins at its welcome.
    assert "recovered" not in again.welcome
    await bob.ask({"message": "now"})
    assert (await again.next())["message"] == "now"


async def test_a_peer_id_in_use_is_refused_and_the_error_says_whether_it_is_held(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    first = await enter(relays[0], f"{room}?peer=a")
    other = await enter(relays[1], f"{room}?peer=a", resume="of-someone-else", welcome=False)
    error = await other.next()
    assert (error["code"], error["about"], error.get("held", False)) == ("peer_taken", "join", False)
    watcher = await enter(relays[1], f"{room}?peer=w&presence=1")
    await lost(first)

    async def is_held() -> bool:
        return {"peer": "a", "held": True} in (await watcher.ask({"type": "presence"}))["members"]

    while not await is_held():
        await asyncio.sleep(0.02)
    other = await enter(relays[1], f"{room}?peer=a", welcome=False)
    error = await other.next()
    assert (error["code"], error["held"]) == ("peer_taken", True)


async def test_frames_that_are_sent_before_the_welcome_are_served_after_it(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    client = await enter(relays[0], f"{room}?peer=a", welcome=False)
    await client.send({"message": 1, "key": "one"})
    await client.send({"type": "join", "room": "other"})
    await client.send({"type": "publish", "room": "other", "envelope": {"message": 2}, "key": "two"})
    frames = [await client.next() for _ in range(4)]
    assert [frame["type"] for frame in frames if frame.get("key") != "one"] == ["welcome", "welcome", "ack"]
    assert {"one", "two"} == {frame["key"] for frame in frames if frame["type"] == "ack"}


# Ids.


async def test_the_ids_that_one_client_does_not_see(relays: Pair, enter: MakeClient, room: str) -> None:
    a = await enter(relays[0], f"{room}?peer=a&channel=mine")
    b = await enter(relays[1], f"{room}?peer=b&presence=1")
    for number, message in enumerate(
        ({"message": 1, "channel": "other"}, {"message": 2, "to": "b", "channel": "mine"}, {"message": 3}), start=1
    ):
        await a.send(message)
        assert seq(await b.next()) == seq(b.welcome) + number
    c = await enter(relays[0], f"{room}?peer=c")
    assert (await b.next())["joined"] == ["c"]
    await lost(c)
    await enter(relays[1], f"{room}?peer=c", resume=c.welcome["resume"])
    assert (await b.ask({"type": "info", "info": {"name": "Ben"}}))["type"] == "info"
    answer = await b.ask({"message": "seen", "channel": "mine"})
    # Three messages, a join, a return, an info, and this message, which is all that a gets.
    assert seq(answer) == seq(b.welcome) + 7
    assert (await a.next())["id"] == answer["id"]


async def test_the_ack_of_a_repeat_has_the_first_id_and_a_list_elsewhere_none(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    a = await enter(relays[0], f"{room}?peer=a")
    first = await a.ask({"message": 1, "key": "k"})
    second = await a.ask({"message": 2})
    again = await a.ask({"message": 1, "key": "k"})
    assert again == first
    assert seq(again) < seq(second)
    elsewhere = await a.ask({"type": "presence", "room": "elsewhere"})
    assert (elsewhere["id"], elsewhere["present"], elsewhere["members"]) == ("0-0", False, [])


async def test_a_position_that_the_room_has_not_reached_changes_nothing(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    a = await enter(relays[0], f"{room}?peer=a")
    epoch, number = a.welcome["id"].split("-")
    await lost(a)
    ahead = f"{epoch}-{int(number) + 1000}"
    again = await enter(relays[1], f"{room}?peer=a&since={ahead}", resume=a.welcome["resume"])
    assert (again.welcome["recovered"], again.welcome["reason"]) == (False, "epoch")
    assert again.welcome["id"] == f"{epoch}-{int(number) + 1}"
    stranger = await enter(relays[0], f"{room}?peer=s&since={ahead}")
    assert (stranger.welcome["recovered"], stranger.welcome["id"]) == (False, f"{epoch}-{int(number) + 2}")


async def test_with_previous_each_frame_names_the_position_before_it(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    query = "peer=a&presence=1&previous=1"
    a = await enter(relays[0], f"{room}?{query}")
    b = await enter(relays[1], f"{room}?peer=b&channel=c")
    position = a.welcome["id"]
    assert "previous" not in a.welcome

    def follow(frames: list[Json]) -> None:
        nonlocal position
        for frame in frames:
            if "id" in frame:
                assert frame["previous"] == position, frame
                position = frame["id"]

    follow([await a.next()])
    await b.ask({"message": "not for a", "to": "b"})
    await b.ask({"message": 1, "previous": "mine"})
    await a.send({"message": 2, "key": "k"})
    await a.send({"type": "ping", "key": "p"})
    await a.send({"type": "presence", "key": "l"})
    frames = [await a.next() for _ in range(4)]
    assert {frame.get("type") for frame in frames} == {None, "ack", "pong", "presence"}
    follow(frames)
    # Another room has a position of its own.
    welcome = await a.ask({"type": "join", "room": "s"})
    assert "previous" not in welcome
    answer = await a.ask({"type": "publish", "room": "s", "envelope": {"message": 3}, "key": "s"})
    assert answer["previous"] == welcome["id"]
    await lost(a)
    await b.ask({"message": "meanwhile"})
    a = await enter(relays[1], f"{room}?{query}&since={position}", resume=a.welcome["resume"])
    assert a.welcome["id"] == position
    follow(await a.until(lambda frame: frame.get("type") == "recovered"))
    await b.send({"message": "live"})
    follow([await a.next()])
    # Others share frames without the field.
    await a.send({"message": "to b", "channel": "c"})
    assert "previous" not in await b.next()


async def test_previous_is_a_flag(relays: Pair, enter: MakeClient, room: str) -> None:
    refused = await enter(relays[0], f"{room}?previous=5", welcome=False)
    assert (await refused.next())["code"] == "bad_query"
    off = await enter(relays[0], f"{room}?previous=0")
    assert "previous" not in await off.ask({"type": "ping"})


# Acknowledgements.


async def test_the_key_of_a_publish_is_beside_the_envelope_or_in_it(relays: Pair, enter: MakeClient, room: str) -> None:
    a = await enter(relays[0], f"{room}?peer=a")
    for command in (
        {"type": "publish", "key": "beside", "envelope": {"message": 1}},
        {"type": "publish", "envelope": {"message": 1, "key": "inside"}},
        {"type": "publish", "key": "both", "envelope": {"message": 1, "key": "both"}},
    ):
        await a.send(command)
        answer = await a.next()
        assert answer["type"] == "ack"
        assert answer["key"] == command.get("key", "inside")
    answer = await a.ask({"type": "publish", "key": "one", "envelope": {"message": 1, "key": "another"}})
    assert (answer["code"], answer["key"]) == ("bad_command", "one")


async def test_a_key_that_is_no_text_is_refused_and_cannot_be_repeated(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    a = await enter(relays[0], f"{room}?peer=a")
    for frame, code in (
        ({"message": 1, "key": 5}, "bad_envelope"),
        ({"type": "publish", "envelope": {"key": 5}}, "bad_envelope"),
        ({"type": "publish", "key": 5, "envelope": {}}, "bad_command"),
        ({"type": "ping", "key": 5}, "bad_command"),
    ):
        await a.send(frame)
        answer = await a.next()
        assert (answer["type"], answer["code"], "key" in answer) == ("error", code, False)
    # No key at all: no answer.
    await a.send({"message": 1, "key": ""})
    await a.send({"type": "ping"})
    assert (await a.next())["type"] == "pong"


async def test_after_in_an_envelope_is_the_clients_own(relays: Pair, enter: MakeClient, room: str) -> None:
    a = await enter(relays[0], f"{room}?peer=a")
    b = await enter(relays[1], f"{room}?peer=b")
    assert (await a.ask({"message": 1, "after": "unknown", "key": "k"}))["type"] == "ack"
    assert (await b.next())["after"] == "unknown"
    command = {"type": "publish", "envelope": {"message": 2, "after": "unknown"}, "key": "l", "after": "k"}
    assert (await a.ask(command))["type"] == "ack"
    # `after` means a key of this client only.
    assert (await b.ask({"type": "publish", "envelope": {}, "key": "m", "after": "k"}))["code"] == "out_of_order"


async def test_keys_are_forgotten_in_a_new_epoch(
    start: MakeRelay, enter: MakeClient, redis_server: RedisServer, prefix: str
) -> None:
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix)
    a = await enter(relay, "/rooms/r?peer=a")
    b = await enter(relay, "/rooms/r?peer=b")
    first = await a.ask({"message": 1, "key": "k"})
    await b.next()
    with redis_server.client as client:
        client.delete(*client.scan_iter(f"{prefix}:{{r}}:*"))
    # Some event makes the worker notice.
    answers = [await a.ask({"message": number, "key": f"n{number}"}) for number in range(2)]
    again = await a.ask({"message": 1, "key": "k"})
    assert again["type"] == "ack"
    assert again["id"].split("-")[0] == answers[-1]["id"].split("-")[0] != first["id"].split("-")[0]
    frames = await b.until(lambda frame: frame.get("message") == 1 and frame["id"] == again["id"])
    assert [frame["reason"] for frame in frames if frame.get("code") == "messages_lost"] == ["epoch"]


# Presence and resuming.


async def test_a_list_and_a_change_are_told_apart_and_a_client_is_in_lists_alone(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    a = await enter(relays[0], f"{room}?peer=a&presence=1")
    assert a.welcome["members"] == [{"peer": "a"}]
    b = await enter(relays[1], f"{room}?peer=b&presence=1")
    change = await a.next()
    assert change["joined"] == ["b"]
    assert "members" not in change
    for client in (a, b):
        answer = await client.ask({"type": "presence"})
        assert [member["peer"] for member in answer["members"]] == ["a", "b"]
        assert "joined" not in answer
        assert "left" not in answer


async def test_the_members_of_a_recovered_welcome_are_newer_than_the_events_that_follow(
    relays: Pair, enter: MakeClient, room: str
) -> None:
    a = await enter(relays[0], f"{room}?peer=a&presence=1")
    b = await enter(relays[1], f"{room}?peer=b")
    since = (await a.next())["id"]
    await lost(a)
    assert (await b.ask({"type": "leave"}))["type"] == "left"
    for peer in ("c", "d"):
        client = await enter(relays[1], f"{room}?peer={peer}")
        await client.ask({"message": peer})
        if peer == "c":
            assert (await client.ask({"type": "leave"}))["type"] == "left"
    a = await enter(relays[1], f"{room}?peer=a&presence=1&since={since}", resume=a.welcome["resume"])
    assert (a.welcome["recovered"], a.welcome["id"]) == (True, since)
    listed = {member["peer"] for member in a.welcome["members"]}
    assert listed == {"a", "d"}
    frames = await a.until(lambda frame: frame.get("type") == "recovered")
    changes = [(frame["left"], frame["joined"]) for frame in frames if frame.get("type") == "presence"]
    assert changes == [(["b"], []), ([], ["c"]), (["c"], []), ([], ["d"])]
    assert frames[-1]["replayed"] == 2
    for known in ({"a", "b"}, listed):
        for left, joined in changes:
            known = (known - set(left)) | set(joined)
        assert known == {"a", "d"}


async def test_an_attempt_is_given_up_without_leaving(relays: Pair, enter: MakeClient, room: str) -> None:
    watcher = await enter(relays[0], f"{room}?peer=w&presence=1")
    for code, held in ((4000, True), (3000, True), (1000, False), (1001, False)):
        client = await enter(relays[1], f"{room}?peer=a")
        assert (await watcher.next())["joined"] == ["a"]
        await client.socket.close(code)
        if held:
            again = await enter(relays[0], f"{room}?peer=a", resume=client.welcome["resume"])
            assert again.welcome["resumed"]
            await again.socket.close(1000)
        assert (await watcher.next())["left"] == ["a"]


# Socket.IO.


async def test_a_socketio_listener_gets_the_envelope_as_it_was_sent_and_an_offset_that_names_the_room(
    relays: Pair, enter: MakeClient
) -> None:
    listener = await enter(relays[0], "/socket.io/?EIO=4&transport=websocket&room=main%20hall%2F2", welcome=False)
    assert (await listener.raw()).startswith("0{")
    await listener.send("40")
    assert (await listener.raw()).startswith("40{")
    a = await enter(relays[1], "/rooms/main%20hall%2F2?peer=a&echo=1")
    await a.send({"message": "hello", "to": None})
    message = await a.next()
    assert json.loads((await listener.raw()).removeprefix("42")) == ["message", {"message": "hello", "to": None}]
    offset = json.loads((await listener.raw()).removeprefix("42"))
    assert offset == ["relay:position", f"{message['id']}@main%20hall%2F2"]
