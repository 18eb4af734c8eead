"""The Python client with tokens, and with the rules of rooms, on real workers."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from relay.client import (
    Closed,
    Joined,
    Left,
    MemberKicked,
    MoveAsked,
    NewRules,
    Rejected,
    Room,
    RoomEnded,
    RuleChange,
    join,
)
from relay.client.token import Token
from tests.conftest import MakeFleet
from tests.documentation import snippet
from tests.fleet import Relay, eventually
from tests.integration.test_readme import running
from tests.tokens import SECRET, token

ALL = [{"room": "*", "can": ["join", "publish", "send-direct", "presence", "kick", "lock", "close", "move"]}]
MEMBER = [{"room": "*"}]


@pytest.fixture
async def fleet(fleet_of: MakeFleet) -> list[Relay]:
    """Two workers that ask for tokens."""
    return await fleet_of(2, auth="required", auth_secret=SECRET, auth_leeway=0)


def asked(*tokens: str) -> tuple[list[str], Callable[[], str]]:
    """Return a list of the tokens that were handed out, and a function that hands them out."""
    given: list[str] = []

    def give() -> str:
        given.append(tokens[min(len(given), len(tokens) - 1)])
        return given[-1]

    return given, give


async def test_a_function_renews_the_token_and_a_text_expires(fleet: list[Relay]) -> None:
    claims = {"sub": "ann-*", "rooms": MEMBER}
    given, give = asked(token(ttl=3, **claims), token(**claims))

    async def renewed() -> None:
        async with join(fleet[0].ws, "r", token=give) as room:
            assert room.peer.startswith("ann-")
            await eventually(lambda: len(given) == 2)
            # Commands are served one after the other: now the relay has the new token.
            await room.send({"n": 1})
            assert room.reconnects == 0

    async def expired() -> None:
        async with join(fleet[1].ws, "another", token=token(ttl=3, **claims)) as room:
            with pytest.raises(Closed, match="token_expired"):
                await anext(room)

    await asyncio.gather(renewed(), expired())


async def test_a_client_that_is_refused_says_why(fleet: list[Relay]) -> None:
    refused: dict[str, tuple[Token, str]] = {
        "token_required": ("", ""),
        "bad_token": (lambda: "no.token.at-all", ""),
        "token_expired": (lambda: token(ttl=-60, rooms=MEMBER), ""),
        "not_granted": (lambda: token(rooms=["other"]), ""),
        "wrong_peer": (lambda: token(sub="ann", rooms=MEMBER), "ben"),
    }

    async def check(code: str, given: Token, peer: str) -> None:
        with pytest.raises(Closed) as raised:
            async with join(fleet[0].ws, "r", peer=peer, token=given):
                pass
        assert raised.value.code == code

    await asyncio.gather(*[check(code, given, peer) for code, (given, peer) in refused.items()])


async def of(room: Room, kind: type) -> object:
    """Return the next event of a kind."""
    async for event in room:
        if isinstance(event, kind):
            return event
    raise AssertionError("the loop ended")


async def test_a_client_with_a_say_locks_kicks_moves_and_closes(fleet: list[Relay]) -> None:
    def enter(worker: int, peer: str, can: Sequence[object], password: str = "") -> Room:
        given = token(sub=peer, rooms=can)
        return join(fleet[worker].ws, "r", presence=True, token=lambda: given, password=password)

    async with enter(0, "ann", ALL) as ann, enter(1, "ben", MEMBER) as ben:
        await of(ann, Joined)
        with pytest.raises(Rejected, match=r"not_granted|not_owner"):
            await ben.lock()
        await ann.lock()
        event = await of(ben, NewRules)
        assert isinstance(event, NewRules)
        assert (event.rules.locked, event.by) == (True, "ann")
        with pytest.raises(Closed, match="room_locked"):
            await enter(0, "eve", MEMBER).__aenter__()
        rules = await ann.set_rules(RuleChange(locked=False, password="hall é", max_members=8))
        assert (rules.locked, rules.password, rules.max_members) == (False, True, 8)
        assert await ben.rules() == rules
        for password, code in (("", "password_required"), ("hall", "bad_password")):
            with pytest.raises(Closed, match=code):
                await enter(1, "eve", MEMBER, password).__aenter__()
        async with enter(1, "eve", MEMBER, "hall é") as eve:
            await ann.move("other hall", ["eve"])
            assert await of(eve, MoveAsked) == MoveAsked("other hall")
            assert await ann.kick("eve", reason="rude", ban=60) == 1
            assert await of(ben, MemberKicked) == MemberKicked("eve", "rude")
            assert await of(ben, Left) == Left("eve")
            with pytest.raises(Closed, match=r"kicked: .*rude"):
                await of(eve, Closed)
        with pytest.raises(Closed, match="banned"):
            await enter(0, "eve", MEMBER, "hall é").__aenter__()
        await ann.close_room(reason="late")
        for room in (ann, ben):
            assert await of(room, RoomEnded) == RoomEnded("late")
            with pytest.raises(Closed, match=r"room_closed: .*late"):
                await anext(room)


async def test_the_program_of_the_page(fleet: list[Relay], tmp_path: Path) -> None:
    (tmp_path / "carol.token").write_text(token(sub="carol", rooms=ALL) + "\n")
    async with running(snippet("token-program"), fleet[0], tmp_path) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"in the room as carol\n"
        async with (
            join(fleet[1].ws, "demo", token=token(rooms=MEMBER)),
            join(fleet[1].ws, "demo", token=token(rooms=MEMBER)),
        ):
            assert await process.stdout.readline() == b"locked: True\n"
