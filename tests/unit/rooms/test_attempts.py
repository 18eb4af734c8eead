"""Attempts over memory: keys, stamps and waits."""

import asyncio

import pytest

from relay.backend.memory.presence import MemoryPresence
from relay.backend.presence import JoinAttempt, LeaseName, PresenceEntry
from relay.backend.settings import RoomSettings
from relay.backend.stamps import Stamp
from relay.identity.grants import Grants
from relay.model.errors import ClientGone, OutcomeUnknown, Refused
from relay.rooms.attempts import Attempts
from relay.rooms.claim import Claim
from relay.rooms.member import Member
from tests.unit.rooms.world import FakeConnection, World


def other_worker(world: World) -> MemoryPresence:
    return MemoryPresence(world.backend, LeaseName("other", "1"), RoomSettings())


async def other_attempt(
    world: World, offered: str, *, ago: float = 0, within: float = 0, own_key: bool = False
) -> PresenceEntry:
    """The entry of an attempt of the client on another worker that has just got the membership."""
    attempts = Attempts(
        other_worker(world), world.attempts._stamp, world.attempts._fleet_key, world.attempts._random
    )  # fmt: skip
    made = attempts.make(world.member("a"), Claim(offered, own_key=own_key)).attempt
    at = world.now - ago
    stamp = str(Stamp(round((at - within) * 1e6), round((at + within) * 1e6)))
    attempt = JoinAttempt(
        room="room", peer="a", offered=made.offered, fresh=made.fresh, derived=made.derived, stamp=stamp
    )
    result = await other_worker(world).join(attempt)
    return PresenceEntry("room", "a", result.generation)


def welcome(member) -> dict:
    assert isinstance(member.connection, FakeConnection)
    return member.connection.sent[0]


@pytest.mark.parametrize(("grants", "subject"), [(None, ""), (Grants(subject="user 7"), "user 7")])
def test_the_subject_of_the_token_goes_along_for_webhooks(world: World, grants: Grants | None, subject: str) -> None:
    attempt = world.attempts.make(world.member("a"), Claim(grants=grants)).attempt
    assert attempt.token_subject == subject


async def test_attempts_with_the_same_key_lead_to_the_same_next_key_once_a_membership_exists(world: World) -> None:
    first = welcome(await world.join("a", offered="own"))["resume"]
    one = welcome(await world.join("a", offered=first))["resume"]
    again = welcome(await world.join("a", offered=first))["resume"]
    assert one == again != first
    assert welcome(await world.join("b", offered=first))["resume"] != one


async def test_an_old_key_does_not_reveal_the_later_ones_when_the_membership_has_ended(world: World) -> None:
    first = await world.join("a", offered="own")
    second = await world.join("a", offered=welcome(first)["resume"])
    await world.membership.leave(second, hold=False)
    stranger = await world.join("a", offered=welcome(first)["resume"])
    assert welcome(stranger)["resume"] != welcome(second)["resume"]


async def test_a_late_attempt_is_refused_at_once(world: World) -> None:
    key = welcome(await world.join("a"))["resume"]
    await other_attempt(world, key)
    world.late = 1
    with pytest.raises(Refused) as refused:
        await world.join("a", offered=key)
    assert (refused.value.code, world.waits) == ("superseded", [])


async def test_an_attempt_of_the_same_moment_gives_up_when_its_own_connection_is_lost(world: World) -> None:
    key = welcome(await world.join("a"))["resume"]
    await other_attempt(world, key, within=0.1)
    member = world.member("a")

    async def lose() -> None:
        member.connection.lost = True

    world.between = lose
    with pytest.raises(ClientGone):
        await world.membership.join(member, Claim(key), since=None)
    assert world.waits == [0.02]
    assert await world.roster() == [("a", False)]


async def test_an_attempt_succeeds_when_the_connection_of_the_other_one_is_lost(world: World) -> None:
    key = welcome(await world.join("a"))["resume"]
    entry = await other_attempt(world, key, within=0.1)

    async def hold() -> None:
        assert await other_worker(world).leave(entry, hold=30)

    world.between = hold
    assert welcome(await world.join("a", offered=key))["resumed"]
    assert world.waits == [0.02]


