"""The order of a client's attempts, for every backend: of those with the same key, the newest has the membership."""

import pytest

from relay.backend.presence import Contested, JoinResult, PresenceEntry
from relay.backend.stamps import split_previous
from relay.model.errors import Refused
from relay.model.events import Present, TakenOver
from tests.contract.conftest import FakeWorker, MakeWorker, join

Workers = tuple[FakeWorker, FakeWorker]


@pytest.fixture
async def workers(make_worker: MakeWorker) -> Workers:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    await b.leases.beat()
    return a, b


async def refused(worker: FakeWorker, **attempt: object) -> Refused:
    with pytest.raises(Refused) as error:
        await join(worker, **attempt)
    return error.value


async def test_a_late_attempt_does_not_take_the_membership_from_a_newer_one(workers: Workers) -> None:
    a, b = workers
    late = a.stamp(ago=2)
    await join(a, fresh="f1")
    _, joined = await join(b, offered="f1", fresh="x", derived="f2")
    error = await refused(a, offered="f1", fresh="y", derived="f2", stamp=late)
    assert (error.code, isinstance(error, Contested)) == ("superseded", False)
    # Nothing has changed: the newer attempt's key is the current one.
    entry, again = await join(b, offered="f2", fresh="z", derived="f3")
    assert again.resumed
    assert again.generation > joined.generation
    assert split_previous(entry.previous)[0] == "f2"


async def test_a_late_first_attempt_with_a_key_of_the_clients_own_does_not_either(workers: Workers) -> None:
    a, b = workers
    late = a.stamp(ago=1)
    _, first = await join(b, offered="own", fresh="f1", derived="d1")
    assert not first.resumed
    assert (await refused(a, offered="own", fresh="f2", derived="d1", stamp=late)).code == "superseded"
    assert (await join(a, offered="f1", fresh="f3", derived="d2"))[1].resumed


async def test_attempts_that_offer_the_same_key_get_the_same_next_key(workers: Workers) -> None:
    a, b = workers
    await join(a, fresh="f1")
    await join(a, offered="f1", fresh="x", derived="f2", stamp=a.stamp(ago=1))
    await join(b, offered="f1", fresh="y", derived="f2")
    assert (await join(a, offered="f2", fresh="z", derived="f3"))[1].resumed


async def test_a_takeover_tells_whether_the_key_was_offered_before(workers: Workers) -> None:
    a, b = workers
    await a.bus.subscribe(["room"])
    await join(a, fresh="f1")
    await join(a, offered="f1", fresh="x", derived="f2", stamp=a.stamp(ago=1))
    await join(b, offered="f1", fresh="y", derived="f2", insists=True)
    await join(b, offered="f2", fresh="z", derived="f3")
    await a.received.until(lambda events: len(events) == 4)
    assert [event.repeated for event in a.received.events[1:] if isinstance(event, TakenOver)] == [False, True, False]


@pytest.mark.parametrize("held", [False, True])
async def test_a_newer_attempt_waits_while_the_older_one_is_connected(workers: Workers, held: bool) -> None:
    a, b = workers
    older = a.stamp(ago=1)
    await join(a, fresh="f1")
    entry, _ = await join(a, offered="f1", fresh="x", derived="f2", stamp=older)
    if held:
        assert await a.presence.leave(entry, hold=30)
    else:
        error = await refused(b, offered="f1", fresh="y", derived="f2", insists=False)
        assert isinstance(error, Contested)
        assert error.newer
    assert (await join(b, offered="f1", fresh="y", derived="f2", insists=held is False))[1].resumed


async def test_attempts_of_the_same_moment_are_decided_by_their_connections(workers: Workers) -> None:
    a, b = workers
    await join(a, fresh="f1")
    entry, _ = await join(a, offered="f1", fresh="x", derived="f2", stamp=a.stamp(within=0.05))
    same = b.stamp(within=0.05)
    error = await refused(b, offered="f1", fresh="y", derived="f2", stamp=same)
    assert isinstance(error, Contested)
    assert not error.newer
    assert await a.presence.leave(entry, hold=30)
    assert (await join(b, offered="f1", fresh="y", derived="f2", stamp=same))[1].resumed


