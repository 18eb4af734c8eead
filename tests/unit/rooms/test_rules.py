"""The facade: changes as the backend takes them, owners, and members that are put out."""

import time
from dataclasses import replace

import pytest

from relay.backend.rules import Change
from relay.identity.grants import ADMIN, Grants
from relay.metrics import Metrics
from relay.model.errors import Refused
from relay.model.rules import RoomRules, RuleChange
from relay.rooms.passwords import Passwords
from relay.rooms.rules import packed, stored_change, subject_mark, unpacked
from tests.unit.rooms.world import World


@pytest.mark.parametrize(
    ("change", "stored"),
    [
        (RuleChange(), Change()),
        (RuleChange(locked=True, history=False), Change(set="l=1 h=0")),
        (RuleChange(locked=False, history=True), Change(remove="l h")),
        (RuleChange(max_members=3, ttl=60), Change(set="m=3 t=60")),
        (RuleChange(owner="p"), Change(set="o=p", remove="e")),
        (RuleChange(owner="", password=""), Change(remove="s p o e")),
    ],
)
async def test_a_change_is_written(change: RuleChange, stored: Change) -> None:
    assert await stored_change("r", change, Passwords(attempts=1, clock=lambda: 0, metrics=Metrics())) == stored


async def test_a_password_is_not_written() -> None:
    passwords = Passwords(attempts=1, clock=lambda: 0, metrics=Metrics())
    change = await stored_change("r", RuleChange(password="geheim"), passwords)
    assert "geheim" not in change.set
    assert change == await stored_change("r", RuleChange(password="geheim"), passwords)


async def test_rules_are_asked_for_and_changed() -> None:
    world = World()
    assert await world.rules.get("room") == RoomRules()
    with pytest.raises(Refused, match="no_such_room"):
        await world.rules.change("room", RuleChange(locked=True))
    await world.join()
    assert await world.rules.change("room", RuleChange(locked=True)) == RoomRules(locked=True)
    assert await world.rules.get("room") == RoomRules(locked=True)
    assert world.metric("relay_rule_changes_total") == 1


async def test_the_owner_is_known_without_asking() -> None:
    world = World()
    await world.join()
    assert not world.rules.is_owner("room", "p")
    await world.rules.change("room", RuleChange(owner="p"))
    assert not world.rules.is_owner("elsewhere", "p")
    await world.settle()
    assert world.rules.is_owner("room", "p")
    assert not world.rules.is_owner("room", "")


async def test_an_owner_hands_the_room_over_and_its_heir_does_not_keep_it() -> None:
    world = World()
    await world.join("p")
    heir = await world.join("q")
    await world.rules.change("room", RuleChange(owner="q"), by="p")
    await world.membership.leave(heir, hold=False)
    assert (await world.rules.get("room")).owner == "p"


async def test_members_are_put_out_and_moved() -> None:
    world = World()
    members = [await world.join(peer) for peer in "pqr"]
    assert not await world.rules.kick("room", "absent")
    assert await world.rules.kick("room", "p", reason="noise")
    assert await world.rules.move("room", "other") == 2
    assert await world.rules.close("room", reason="over") == 2
    await world.settle()
    assert [member.connection.reason.name for member in members] == ["kicked", "room_closed", "room_closed"]
    assert world.metric("relay_kicks_total") == 3
    assert not world.rooms.names()


async def test_a_ban_is_of_a_subject_or_its_peer_id_and_not_of_a_server() -> None:
    world = World()
    now = round(time.time() * 1000)
    token = Grants(subject="ann", peers="ann")
    assert not await world.rules.is_banned("room", token, now)
    await world.join("p")
    for kicked in ({"peer": "ann"}, {"subject": "ann"}):
        await world.rules.kick("room", ban=60, **kicked)
        await world.settle()
        assert await world.rules.is_banned("room", token, now)
        assert not await world.rules.is_banned("room", token, now + 10**15)
        assert not await world.rules.is_banned("other", token, now)
        assert not await world.rules.is_banned("room", Grants(subject="bob", peers="bob"), now)
        assert not await world.rules.is_banned("room", replace(ADMIN, subject="ann"), now)


async def test_a_room_without_history_is_known_or_asked_for() -> None:
    world = World()
    assert await world.rules.keeps_history("room")
    await world.rules.change("room", RuleChange(history=False), create=True)
    assert not await world.rules.keeps_history("room")
    await world.join()
    assert not await world.rules.keeps_history("room")


def test_a_subject_has_a_mark_of_its_own() -> None:
    assert subject_mark("") == ""
    assert len({subject_mark("a"), subject_mark("b")}) == 2
    assert len(subject_mark("a" * 1000)) == 32


async def test_a_password_is_checked_without_a_join_and_wrong_ones_count() -> None:
    world = World()
    assert await world.rules.check_password("room", "geheim", "1.2.3.4") is None
    await world.join()
    await world.rules.change("room", RuleChange(password="geheim"))
    assert await world.rules.check_password("room", "geheim", "1.2.3.4") is True
    for _ in range(3):
        assert await world.rules.check_password("room", "falsch", "1.2.3.4") is False
    with pytest.raises(Refused, match="too_many_attempts"):
        await world.rules.check_password("room", "geheim", "1.2.3.4")


@pytest.mark.parametrize("attributes", [b"", b"{}", b'{"a":"\xff"}'])
def test_attributes_are_read_as_they_were_packed(attributes: bytes) -> None:
    assert unpacked(packed(attributes)) == attributes


def test_a_text_that_no_relay_has_packed_is_read_as_something_or_nothing() -> None:
    assert unpacked("\u00fc") == b""
