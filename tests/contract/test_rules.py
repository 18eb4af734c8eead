"""The rules of rooms: checked by the step that makes a client a member, changed, lost and restored."""

import asyncio

import pytest

from relay.backend.presence import PresenceEntry, Renamed
from relay.backend.rules import Change, Kicking, PasswordNeeded, RulesLost, StoredRules
from relay.model.errors import Refused, Unavailable
from relay.model.events import Kicked, MemberJoined, MemberLeft, Moved, RoomClosed, RulesChanged
from relay.model.rules import RoomRules
from tests.contract.conftest import ROOMS, FakeWorker, MakeWorker, join

over_redis = pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)


async def refused(worker: FakeWorker, peer: str = "stranger", **more: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await join(worker, peer, **more)
    return caught.value


async def rule(worker: FakeWorker, text: str, remove: str = "", **more: object) -> StoredRules:
    return await worker.rules.change("room", Change(set=text, remove=remove), **more)


async def told(worker: FakeWorker, kind: type, count: int = 1) -> list:
    """The events of a kind, once there are so many."""

    def found(events: list) -> list:
        return [event for event in events if isinstance(event, kind)]

    await worker.received.until(lambda events: len(found(events)) >= count)
    return found(worker.received.events)


# Checks.


async def test_a_locked_room_lets_members_return_and_nobody_new_in(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await join(a, "held", fresh="k1")
    await rule(a, "l=1")
    assert (await refused(b)).code == "room_locked"
    _, joined = await join(b, "held", offered="k1", fresh="k2")
    assert joined.resumed
    assert joined.rules is not None
    assert joined.rules.locked
    await rule(b, "", "l")
    await join(a, "stranger")


async def test_a_member_that_takes_another_peer_id_is_in_the_room_already(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    for number in range(ROOMS.members):
        entry, _ = await join(a, f"p{number}", address="" if number > 1 else "192.0.2.7")
    await join(a, "else", renamed=Renamed(entry.peer, entry.generation), fresh="k1")
    assert (await refused(a)).code == "room_full"
    for rules in ("l=1", "s=5a17 p=c0ffee", "m=1"):
        await rule(a, rules, "l")
        peer = f"with-{rules[0]}"
        await join(a, peer, address="192.0.2.7", renamed=Renamed(entry.peer, entry.generation))
    # Its membership proves it, and no earlier one with the same peer id.
    assert isinstance(await refused(b, renamed=Renamed(entry.peer, entry.generation - 1)), PasswordNeeded)
    assert isinstance(await refused(b, renamed=Renamed("nobody", 0)), PasswordNeeded)
    assert await a.presence.leave(entry)
    assert isinstance(await refused(a, renamed=Renamed(entry.peer, entry.generation)), PasswordNeeded)


async def test_a_member_that_takes_another_peer_id_is_banned_like_others(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, _ = await join(worker)
    await worker.rules.kick(Kicking(room="room", peer="other", ban=60))
    assert (await refused(worker, "other", renamed=Renamed(entry.peer, entry.generation))).code == "banned"


async def test_a_password_is_asked_for_with_its_salt(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker)
    await rule(worker, "s=5a17 p=c0ffee")
    needed = await refused(worker)
    assert isinstance(needed, PasswordNeeded)
    assert (needed.code, needed.salt) == ("password_required", "5a17")
    assert (await refused(worker, password="wrong")).code == "bad_password"
    await join(worker, "q", password="c0ffee")
    await rule(worker, "", "s p")
    await join(worker, "r")


async def test_a_room_has_as_many_members_as_its_rules_say(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, fresh="k1")
    await rule(worker, "m=2")
    await join(worker, "q")
    assert "2 members" in (await refused(worker)).text
    await join(worker, offered="k1", fresh="k2")


async def test_a_closed_room_admits_only_clients_that_find_it(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    assert (await refused(worker, barred="no_such_room")).code == "no_such_room"
    await rule(worker, "", create=True)
    await join(worker, barred="no_such_room")
    await join(worker, "q", barred="no_such_room")
    # One that has ended is not found, although its state stays for a while; nor is one that only has bans.
    await worker.rules.close("room")
    assert (await refused(worker, barred="no_such_room")).code == "no_such_room"
    await worker.rules.kick(Kicking(room="room", peer="bad", ban=9))
    assert (await refused(worker, barred="no_such_room")).code == "no_such_room"
    entry, _ = await join(worker, "opener")
    await worker.presence.leave(entry)
    assert (await refused(worker, barred="no_such_room")).code == "no_such_room"
    await join(worker, "stranger", barred="too_many_new_rooms")


async def test_only_a_room_that_exists_has_its_rules_changed(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    with pytest.raises(Refused, match="no_such_room"):
        await rule(worker, "l=1")
    assert await worker.rules.read("room") is None
    await join(worker)
    before = await rule(worker, "l=1 m=3", by="peer")
    after = await rule(worker, "m=4", "l")
    assert after.version > before.version
    assert after.public == RoomRules(max_members=4)
    assert await worker.rules.read("room") == after


async def test_a_client_that_opens_a_room_gives_it_rules(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    _, joined = await join(worker, "first", opening="l=1 m=3")
    assert joined.rules is not None
    assert joined.rules.public == RoomRules(max_members=3, locked=True)
    assert (await refused(worker, opening="m=9")).code == "room_locked"
    await rule(worker, "", "l")
    _, joined = await join(worker, "second", opening="m=9")
    assert joined.rules is not None
    assert joined.rules.max_members == 3
    # A room that has ended is opened anew.
    await worker.rules.close("room")
    _, joined = await join(worker, "second", opening="m=9")
    assert joined.rules is not None
    assert joined.rules.max_members == 9


# Terms: the rules that a client gives the room that it opens.


TERMS = {"opens": True, "opening": "g=1 m=2 s=5a17 p=c0ffee", "attributes": "e30"}


async def test_of_several_clients_that_open_a_room_one_does(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    peers = [f"p{number}" for number in range(20)]
    joins = [join(worker, peer, **TERMS) for peer, worker in zip(peers, [a, b] * 10, strict=True)]
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    opened = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(opened) == 1
    assert {one.code for one in outcomes if isinstance(one, Refused)} == {"room_exists"}
    (_, joined) = opened[0]
    assert joined.first
    assert joined.rules is not None
    assert (joined.rules.owner, joined.rules.elected, joined.rules.attributes) == (opened[0][0].peer, True, "e30")


async def test_a_client_that_only_enters_needs_a_room_that_exists(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    assert (await refused(worker, opens=False)).code == "no_such_room"
    first, _ = await join(worker, "first", **TERMS)
    assert (await refused(worker, opens=False)).code == "password_required"
    assert (await refused(worker, opens=False, password="wrong")).code == "bad_password"
    await join(worker, "second", opens=False, password="c0ffee")
    assert (await refused(worker, opens=False, password="c0ffee")).code == "room_full"
    _, joined = await join(worker, "first", offered=first.current, fresh="f2", opens=True)
    assert joined.resumed


async def test_terms_end_with_the_last_member_and_the_owner_is_followed_by_the_eldest(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first, _ = await join(worker, "first", **TERMS)
    second, _ = await join(worker, "second", password="c0ffee")
    await worker.presence.leave(first)
    rules = await worker.rules.read("room")
    assert (rules.owner, rules.attributes, rules.max_members) == ("second", "e30", 2)
    await worker.presence.leave(second)
    rules = await worker.rules.read("room")
    assert rules is None or rules == StoredRules(version=rules.version)
    assert (await refused(worker, opens=False)).code == "no_such_room"
    _, joined = await join(worker, "third", opens=True, attributes="eyJ9")
    assert joined.rules is not None
    assert (joined.rules.owner, joined.rules.attributes, joined.rules.derived) == ("third", "eyJ9", "")


async def test_a_room_with_rules_of_a_server_takes_no_password_of_its_opener(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await rule(worker, "m=3", create=True)
    entry, joined = await join(worker, "first", **TERMS)
    assert joined.rules is not None
    assert (joined.rules.max_members, joined.rules.derived, joined.rules.owner) == (3, "", "first")
    assert joined.rules.attributes == "e30"
    await worker.presence.leave(entry)
    rules = await worker.rules.read("room")
    assert (rules.max_members, rules.owner, rules.attributes) == (3, "", "")


async def test_every_member_is_told_of_a_change_in_the_rooms_order(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    _, joined = await join(a)
    await rule(a, "l=1 s=5a17 p=c0ffee", by="peer")
    (event,) = await told(b, RulesChanged)
    assert (event.rules, event.by) == (RoomRules(locked=True, password=True), "peer")
    assert event.id == (joined.id.epoch, joined.id.seq + 1)
    replay = await b.bus.replay("room", joined.id)
    assert [type(event) for event in replay.events] == [RulesChanged]


# Owners.


async def test_the_first_member_owns_the_room_and_the_eldest_after_it(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a", owners=True), await make_worker("b", owners=True)
    await b.bus.subscribe(["room"])
    first, joined = await join(a, "first")
    assert joined.rules is not None
    assert joined.rules.owner == "first"
    second, _ = await join(b, "second")
    third, _ = await join(a, "third")
    await join(b, "fourth")
    await b.presence.leave(second)
    await a.presence.leave(first)
    assert (await b.rules.read("room")).owner == "third"
    kinds = (MemberLeft, RulesChanged)
    events = (await told(b, kinds, 4))[-2:]
    assert [type(event) for event in events] == [MemberLeft, RulesChanged]
    assert events[1].rules.owner == "third"
    await a.presence.leave(third)
    assert (await b.rules.read("room")).owner == "fourth"


async def test_a_held_member_owns_the_room_only_if_nobody_is_connected(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", owners=True)
    first, _ = await join(worker, "first")
    second, _ = await join(worker, "second")
    await join(worker, "third")
    await worker.presence.leave(second, hold=10)
    await worker.presence.leave(first)
    assert (await worker.rules.read("room")).owner == "third"


async def test_an_owner_that_came_by_itself_goes_with_the_last_member(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", owners=True)
    entry, before = await join(worker, "first")
    await worker.presence.leave(entry)
    ended = await worker.rules.read("room")
    assert ended.public == RoomRules()
    # A worker that still has the former rules does not bring them back.
    assert await worker.rules.restore("room", before.rules) == ended
    _, joined = await join(worker, "other", known=before.rules.version)
    assert joined.rules.owner == "other"


async def test_a_room_waits_for_an_owner_that_was_named(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", owners=True)
    await rule(worker, "o=boss", create=True)
    entry, joined = await join(worker, "other")
    boss, _ = await join(worker, "boss")
    assert joined.rules.owner == "boss"
    for one in (boss, entry):
        await worker.presence.leave(one)
        assert (await worker.rules.read("room")).owner == "boss"


# Kicks and closes.


async def test_a_kicked_member_is_gone_with_its_keys(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    entry, joined = await join(a, "bad", fresh="k1")
    await join(a, "good")
    assert await b.rules.kick(Kicking(room="room", peer="bad", reason='be "nice"')) == 1
    assert await b.rules.kick(Kicking(room="room", peer="bad")) == 0
    (left,) = await told(b, MemberLeft)
    (kicked,) = await told(b, Kicked)
    assert (kicked.peer, kicked.reason, kicked.generation) == ("bad", 'be "nice"', joined.generation)
    assert left.id == (kicked.id.epoch, kicked.id.seq + 1)
    assert [member.peer for member in (await b.presence.roster("room")).members] == ["good"]
    # A worker that has missed it cannot bring the member back, and the key is void; the client may begin anew.
    assert await a.presence.announce([entry]) == [entry]
    _, joined = await join(a, "bad", offered="k1", fresh="k2")
    assert not joined.resumed


async def test_a_ban_is_for_the_subject_and_the_peer_and_ends(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, "bad", subject="5ub")
    await join(worker, "good", subject="0ther")
    assert await worker.rules.kick(Kicking(room="room", peer="bad", ban=30)) == 1
    assert (await refused(worker, "bad")).code == "banned"
    assert (await refused(worker, "elsewhere", subject="5ub")).code == "banned"
    await join(worker, "elsewhere", subject="another")
    assert await worker.rules.kick(Kicking(room="room", peer="good", ban=0.2)) == 1
    async with asyncio.timeout(5):
        while True:
            try:
                await join(worker, "good", subject="0ther")
                break
            except Refused as error:
                assert error.code == "banned"
                await asyncio.sleep(0.05)


async def test_all_members_of_a_subject_are_kicked(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for peer in ("a1", "a2"):
        await join(worker, peer, subject="5ub")
    await join(worker, "b", subject="0ther")
    assert await worker.rules.kick(Kicking(room="room", subject="5ub", ban=9)) == 2
    assert [member.peer for member in (await worker.presence.roster("room")).members] == ["b"]
    assert (await refused(worker, "c", subject="5ub")).code == "banned"
    assert await worker.rules.kick(Kicking(room="room", subject="nobody", ban=9)) == 0
    assert (await refused(worker, "d", subject="nobody")).code == "banned"


async def test_the_owner_is_kicked_and_the_room_handed_over(make_worker: MakeWorker) -> None:
    worker = await make_worker("a", owners=True)
    await join(worker, "first")
    await join(worker, "second")
    await worker.rules.kick(Kicking(room="room", peer="first"))
    assert (await worker.rules.read("room")).owner == "second"


async def test_there_are_at_most_a_hundred_bans(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker)
    for number in range(105):
        await worker.rules.kick(Kicking(room="room", peer=f"p{number}", ban=100 + number))
    rules = await worker.rules.read("room")
    assert len(rules.bans) == 100
    assert (await refused(worker, "p104")).code == "banned"
    await join(worker, "p0")


async def test_a_closed_room_ends_for_everybody(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    for peer in ("p", "q", "r"):
        await join(a, peer, fresh=f"key of {peer}")
    rules = await rule(a, "l=1")
    assert await b.rules.close("room", reason="over") == 3
    assert await b.rules.close("room") == 0
    left = await told(b, MemberLeft, 3)
    closed = (await told(b, RoomClosed))[0]
    assert closed.reason == "over"
    assert [event.id.seq for event in left] == [closed.id.seq + number for number in (1, 2, 3)]
    assert (await b.presence.roster("room")).count == 0
    assert (await b.rules.read("room")).public == RoomRules()
    _, joined = await join(a, "p", offered="key of p", fresh="k2", known=rules.version)
    assert not joined.resumed
    assert joined.id > left[-1].id


async def test_members_are_told_to_move(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    await join(worker, "p")
    await join(worker, "q")
    assert await worker.rules.move("room", "other", ["q", "absent"]) == 1
    assert await worker.rules.move("room", "other", None) == 2
    assert await worker.rules.move("empty", "other", None) == 0
    one, everybody = await told(worker, Moved, 2)
    assert one.to == everybody.to == "other"
    assert "q" in (one.peers or ())
    assert everybody.peers is None


# Time.


async def test_a_room_without_history_stores_nothing(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker, "p")
    rules = await rule(worker, "h=0")
    worker.rules.keep("room", rules)
    _, joined = await join(worker, "q")
    receipt = await worker.publish("room")
    assert (await worker.bus.replay("room", joined.id)).lost == "off"
    assert (await worker.bus.replay("room", receipt.id)).lost == ""
    worker.rules.keep("room", None)


@over_redis
async def test_a_room_without_rules_has_no_key_for_them(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, joined = await join(worker)
    assert joined.rules is None
    await worker.presence.change(PresenceEntry("room", "peer", joined.generation, info=b'{"a":1}'))
    await worker.presence.leave(entry)
    names = [*worker.keys.of_room("room")[4:5], worker.keys.subjects("room")]
    assert [await worker.client.call("EXISTS", name) for name in names] == [0, 0]


@over_redis
async def test_rules_outlive_the_last_member_for_as_long_as_they_say(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    options = worker.keys.of_room("room")[4]
    entry, _ = await join(worker)
    await rule(worker, "l=1 t=7")
    assert 50_000 < await worker.client.call("PTTL", options) <= 60_000
    await worker.presence.leave(entry)
    assert 5_000 < await worker.client.call("PTTL", options) <= 7_000
    assert (await refused(worker)).code == "room_locked"
    await rule(worker, "", "l t", create=True)
    assert 3_000_000 < await worker.client.call("PTTL", options) <= 3_600_000


# Loss.


@over_redis
async def test_a_worker_that_knows_newer_rules_is_asked_to_restore_them(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await join(worker)
    old = await rule(worker, "m=3")
    new = await rule(worker, "l=1")
    for lose in (lambda: worker.client.call("DEL", worker.keys.of_room("room")[4]), lambda: _go_back(worker, old)):
        await lose()
        with pytest.raises(RulesLost):
            await join(worker, "stranger", known=new.version)
        assert await worker.rules.restore("room", new) == new
        assert (await refused(worker, known=new.version)).code == "room_locked"
    assert await worker.rules.restore("room", old) == new


async def _go_back(worker: FakeWorker, rules: StoredRules) -> None:
    await worker.client.call("DEL", worker.keys.of_room("room")[4])
    await worker.rules.restore("room", rules)


@over_redis
@pytest.mark.parametrize("answers", [True, False])
async def test_nobody_new_comes_in_while_another_worker_has_the_rules(make_worker: MakeWorker, answers: bool) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await join(a)
    rules = await rule(a, "l=1")
    a.rules.keep("room", rules)
    await _subscribed(a)
    await a.client.call("DEL", *a.keys.of_room("room"), a.keys.workers)
    attempt = asyncio.create_task(refused(b)) if answers else asyncio.create_task(_unavailable(b))
    async with asyncio.timeout(10):
        while not a.asked:
            await asyncio.sleep(0.01)
    assert not attempt.done()
    if answers:
        await a.rules.restore("room", rules)
        assert (await attempt).code == "room_locked"
    else:
        await attempt
    a.rules.keep("room", None)
    await b.client.call("DEL", a.keys.of_room("room")[4])
    async with asyncio.timeout(10):
        while True:
            try:
                await join(b, "stranger")
                break
            except Unavailable:
                continue


async def _unavailable(worker: FakeWorker) -> None:
    with pytest.raises(Unavailable):
        await join(worker, "stranger")


async def _subscribed(worker: FakeWorker) -> None:
    async with asyncio.timeout(10):
        while not await worker.client.call("PUBLISH", worker.keys.guards("room"), "-"):
            await asyncio.sleep(0.01)


@over_redis
@pytest.mark.parametrize("junk", ["string", "large", "foreign"])
async def test_a_text_of_another_program_counts_as_no_rules(make_worker: MakeWorker, junk: str) -> None:
    worker = await make_worker("a")
    options = worker.keys.of_room("room")[4]
    if junk == "string":
        await worker.client.call("SET", options, "x")
    else:
        fields = {"large": [f"f{number}" for number in range(20)], "foreign": ["l", "o"]}[junk]
        await worker.client.call("HSET", options, *[word for name in fields for word in (name, "1")])
    entry, joined = await join(worker)
    assert joined.rules is None
    assert await worker.rules.read("room") is None
    assert (await rule(worker, "l=1")).locked
    await worker.client.call("DEL", options)
    await worker.client.call("SET", options, "x")
    await worker.rules.kick(Kicking(room="room", peer="peer"))
    assert not await worker.presence.leave(entry)


async def test_events_of_rules_leave_no_hole_for_members_that_come_back(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    _, first = await join(worker, "p")
    await rule(worker, "l=1")
    await worker.rules.kick(Kicking(room="room", peer="nobody", ban=5))
    receipt = await worker.publish("room")
    replay = await worker.bus.replay("room", first.id)
    assert not replay.lost
    assert [event.id.seq for event in replay.events] == [first.id.seq + 1, first.id.seq + 2, first.id.seq + 3]
    assert replay.id == receipt.id
    assert not [event for event in worker.received.events if isinstance(event, MemberJoined) and event.peer == "nobody"]
