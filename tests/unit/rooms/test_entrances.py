"""Getting past the rules of a room: passwords, tokens, rooms that are closed."""

import pytest

from relay.backend.rules import Change
from relay.identity.grants import Grants, Right, RoomGrant
from relay.model.errors import ClientGone, Refused, Unavailable
from relay.model.rules import OpenRoom, RoomRules, RuleChange, Terms
from relay.rooms.claim import Claim
from relay.rooms.member import Member
from tests.unit.rooms.world import World

BOSS = Grants(subject="boss", rooms=(RoomGrant("room", frozenset({Right.JOIN, Right.LOCK})),))
HOST = Grants(subject="host", rooms=(RoomGrant("room", rules=RuleChange(max_members=2, password="geheim")),))
USER = Grants(subject="user", rooms=(RoomGrant("*"),))


async def enter(
    world: World,
    peer: str = "p",
    *,
    offered: str = "",
    grants: Grants | None = None,
    password: str = "",
    opens: bool | None = None,
    terms: Terms | None = None,
) -> Member:
    member = world.member(peer)
    claim = Claim(offered, address="1.2.3.4", grants=grants, password=password, opens=opens, terms=terms)
    await world.membership.join(member, claim, since=None)
    return member


async def code_of(world: World, peer: str = "stranger", **more: object) -> str:
    with pytest.raises(Refused) as refused:
        await enter(world, peer, **more)
    return refused.value.code


async def test_a_password_opens_the_room() -> None:
    world = World()
    first = await enter(world)
    await world.rules.change("room", RuleChange(password="geheim"))
    assert await code_of(world) == "password_required"
    assert await code_of(world, password="falsch") == "bad_password"
    await enter(world, "q", password="geheim")
    # A member that comes back needs none.
    world.membership.leave(first, hold=True)
    key = first.connection.sent[0]["resume"]
    await enter(world, "p", offered=key)
    await world.rules.change("room", RuleChange(password=""))
    await enter(world, "r")


async def test_wrong_passwords_are_counted_and_right_ones_are_not() -> None:
    world = World()
    await enter(world)
    await world.rules.change("room", RuleChange(password="geheim"))
    for number in range(5):
        await enter(world, f"q{number}", password="geheim")
    for _ in range(3):
        assert await code_of(world, password="falsch") == "bad_password"
    assert await code_of(world, password="geheim") == "too_many_attempts"


async def test_a_client_that_is_refused_for_another_reason_has_not_guessed() -> None:
    world = World()
    await enter(world)
    await world.rules.change("room", RuleChange(password="geheim", max_members=1))
    for _ in range(5):
        assert await code_of(world, password="geheim") == "room_full"


async def test_a_client_that_goes_while_its_password_is_checked_has_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await enter(world)
    await world.rules.change("room", RuleChange(password="geheim"))
    derive = world.passwords.derive

    async def derive_slowly(room: str, salt: str, password: str) -> str:
        member.connection.lost = True
        return await derive(room, salt, password)

    monkeypatch.setattr(world.passwords, "derive", derive_slowly)
    for number in range(3):
        member = world.member(f"q{number}")
        with pytest.raises(ClientGone):
            await world.membership.join(member, Claim("", address="1.2.3.4", password=f"falsch{number}"), since=None)
    assert await code_of(world, password="geheim") == "too_many_attempts"


async def test_the_token_of_the_client_that_opens_a_room_gives_it_rules() -> None:
    world = World()
    await enter(world, grants=HOST)
    assert await world.rules.get("room") == RoomRules(max_members=2, password=True)
    assert await code_of(world, grants=USER) == "password_required"
    await enter(world, "q", grants=HOST, password="geheim")


async def test_a_closed_relay_opens_rooms_for_few() -> None:
    world = World(closed=True)
    for grants in (None, USER):
        assert await code_of(world, grants=grants) == "no_such_room"
    await enter(world, "boss", grants=BOSS)
    await enter(world, "user", grants=USER)
    world = World(closed=True)
    await enter(world, "host", grants=HOST)
    world = World(closed=True)
    await world.rules.change("room", RuleChange(), create=True)
    await enter(world, "anybody")


async def test_a_subject_is_banned_under_every_peer_id() -> None:
    world = World()
    member = await enter(world, "bad", grants=USER)
    assert await world.rules.kick("room", "bad", ban=60)
    await world.settle()
    assert member.connection.reason.name == "kicked"
    assert await code_of(world, "other", grants=USER) == "banned"
    await enter(world, "other")


async def test_lost_rules_are_restored_before_anybody_comes_in() -> None:
    world = World()
    await enter(world)
    await world.rules.change("room", RuleChange(locked=True))
    await world.settle()
    world.backend.rules.clear()
    assert await code_of(world) == "room_locked"
    assert world.backend.rules["room"].locked


async def test_a_backend_that_takes_no_rules_back_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await enter(world)
    rules = await world.store.change("room", Change(set="l=1"))
    await world.settle()
    world.backend.rules.clear()
    monkeypatch.setattr(world.store, "_put", lambda room, rules: None)
    with pytest.raises(Unavailable):
        await enter(world, "stranger")
    assert world.copies.version("room") == rules.version


async def test_a_client_that_opens_a_room_gives_it_terms() -> None:
    world, terms = World(), Terms(password="geheim", max_members=2, attributes=b'{"session":{"data":true}}')
    await enter(world, "first", opens=True, terms=terms)
    room = await world.rules.open_room("room")
    assert room.rules == RoomRules(max_members=2, password=True, owner="first")
    assert (room.attributes, room.given) == (terms.attributes, True)
    assert await code_of(world, opens=True, terms=terms) == "room_exists"
    assert await code_of(world, opens=False) == "password_required"
    await enter(world, "second", opens=False, password="geheim")
    assert "geheim" not in repr(terms)


async def test_rules_of_a_token_come_before_the_terms_of_its_client() -> None:
    world, terms = World(), Terms(password="other", max_members=9, attributes=b'{"a":1}')
    await enter(world, "first", grants=HOST, opens=True, terms=terms)
    room = await world.rules.open_room("room")
    assert (room.rules.max_members, room.given, room.attributes) == (2, False, b'{"a":1}')
    assert await code_of(world, password="other", grants=USER) == "bad_password"
    await enter(world, "second", password="geheim", grants=USER)


async def test_a_room_that_nobody_has_opened_has_no_terms() -> None:
    world = World()
    assert await world.rules.open_room("room") == OpenRoom(rules=RoomRules())
    assert await code_of(world, opens=False) == "no_such_room"