async def test_a_newer_attempt_insists_after_a_moment_and_one_of_the_same_moment_does_not(world: World) -> None:
    key = welcome(await world.join("a"))["resume"]
    await other_attempt(world, key, ago=1)
    assert welcome(await world.join("a", offered=key))["resumed"]
    assert sum(world.waits) == pytest.approx(0.4)
    world.waits.clear()
    world.now += 1
    await other_attempt(world, key, within=0.1)
    with pytest.raises(Refused) as refused:
        await world.join("a", offered=key)
    assert refused.value.code == "superseded"
    assert sum(world.waits) == pytest.approx(1)


async def test_a_join_waits_for_a_goodbye_that_is_on_its_way(world: World) -> None:
    before = await world.join("a")

    async def leave() -> None:
        await world.membership.leave(before, hold=False)

    world.between = leave
    assert not welcome(await world.join("a"))["resumed"]
    assert world.waits == [0.02]


@pytest.mark.parametrize(("held", "waited"), [(False, 1), (True, 0)])
async def test_the_wait_for_a_goodbye_is_bounded_and_a_held_member_is_not_waited_for(
    world: World, held: bool, waited: float
) -> None:
    member = await world.join("a")
    if held:
        await world.membership.leave(member, hold=True)
    with pytest.raises(Refused) as refused:
        await world.join("a")
    assert (refused.value.code, refused.value.detail.get("held", False)) == ("peer_taken", held)
    assert sum(world.waits) == pytest.approx(waited)


async def test_a_claim_of_a_membership_that_is_anothers_is_refused_at_once(world: World) -> None:
    await world.join("a")
    with pytest.raises(Refused) as refused:
        await world.membership.join(world.member("a"), Claim("wrong", resume_only=True), since=None)
    assert (refused.value.code, world.waits) == ("peer_taken", [])


