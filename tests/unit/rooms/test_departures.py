"""Departures over memory: when each is sent to Redis, with failures put in."""

import asyncio
import gc
import tracemalloc
from collections.abc import Sequence

import pytest
from msgspec import structs

from relay.backend.presence import HeldMember, PresenceEntry
from relay.metrics import Metrics
from relay.model.envelope import MessageId
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable
from relay.rooms.departures import Departures
from tests.unit.rooms.world import World


class FakePresence:
    """Notes its calls, and gives the answers of a test: True, False or an error."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.connected: list[bool] = []
        self.reasons: list[str] = []
        self.answers: list[bool | Exception] = []
        self.announced: list[tuple[str, float]] = []
        self.pending: asyncio.Future[bool] | None = None

    async def announce(self, entries: Sequence[PresenceEntry]) -> Sequence[PresenceEntry]:
        self.announced += [(entry.peer, entry.hold) for entry in entries]
        return []

    def leave(self, entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        self.asked.append((entry.peer, hold))
        self.connected.append(entry.connected)
        self.reasons.append(entry.reason)
        if self.pending is not None:
            pending, self.pending = self.pending, None
            return pending
        reply: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            reply.set_exception(answer)
        else:
            reply.set_result(answer)
        return reply


class Desk:
    """Departures over a presence that only takes notes."""

    def __init__(self, grace: float = 10) -> None:
        self.now = 100.0
        self.away = False
        self.presence, self.metrics, self.settled = FakePresence(), Metrics(), []
        self.departures = Departures(
            self.presence,
            grace=grace,
            clock=lambda: self.now,
            metrics=self.metrics,
            on_settled=self.settled.append,
            is_away=lambda: self.away,
        )

    async def at(self, now: float) -> list[tuple[str, float]]:
        """The requests of one round at this time to Redis."""
        self.now = now
        self.presence.asked.clear()
        await self.departures.settle_due()
        return list(self.presence.asked)


def entry(peer: str, generation: int = 1, room: str = "room") -> PresenceEntry:
    return PresenceEntry(room, peer, generation, current=f"key of {peer}")


async def test_a_hold_is_reported_at_once_and_ends_in_time() -> None:
    desk = Desk()
    await desk.departures.begin(entry("a"), hold=True)
    assert desk.presence.asked == [("a", 10)]
    assert await desk.at(109.9) == []
    assert (len(desk.departures), "room" in desk.departures, list(desk.departures.rooms())) == (1, True, ["room"])
    assert await desk.at(110) == [("a", 0)]
    assert (len(desk.departures), "room" in desk.departures, desk.settled) == (0, False, ["room"])


async def test_only_due_departures_are_sent() -> None:
    desk = Desk()
    for peer in "abc":
        await desk.departures.begin(entry(peer), hold=True)
        desk.now += 1
    assert await desk.at(111.5) == [("a", 0), ("b", 0)]
    assert await desk.at(112) == [("c", 0)]


async def test_a_failed_departure_is_sent_again_in_the_next_round_with_the_time_that_is_left() -> None:
    desk = Desk()
    desk.presence.answers = [Unavailable(), OutcomeUnknown()]
    await desk.departures.begin(entry("a"), hold=True)
    assert await desk.at(100.1) == []
    assert await desk.at(104) == [("a", 6)]
    assert await desk.at(106) == [("a", 4)]
    assert await desk.at(106.5) == []
    assert await desk.at(110) == [("a", 0)]


async def test_a_hold_that_could_not_be_reported_before_it_ended_is_a_leave() -> None:
    desk = Desk()
    desk.presence.answers = [Unavailable()]
    await desk.departures.begin(entry("a"), hold=True)
    assert await desk.at(111) == [("a", 0)]
    assert len(desk.departures) == 0


async def test_a_round_ends_though_attempts_fail_more_slowly_than_they_are_repeated() -> None:
    desk = Desk()
    for number in range(1500):
        desk.departures.schedule(entry(f"p{number}"), hold=False)
    leave = desk.presence.leave

    def refuse(entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        desk.now += 0.01  # each batch takes 5 s, ten times as long as until an attempt is repeated
        desk.presence.answers = [Unavailable()]
        return leave(entry, hold=hold)

    desk.presence.leave = refuse
    async with asyncio.timeout(5):
        assert len(await desk.at(100)) == 1500


async def test_an_entry_that_is_not_this_workers_any_more_is_forgotten() -> None:
    desk = Desk()
    desk.presence.answers = [False]
    await desk.departures.begin(entry("a"), hold=True)
    assert (len(desk.departures), desk.settled) == (0, ["room"])
    assert await desk.at(120) == []


async def test_scheduled_departures_are_first_sent_in_the_next_round() -> None:
    desk = Desk()
    desk.departures.schedule(entry("a", 0), hold=False)
    desk.departures.schedule(entry("b"), hold=True)
    assert desk.presence.asked == []
    assert await desk.at(100) == [("a", 0), ("b", 10)]


async def test_a_later_departure_of_the_same_peer_replaces_the_earlier() -> None:
    desk = Desk()
    await desk.departures.begin(entry("a", 1), hold=True)
    desk.now = 105
    await desk.departures.begin(entry("a", 2), hold=True)
    assert len(desk.departures) == 1
    assert await desk.at(110) == []
    assert await desk.at(115) == [("a", 0)]


@pytest.mark.parametrize("failure", [None, Unavailable()])
async def test_the_reply_to_a_departure_that_was_replaced_meanwhile_changes_nothing(failure) -> None:
    desk = Desk()
    if failure:
        desk.presence.answers = [failure]
    first = desk.departures.begin(entry("a", 1), hold=False)
    second = desk.departures.begin(entry("a", 2), hold=True)
    await first
    await second
    assert len(desk.departures) == 1
    assert await desk.at(110) == [("a", 0)]


async def test_a_join_of_unknown_outcome_does_not_replace_the_hold_of_an_entry_that_exists() -> None:
    desk = Desk()
    await desk.departures.begin(entry("a", 1), hold=True)
    desk.departures.schedule(entry("a", 0), hold=False)
    assert len(desk.departures) == 2
    assert await desk.at(101) == [("a", 0)]
    assert await desk.at(110) == [("a", 0)]
    assert len(desk.departures) == 0


async def test_members_of_a_dead_worker_leave_in_time_and_are_counted_once() -> None:
    desk = Desk()
    assert desk.departures.take_over([HeldMember("room", "ghost", 5, 3.0)]) == 1
    assert desk.departures.take_over([HeldMember("room", "ghost", 5, 2.9), HeldMember("room", "other", 6, 4.0)]) == 1
    assert desk.departures.take_over([HeldMember("room", "other", 7, 5.0)]) == 1
    assert desk.metrics.registry.get_sample_value("relay_adopted_members_total") == 3
    assert await desk.at(102.9) == []
    assert desk.metrics.registry.get_sample_value("relay_held_members") == 2
    assert await desk.at(103) == [("ghost", 0)]
    assert await desk.at(104) == []
    assert await desk.at(105) == [("other", 0)]


async def test_the_time_for_which_redis_was_away_is_added_to_holds() -> None:
    """No member could return in that time."""
    desk = Desk()
    await desk.departures.begin(entry("before"), hold=True)
    desk.now = 104
    desk.presence.answers = [Unavailable("away"), Unavailable("away")]
    await desk.departures.begin(entry("meanwhile"), hold=True)
    await desk.departures.begin(entry("goodbye"), hold=False)
    desk.away = True
    assert await desk.at(112) == []
    desk.away = False
    desk.departures.prolong(103)
    assert sorted(await desk.at(112)) == [("before", 7), ("goodbye", 0), ("meanwhile", 10)]
    assert await desk.at(118.9) == []
    assert await desk.at(119) == [("before", 0)]
    assert await desk.at(122) == [("meanwhile", 0)]
    assert len(desk.departures) == 0


async def test_an_attempt_on_its_way_when_redis_returns_does_not_end_a_prolonged_hold() -> None:
    desk = Desk()
    await desk.departures.begin(entry("a"), hold=True)
    reply: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    desk.presence.pending = reply
    desk.now = 110
    round_ = asyncio.create_task(desk.departures.settle_due())
    await asyncio.sleep(0)
    desk.departures.prolong(109)
    reply.set_exception(OutcomeUnknown("lost"))
    await round_
    assert desk.presence.asked == [("a", 10), ("a", 0), ("a", 1)]
    assert await desk.at(111) == [("a", 0)]


async def test_members_that_are_taken_over_after_an_outage_are_held_for_the_whole_grace_time() -> None:
    desk = Desk()
    desk.departures.prolong(95)
    desk.now = 103
    desk.departures.take_over([HeldMember("room", "early", 5, 3.0), HeldMember("room", "late", 6, 9.0)])
    assert await desk.at(103) == [("early", 7)]
    assert await desk.at(110) == [("early", 0)]
    assert await desk.at(112) == [("late", 0)]


async def test_thousands_that_are_due_at_once_are_sent_in_batches() -> None:
    desk, rounds = Desk(), []
    desk.departures.take_over([HeldMember(f"room{number % 7}", f"p{number}", 1, 1.0) for number in range(1200)])
    leave = desk.presence.leave

    def counted(entry: PresenceEntry, *, hold: float = 0) -> asyncio.Future[bool]:
        rounds.append(turns)
        return leave(entry, hold=hold)

    desk.presence.leave = counted
    desk.now, turns = 101, 0
    settling = asyncio.create_task(desk.departures.settle_due())
    while not settling.done():
        await asyncio.sleep(0)
        turns += 1
    assert max(rounds.count(turn) for turn in rounds) == 500
    assert len(rounds) == 1200
    assert len(desk.departures) == 0


async def test_a_client_that_is_lost_again_and_again_takes_no_more_memory_each_time() -> None:
    desk = Desk(grace=1000)

    async def lose(times: int) -> int:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(times):
            await desk.departures.begin(entry("a"), hold=True)
        desk.presence.asked.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        await lose(500)
        assert await lose(2000) < 50_000
    finally:
        tracemalloc.stop()
    assert len(desk.departures) == 1


async def test_all_that_can_fail_while_leaving_is_retried(world: World) -> None:
    member = await world.join("a")
    world.presence.before["leave"] = [OutcomeUnknown(), RelayError(), Unavailable()]
    await world.membership.leave(member, hold=False)
    for _ in range(3):
        assert len(world.departures) == 1
        await world.pass_time()
    assert await world.roster() == []
    assert len(world.departures) == 0


async def test_a_failed_join_leaves_a_held_membership_to_its_holder(world: World) -> None:
    lost = await world.join("p")
    await world.membership.leave(lost, hold=True)
    world.presence.before["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.join("p")
    await world.pass_time(60)
    assert await world.roster() == []
    assert len(world.departures) == 0


async def test_a_request_that_the_closing_backend_cancels_counts_as_failed() -> None:
    desk, reply = Desk(), asyncio.get_running_loop().create_future()
    desk.presence.leave = lambda entry, *, hold=0: reply
    attempted = desk.departures.begin(entry("a"), hold=False)
    reply.cancel()
    await attempted
    assert len(desk.departures) == 1


async def test_held_members_are_announced_with_the_rest_of_their_hold(monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.departures._BATCH", 2)
    desk, calls = Desk(), []

    async def between() -> None:
        calls.append(len(desk.presence.announced))
        if len(calls) == 1:
            # A hold that ends while others are announced is over.
            await desk.at(110)

    def known(peer: str) -> PresenceEntry:
        return structs.replace(entry(peer), began=MessageId(1, 1))

    await desk.departures.begin(known("ends soon"), hold=True)
    desk.now = 104.0
    for peer in ("a", "b"):
        await desk.departures.begin(known(peer), hold=True)
    desk.presence.answers = [Unavailable()]
    await desk.departures.begin(known("leaves"), hold=False)
    # Of this one, the keys are not known.
    desk.departures.take_over([HeldMember("room", "adopted", 1, 9.0)])
    desk.now = 109.9
    await desk.departures.announce(between)
    assert [(peer, round(hold, 1)) for peer, hold in desk.presence.announced] == [("a", 4.1), ("b", 4.0)]
    assert calls == [1, 2, 2]


async def test_only_the_first_attempt_vouches_for_a_member_that_was_connected() -> None:
    desk = Desk()
    desk.presence.answers = [OutcomeUnknown()]
    await desk.departures.begin(entry("a"), hold=True)
    await desk.at(100.5)
    await desk.at(110)
    desk.departures.schedule(entry("b"), hold=False)
    await desk.at(111)
    assert desk.presence.connected == [True, False, False, False]


async def test_a_membership_that_was_held_ends_as_lost_and_another_one_for_its_own_reason() -> None:
    desk = Desk(grace=10)
    await desk.departures.begin(entry("goodbye"), hold=False)
    await desk.departures.begin(structs.replace(entry("out"), reason="kicked"), hold=False)
    await desk.departures.begin(entry("held"), hold=True)
    desk.departures.take_over([HeldMember("room", "adopted", 1, 1.0)])
    await desk.at(120)
    assert desk.presence.reasons == ["left", "kicked", "lost", "lost", "lost"]


async def test_a_lost_member_without_a_grace_time_ends_as_lost() -> None:
    desk = Desk(grace=0)
    await desk.departures.begin(entry("p"), hold=True)
    assert (desk.presence.asked, desk.presence.reasons) == ([("p", 0)], ["lost"])


async def test_a_leave_that_waits_for_a_part_of_redis_delays_no_other() -> None:
    desk = Desk()
    away = desk.presence.pending = asyncio.get_running_loop().create_future()
    desk.departures.schedule(PresenceEntry("away", "a", 1), hold=False)
    desk.departures.schedule(PresenceEntry("other", "b", 1), hold=False)
    async with asyncio.timeout(5):
        assert await desk.at(100) == [("a", 0), ("b", 0)]
        assert desk.settled == ["other"]
        desk.departures.schedule(PresenceEntry("other", "c", 1), hold=False)
        assert await desk.at(101) == [("c", 0)]
    away.set_exception(Unavailable())
    await asyncio.sleep(0)
    assert await desk.at(102) == [("a", 0)]
    assert len(desk.departures) == 0


async def test_a_round_ends_when_redis_goes_away_in_it() -> None:
    desk = Desk()
    pending = desk.presence.pending = asyncio.get_running_loop().create_future()
    for number in range(1200):
        desk.departures.schedule(entry(f"p{number}"), hold=False)
    # The first reply does not come.
    asyncio.get_running_loop().call_later(0.05, setattr, desk, "away", True)
    assert len(await desk.at(101)) == 500
    desk.away = False
    pending.set_result(True)
    assert len(await desk.at(102)) == 700
    assert len(desk.departures) == 0
