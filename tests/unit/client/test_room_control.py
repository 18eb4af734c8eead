"""The commands of a client that may control its room, and the answers."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from relay.client import (
    Closed,
    Left,
    MemberKicked,
    MoveAsked,
    NewRules,
    NotAcknowledged,
    Options,
    Rejected,
    RoomEnded,
    RoomRules,
    RuleChange,
    join,
    observe,
)
from tests.unit.client.script import Script, send, silent, welcome

QUICK = Options(connect_timeout=5, close_timeout=0.2)
RULES = {"max_members": None, "locked": True, "password": False, "ttl": None, "history": True, "owner": None, "new": 1}


def answering(received: list[Any], answers: Sequence[Any]) -> Any:
    """Return a part of a script that answers one command after the other."""

    async def part(socket: ServerConnection) -> None:
        await welcome(socket)
        for answer in answers:
            frame = json.loads(await socket.recv())
            received.append(frame)
            await send(socket, key=frame.pop("key"), **answer)
        await socket.wait_closed()

    return part


async def test_commands_and_their_answers(script: Script) -> None:
    received: list[Any] = []
    rules = {"type": "rules", "rules": RULES}
    done = {"type": "done", "about": "kick", "count": 1}
    script.parts = [answering(received, [rules, rules, rules, rules, done, done, done, done])]
    async with join(script.url, "r", options=QUICK) as room:
        assert await room.rules() == RoomRules(locked=True)
        assert await room.set_rules(RuleChange(max_members=2, password="")) == RoomRules(locked=True)
        await room.lock()
        await room.unlock()
        assert await room.kick("a", reason="rude", ban=60) == 1
        assert await room.move("main hall", ["a"]) == 1
        assert await room.move("b") == 1
        await room.close_room(reason="late")
    assert received == [
        {"type": "rules"},
        {"type": "rules", "set": {"max_members": 2, "password": ""}},
        {"type": "rules", "set": {"locked": True}},
        {"type": "rules", "set": {"locked": False}},
        {"type": "kick", "peer": "a", "reason": "rude", "ban": 60},
        {"type": "move", "to": "main%20hall", "peers": ["a"]},
        {"type": "move", "to": "b"},
        {"type": "close", "reason": "late"},
    ]
    with pytest.raises(Closed):
        await room.lock()


async def test_a_refusal_and_an_older_relay(script: Script) -> None:
    refusals = [{"type": "error", "code": code, "text": "no"} for code in ("not_granted", "unknown_command")]
    script.parts = [answering([], refusals)]
    async with join(script.url, "r", options=QUICK) as room:
        for refusal in refusals:
            with pytest.raises(Rejected, match=refusal["code"]):
                await room.lock()


async def test_without_an_answer_a_command_may_have_been_carried_out(script: Script) -> None:
    async def breaks(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.recv()
        socket.transport.abort()

    script.parts = [breaks, silent]
    async with join(script.url, "r", options=QUICK) as room:
        with pytest.raises(NotAcknowledged, match="may have been sent"):
            await room.kick("a")


async def test_events_about_the_room_are_reported_once(script: Script) -> None:
    notices: list[dict[str, Any]] = [
        {"type": "rules", "rules": RULES | {"owner": "a"}, "by": "a", "id": "1-2"},
        {"type": "rules", "rules": {}, "id": "1-3"},
        {"type": "rules", "rules": {}, "id": "1-3"},
        {"type": "kicked", "peer": "b", "reason": "rude", "id": "1-4"},
        {"type": "presence", "joined": [], "left": ["b"], "id": "1-5"},
        {"type": "move", "to": "main%20hall", "id": "1-6"},
        {"type": "ice", "iceServers": [], "ttl": 1},
        {"type": "of a later relay", "id": "1-7"},
    ]

    async def only(socket: ServerConnection) -> None:
        await welcome(socket, members=[{"peer": "b"}], count=1)
        for notice in notices:
            await send(socket, **notice)
        await socket.wait_closed()

    script.parts = [only]
    async with join(script.url, "r", presence=True, options=QUICK) as room:
        assert [await anext(room) for _ in range(5)] == [
            NewRules(RoomRules(locked=True, owner="a"), "a"),
            NewRules(RoomRules()),
            MemberKicked("b", "rude"),
            Left("b"),
            MoveAsked("main hall"),
        ]
        assert str(room.id) == "1-6"


@pytest.mark.parametrize(
    ("notice", "event", "closed"),
    [
        (
            {"type": "kicked", "peer": "me", "reason": "rude"},
            MemberKicked("me", "rude"),
            "kicked: the client was put out of the room, and should not come back: rude",
        ),
        ({"type": "closed"}, RoomEnded(), "room_closed: the room was closed"),
    ],
)
async def test_a_client_that_is_put_out_stays_away(
    script: Script, notice: dict[str, Any], event: object, closed: str
) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await send(socket, **notice, id="1-2")
        await socket.wait_closed()

    script.parts = [only]
    async with join(script.url, "r", options=QUICK) as room:
        assert await anext(room) == event
        with pytest.raises(Closed) as raised:
            await anext(room)
        assert str(raised.value) == closed
    assert len(script.requests) == 1


async def test_closing_the_room_is_done_when_this_client_is_put_out(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.recv()
        await send(socket, type="closed", reason="late", id="1-2")
        await socket.close(4507, "room_closed")

    script.parts = [only]
    async with join(script.url, "r", options=QUICK) as room:
        await room.close_room(reason="late")
        assert await anext(room) == RoomEnded("late")
        with pytest.raises(Closed, match="room_closed: the room was closed: late"):
            await anext(room)


async def test_an_observer_of_a_room_that_is_closed_goes_on(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await send(socket, type="welcome", observer=True, room="r", id="1-1", members=[], count=0)
        await send(socket, type="closed", reason="late", id="1-2")
        await send(socket, type="rules", rules={}, id="1-3")
        await socket.wait_closed()

    script.parts = [only]
    async with observe(script.url, "r", options=QUICK) as room:
        assert [await anext(room), await anext(room)] == [RoomEnded("late"), NewRules(RoomRules())]