async def test_a_worker_knows_the_order_of_its_own_attempts(workers: Workers) -> None:
    a, _ = workers
    await join(a, fresh="f1")
    older, newer = a.stamp(ago=0.01, within=1), a.stamp(within=1)
    await join(a, offered="f1", fresh="x", derived="f2", stamp=newer)
    assert (await refused(a, offered="f1", fresh="y", derived="f2", stamp=older)).code == "superseded"
    assert (await join(a, offered="f1", fresh="y", derived="f2", stamp=a.stamp(within=1)))[1].resumed


async def test_the_current_key_always_wins(workers: Workers) -> None:
    a, b = workers
    late = a.stamp(ago=60)
    await join(a, fresh="f1")
    assert (await join(b, offered="f1", fresh="x", derived="f2", stamp=late, insists=False))[1].resumed


async def test_an_entry_from_the_future_is_not_waited_for(workers: Workers) -> None:
    """The clock was set back."""
    a, b = workers
    await join(a, fresh="f1")
    await join(a, offered="f1", fresh="x", derived="f2", stamp=a.stamp(ago=-3600))
    assert (await join(b, offered="f1", fresh="y", derived="f2"))[1].resumed


async def test_an_attempt_from_the_future_proves_nothing(workers: Workers) -> None:
    """Its worker has not noticed yet that the clock was set back."""
    a, b = workers
    await join(a, fresh="f1")
    await join(a, offered="f1", fresh="x", derived="f2")
    error = await refused(b, offered="f1", fresh="y", derived="f2", stamp=b.stamp(ago=-3600))
    assert isinstance(error, Contested)
    assert not error.newer


async def test_a_client_comes_back_to_its_worker_when_the_clock_was_set_back_meanwhile(workers: Workers) -> None:
    """Its attempt waited for another master, whose clock is behind: it has a stamp of the old one's clock."""
    a, _ = workers
    await join(a, fresh="f1")
    entry, _ = await join(a, offered="f1", fresh="x", derived="f2")
    ahead = a.stamp(ago=-3600)
    error = await refused(a, offered="f1", fresh="y", derived="f2", stamp=ahead)
    assert isinstance(error, Contested)
    assert not error.newer
    assert await a.presence.leave(entry, hold=30)
    assert (await join(a, offered="f1", fresh="y", derived="f2", stamp=ahead))[1].resumed


async def test_the_stamp_survives_a_hold_a_change_and_an_announcement(workers: Workers) -> None:
    a, b = workers
    late = b.stamp(ago=5)
    await join(a, fresh="f1")
    entry, _ = await join(a, offered="f1", fresh="x", derived="f2", info=b'{"n":1}')
    assert await a.presence.change(PresenceEntry("room", "peer", entry.generation, info=b'{"n":2}'))
    assert await a.presence.leave(entry, hold=30)
    assert (await refused(b, offered="f1", fresh="y", stamp=late)).code == "superseded"
    assert await a.presence.announce([entry]) == []
    assert (await refused(b, offered="f1", fresh="y", stamp=late)).code == "superseded"
    assert (await a.presence.roster("room")).members == [Present("peer", info=b'{"n":1}')]


async def test_an_entry_of_unknown_outcome_is_identified_by_its_stamp(workers: Workers) -> None:
    a, _ = workers
    one, two = a.stamp(ago=1), a.stamp()
    await join(a, fresh="f1")
    await join(a, offered="f1", fresh="x", derived="f2", stamp=one)
    await join(a, offered="f1", fresh="y", derived="f2", stamp=two)
    # Both attempts lead to the same key, and to the same lease.
    assert not await a.presence.leave(PresenceEntry("room", "peer", 0, "f2", stamp=one), hold=30)
    assert await a.presence.leave(PresenceEntry("room", "peer", 0, "f2", stamp=two), hold=30)
    assert (await a.presence.roster("room")).members == [Present("peer", held=True)]


