"""Changing infos of members, over memory."""

import pytest

from relay.model.errors import REPLACED, OutcomeUnknown, Refused, Replaced, Unavailable
from tests.unit.rooms.world import World

INFO, OTHER = b'{"a":1}', b'{"b":2}'


async def test_a_member_joins_with_an_info_and_changes_it(world: World) -> None:
    member = await world.join("a", info=INFO)
    assert world.entries()["a"].info == member.info == INFO
    await world.infos.change(member, OTHER)
    assert world.entries()["a"].info == member.info == OTHER


async def test_a_member_that_resumes_without_an_info_keeps_the_one_it_had(world: World) -> None:
    first = await world.join("a", info=INFO)
    again = await world.join("a", offered=first.connection.sent[0]["resume"])
    assert again.info == INFO
    last = await world.join("a", offered=again.connection.sent[0]["resume"], info=OTHER)
    assert world.entries()["a"].info == last.info == OTHER


async def test_changes_have_a_rate_of_their_own(world: World) -> None:
    member, other = await world.join("a"), await world.join("b")
    for number in range(5):
        await world.infos.change(member, b'{"n":%d}' % number)
    with pytest.raises(Refused) as refused:
        await world.infos.change(member, INFO)
    assert (refused.value.code, refused.value.detail) == ("too_fast", {"room": "room"})
    assert world.entries()["a"].info == member.info == b'{"n":4}'
    await world.infos.change(other, INFO)
    world.now += 1
    await world.infos.change(member, INFO)
    assert world.entries()["a"].info == INFO


async def test_an_entry_that_was_lost_is_written_anew_with_the_info(world: World) -> None:
    member = await world.join("a", info=INFO)
    del world.entries()["a"]
    await world.infos.change(member, OTHER)
    assert world.entries()["a"].info == OTHER
    del world.entries()["a"]
    await world.announce()
    assert world.entries()["a"].info == OTHER


async def test_a_member_that_was_taken_over_is_closed(world: World) -> None:
    member = await world.join("a", info=INFO)
    world.entries()["a"].generation += 1
    with pytest.raises(Replaced):
        await world.infos.change(member, OTHER)
    assert member.connection.reason is REPLACED
    assert world.entries()["a"].info == INFO


async def test_a_change_that_redis_refused_is_not_announced_later(world: World) -> None:
    member = await world.join("a", info=INFO)
    world.presence.before["change"] = [Unavailable()]
    with pytest.raises(Unavailable):
        await world.infos.change(member, OTHER)
    assert world.entries()["a"].info == member.info == INFO


async def test_a_change_without_an_answer_is_not_undone_by_an_announcement(world: World) -> None:
    member = await world.join("a", info=INFO)
    world.presence.after["change"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.infos.change(member, OTHER)
    await world.announce()
    assert world.entries()["a"].info == OTHER


async def test_an_announcement_meanwhile_brings_no_old_info_back(world: World) -> None:
    member = await world.join("a", info=INFO)
    world.presence.meanwhile["change"] = world.announce
    await world.infos.change(member, OTHER)
    assert world.entries()["a"].info == OTHER