async def test_when_too_many_wait_a_join_is_decided_at_once(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.attempts._MOST_WAITING", 0)
    key = welcome(await world.join("a"))["resume"]
    with pytest.raises(Refused):
        await world.join("a")
    await other_attempt(world, key, ago=1)
    assert welcome(await world.join("a", offered=key))["resumed"]
    assert world.waits == []


async def test_a_client_that_has_gone_before_its_join_is_sent_changes_nothing(world: World) -> None:
    member = world.member("a")
    member.connection.lost = True
    with pytest.raises(ClientGone):
        await world.membership.join(member, Claim("own"), since=None)
    assert await world.roster() == []
    assert world.presence.calls == ["roster"]


async def test_the_system_is_asked_once_about_the_connection_of_a_new_client(world: World) -> None:
    class Asked(FakeConnection):
        @property
        def lost(self) -> bool:
            asked.append(self)
            return False

        @lost.setter
        def lost(self, value: bool) -> None: ...

    asked: list[FakeConnection] = []
    member = world.member("a")
    member.connection = Asked()
    await world.membership.join(member, Claim(""), since=None)
    assert len(asked) == 1


@pytest.mark.parametrize(("offered", "left"), [("own", [("a", True)]), ("", [])])
async def test_a_client_that_has_gone_during_its_join_is_held_if_it_can_come_back(
    world: World, offered: str, left: list
) -> None:
    member = world.member("a")

    async def lose() -> None:
        member.connection.lost = True

    world.presence.meanwhile["join"] = lose
    world.tried = asyncio.Event()
    world.presence.meanwhile["leave"] = lambda: asyncio.sleep(0, world.tried.set())
    with pytest.raises(ClientGone):
        await world.membership.join(member, Claim(offered), since=None)
    assert member.connection.sent == []
    await asyncio.wait_for(world.tried.wait(), 5)
    assert await world.roster() == left


async def test_an_attempt_of_unknown_outcome_does_not_end_the_one_that_followed_it(world: World) -> None:
    key = welcome(await world.join("a"))["resume"]
    world.presence.after["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.join("a", offered=key)
    world.now += 1
    live = await world.join("a", offered=key)
    await world.pass_time(0)
    assert await world.roster() == [("a", False)]
    # Its key is the current one all the same.
    assert welcome(await world.join("a", offered=welcome(live)["resume"]))["resumed"]


async def test_two_attempts_of_unknown_outcome_are_both_looked_for(world: World) -> None:
    key = welcome(await world.join("a"))["resume"]
    for _ in range(2):
        world.now += 1
        world.presence.after["join"] = [OutcomeUnknown()]
        with pytest.raises(OutcomeUnknown):
            await world.join("a", offered=key)
    assert len(world.departures) == 2
    await world.pass_time(0)
    await asyncio.sleep(0)
    assert await world.roster() == [("a", True)]


async def test_a_key_that_the_client_has_made_stays_the_key(world: World) -> None:
    claim = Claim("its own key", own_key=True)
    assert not claim.comes_back
    for resumed in (False, True, True):
        member = world.member("a")
        await world.membership.join(member, claim, since=None)
        assert (welcome(member)["resume"], welcome(member)["resumed"]) == ("its own key", resumed)
    with pytest.raises(Refused, match="peer_taken"):
        await world.membership.join(world.member("a"), Claim("another key", own_key=True), since=None)


async def test_with_a_kept_key_a_late_attempt_is_refused_at_once(world: World) -> None:
    claim = Claim("its own key", own_key=True)
    await world.membership.join(world.member("a"), claim, since=None)
    world.now += 2
    await other_attempt(world, "its own key", own_key=True)
    world.late = 1
    with pytest.raises(Refused) as refused:
        await world.membership.join(world.member("a"), claim, since=None)
    assert (refused.value.code, world.waits) == ("superseded", [])


@pytest.mark.parametrize(("within", "waited"), [(0, 0.05), (0.1, 0.4)])
async def test_with_a_kept_key_a_newer_attempt_insists_soon_and_one_of_the_same_moment_later(
    world: World, within: float, waited: float
) -> None:
    claim = Claim("its own key", own_key=True)
    await world.membership.join(world.member("a"), claim, since=None)
    world.now += 2
    await other_attempt(world, "its own key", ago=0 if within else 1, within=within, own_key=True)
    member = world.member("a")
    await world.membership.join(member, claim, since=None)
    assert welcome(member)["resumed"]
    assert sum(world.waits) == pytest.approx(waited)


async def test_with_a_kept_key_an_attempt_that_its_client_has_given_up_changes_nothing(world: World) -> None:
    """A worker that stood still reads a request, and right behind it the end of the connection."""
    claim = Claim("its own key", own_key=True)
    await world.membership.join(world.member("a"), claim, since=None)
    world.now += 2
    entry = await other_attempt(world, "its own key", ago=1, own_key=True)
    member = world.member("a")

    async def lose() -> None:
        member.connection.lost = True

    world.between = lose
    with pytest.raises(ClientGone):
        await world.membership.join(member, claim, since=None)
    # The entry is still that of the other attempt.
    assert await other_worker(world).leave(entry)


async def test_a_client_with_two_keys_comes_back_with_either_and_only_the_newest_takes_an_open_connection(
    world: World,
) -> None:
    def claim(offered: str, next_key: str, *, resume_only: bool = False) -> Claim:
        return Claim(
            offered, own_key=True, next_key=next_key, held_only=True, resume_only=resume_only, arrived=world.now
        )

    async def join(a_claim: Claim) -> Member:
        member = world.member("a")
        await world.membership.join(member, a_claim, since=None)
        return member

    first = await join(claim("derived", "secret 1"))
    assert welcome(first)["resume"] == "secret 1"
    await world.membership.leave(first, hold=True)
    world.now += 1
    second = await join(claim("derived", "secret 2", resume_only=True))
    assert (welcome(second)["resume"], welcome(second)["resumed"]) == ("secret 2", True)
    world.now += 1
    with pytest.raises(Refused, match="superseded"):
        await join(claim("derived", "secret 3", resume_only=True))
    assert welcome(await join(claim("secret 2", "secret 2", resume_only=True)))["resumed"]


async def test_a_client_that_only_opens_or_enters_is_answered_at_once(world: World) -> None:
    with pytest.raises(Refused, match="no_such_room"):
        await world.membership.join(world.member("a"), Claim("its own key", own_key=True, opens=False), since=None)
    assert world.waits == []