async def test_a_first_member_of_unknown_outcome_is_identified_too(workers: Workers) -> None:
    a, _ = workers
    stamp = a.stamp()
    assert (await join(a, offered="own", fresh="f1", stamp=stamp))[1].first
    assert await a.presence.leave(PresenceEntry("room", "peer", 0, "f1", stamp=stamp))
    assert (await a.presence.roster("room")).count == 0


async def test_a_refusal_says_whether_the_member_is_held(workers: Workers) -> None:
    a, b = workers
    entry, _ = await join(a, fresh="f1")
    assert "held" not in (await refused(b)).detail
    await a.presence.leave(entry, hold=30)
    error = await refused(b)
    assert (error.code, error.detail["held"]) == ("peer_taken", True)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_an_entry_of_an_earlier_version_has_no_stamp_and_is_taken_over(workers: Workers) -> None:
    a, b = workers
    entry, _ = await join(a, fresh="f1")
    text = f"{entry.generation} {a.lease} 0 f2 f1{{}} {entry.began}"
    await a.client.call("HSET", a.keys.of_room("room")[1], "peer", text)
    joined = (await join(b, offered="f1", fresh="x", derived="f2"))[1]
    assert (joined.resumed, joined.info) == (True, b"{}")


async def kept(worker: FakeWorker, **more: object) -> tuple[PresenceEntry, JoinResult]:
    """Join with a key that the client keeps."""
    return await join(worker, offered="own", fresh="own", derived="own", **more)


async def kept_refused(worker: FakeWorker, **more: object) -> Refused:
    return await refused(worker, offered="own", fresh="own", derived="own", **more)


@pytest.mark.parametrize("held", [False, True])
async def test_with_a_kept_key_a_late_attempt_does_not_take_the_membership_either(workers: Workers, held: bool) -> None:
    a, b = workers
    await kept(a, stamp=a.stamp(ago=2))
    late = a.stamp(ago=1)
    entry, _ = await kept(b)
    if held:
        assert await b.presence.leave(entry, hold=30)
    error = await kept_refused(a, stamp=late)
    assert (error.code, isinstance(error, Contested)) == ("superseded", False)
    assert (await kept(a))[1].resumed


async def test_with_a_kept_key_a_newer_attempt_waits_until_it_insists(workers: Workers) -> None:
    a, b = workers
    entry, _ = await kept(a)
    error = await kept_refused(b, insists=False)
    assert isinstance(error, Contested)
    assert error.newer
    assert (await kept(b))[1].resumed
    assert not await a.presence.leave(entry, hold=30)
    entry, _ = await kept(a)
    assert await a.presence.leave(entry, hold=30)
    assert (await kept(b, insists=False))[1].resumed


async def test_with_a_kept_key_an_attempt_of_the_same_moment_waits_and_then_insists(workers: Workers) -> None:
    a, b = workers
    await kept(a, stamp=a.stamp(within=0.05))
    same = b.stamp(within=0.05)
    error = await kept_refused(b, stamp=same, insists=False)
    assert isinstance(error, Contested)
    assert not error.newer
    assert (await kept(b, stamp=same))[1].resumed


async def test_a_kept_key_is_no_repeated_attempt(workers: Workers) -> None:
    a, b = workers
    await a.bus.subscribe(["room"])
    assert (await kept(a))[1].first
    await join(a, "other", fresh="f")
    # A second answer would tell a client that is not alone that it is first.
    assert not (await kept(b))[1].first
    await a.received.until(lambda events: len(events) == 3)
    assert [event.repeated for event in a.received.events if isinstance(event, TakenOver)] == [False]
