"""The rooms of one client on a worker over the memory backend, through the commands that concern them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from relay.backend.presence import LeaveReason
from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest, ResumeClaim
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.model.commands import (
    AskPresence,
    Detect,
    Join,
    Leave,
    Move,
    Ping,
    Publish,
    SetInfo,
    Subscribe,
    Tracking,
    Unsubscribe,
)
from relay.model.envelope import MessageId
from relay.model.errors import KICKED, NOT_ADMITTED, Refused
from relay.rooms.member import Member
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import CODECS, FakeConnection, until, until_members


class Visitor:
    """A client's rooms, and the events that it hears."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.connection = FakeConnection()
        self.rooms = JoinedRooms(self.connection, worker, CODECS)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """The events that it received since the last call."""
        events, self.connection.events = self.connection.events, []
        return events


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(rooms_per_connection=2, channels_per_room=2)) as worker:
        yield worker


@pytest.fixture
async def visitor(worker: Worker) -> Visitor:
    """A client that has entered `own` as `p`."""
    visitor = Visitor(worker)
    await visitor.rooms.enter(JoinRequest("own", "p", key="k"))
    (welcome,) = visitor.heard
    assert (welcome["type"], welcome["room"], welcome["peer"], welcome["key"]) == ("welcome", "own", "p", "k")
    return visitor


def code_of(refused: pytest.ExceptionInfo[Refused]) -> tuple[str, object]:
    return refused.value.code, refused.value.detail.get("room")


async def test_a_command_without_a_room_means_the_own_room(visitor: Visitor) -> None:
    rooms = visitor.rooms
    assert rooms.member("") is rooms.member("own")
    assert rooms.own_room == "own"
    with pytest.raises(Refused) as refused:
        rooms.member("elsewhere")
    assert code_of(refused) == ("not_joined", "elsewhere")


async def test_a_client_joins_further_rooms_as_the_same_peer_and_leaves_them(visitor: Visitor) -> None:
    await visitor.rooms.join(Join("more", key="j", channels=["c"]))
    assert visitor.rooms.member("more").peer == "p"
    assert visitor.rooms.member("more").channels == {"c"}
    assert len(visitor.rooms) == 2
    visitor.rooms.leave(Leave("more", "l"))
    await until_members(visitor.worker, "more", {})
    await until(lambda: len(visitor.connection.events) == 2)
    welcome, left = visitor.heard
    assert (welcome["type"], welcome["room"], welcome["key"]) == ("welcome", "more", "j")
    assert left == {"type": "left", "room": "more", "key": "l"}
    assert len(visitor.rooms) == 1


async def test_a_client_that_has_left_its_own_room_joins_it_again(visitor: Visitor) -> None:
    visitor.rooms.leave(Leave())
    await until_members(visitor.worker, "own", {})
    await until(lambda: visitor.connection.events)
    assert visitor.heard == [{"type": "left"}]
    with pytest.raises(Refused) as refused:
        visitor.rooms.ping(Ping())
    assert code_of(refused) == ("not_joined", "own")
    await visitor.rooms.join(Join("own"))
    assert visitor.heard[0]["type"] == "welcome"
    visitor.rooms.ping(Ping(key="k"))
    assert [set(event) for event in visitor.heard] == [{"type", "id", "key"}]


@pytest.mark.parametrize(
    ("command", "code", "room"),
    [
        (Join("own"), "already_joined", "own"),
        (Join("more"), "already_joined", "more"),
        (Join("third"), "too_many_rooms", "third"),
        (Join("no room"), "bad_room", None),
        (Join("a%2fb"), "bad_room", None),
        (Join("%61"), "bad_room", None),
    ],
)
async def test_rooms_that_a_client_cannot_join(visitor: Visitor, command: Join, code: str, room: str | None) -> None:
    await visitor.rooms.join(Join("more"))
    with pytest.raises(Refused) as refused:
        await visitor.rooms.join(command)
    assert code_of(refused) == (code, room)


@pytest.mark.parametrize(
    ("command", "code"),
    [(Join("more", since="yesterday"), "bad_command"), (Join("more", channels=["a", "b", "c"]), "too_many_channels")],
)
async def test_a_join_that_is_refused_leaves_nothing_behind(visitor: Visitor, command: Join, code: str) -> None:
    with pytest.raises(Refused) as refused:
        await visitor.rooms.join(command)
    assert refused.value.code == code
    assert len(visitor.rooms) == 1
    assert (await visitor.worker.roster("more")).count == 0


async def test_a_client_changes_its_info_in_a_room(visitor: Visitor) -> None:
    await visitor.rooms.join(Join("more", info=b'{"a":1}'))
    visitor.heard.clear()
    await visitor.rooms.set_info(SetInfo(b'{"b":2}', "", "k"))
    assert visitor.heard == [{"type": "info", "info": {"b": 2}, "key": "k"}]
    await visitor.rooms.set_info(SetInfo(b"", "more"))
    assert visitor.heard == [{"type": "info", "info": None, "room": "more"}]
    rosters = [await visitor.worker.roster(room) for room in ("own", "more")]
    assert [roster.members[0].info for roster in rosters] == [b'{"b":2}', b""]
    with pytest.raises(Refused) as refused:
        await visitor.rooms.set_info(SetInfo(b"", "elsewhere"))
    assert code_of(refused) == ("not_joined", "elsewhere")


async def test_a_client_that_moves_takes_its_info_along(visitor: Visitor) -> None:
    await visitor.rooms.set_info(SetInfo(b'{"a":1}'))
    await visitor.rooms.move(Move("next"))
    assert [one.info for one in (await visitor.worker.roster("next")).members] == [b'{"a":1}']


async def test_a_client_that_cannot_resume_is_held_in_no_room_that_it_moves_to(worker: Worker) -> None:
    visitor = Visitor(worker)
    await visitor.rooms.enter(JoinRequest("own", "p", can_resume=False))
    await visitor.rooms.move(Move("next"))
    visitor.rooms.leave_all(hold=True)
    await until_members(worker, "next", {})


@pytest.mark.parametrize(
    ("can_resume", "hold", "reason"), [(False, False, "left"), (False, True, "lost"), (True, False, "left")]
)
async def test_a_membership_that_ends_at_once_says_why(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, can_resume: bool, hold: bool, reason: str
) -> None:
    reasons, leave = list[str](), worker.leave

    def noted_leave(member: Member, *, hold: bool, reason: LeaveReason = "left") -> asyncio.Future[None]:
        reasons.append(reason)
        return leave(member, hold=hold, reason=reason)

    monkeypatch.setattr(worker, "leave", noted_leave)
    visitor = Visitor(worker)
    await visitor.rooms.enter(JoinRequest("own", "p", can_resume=can_resume))
    visitor.rooms.leave_all(hold=hold)
    assert reasons == [reason]


async def test_a_member_asks_for_as_many_members_as_it_wants(visitor: Visitor) -> None:
    other = Visitor(visitor.worker)
    await other.rooms.enter(JoinRequest("own", "q"))
    for rooms, limit, listed in ((visitor.rooms, 1, 1), (visitor.rooms, 1000, 2), (visitor.rooms, None, 2)):
        await rooms.list_members(AskPresence("own", limit=limit))
        (answer,) = visitor.heard
        assert (answer["count"], len(answer["members"])) == (2, listed)
    await other.rooms.join(Join("more"))
    await visitor.rooms.list_members(AskPresence("more", limit=1000))
    assert [(answer["count"], answer["members"]) for answer in visitor.heard] == [(1, [])]


async def test_moving_leaves_the_former_own_room(visitor: Visitor) -> None:
    await visitor.rooms.move(Move("next", "m"))
    assert visitor.rooms.own_room == "next"
    assert visitor.rooms.member("").room == "next"
    assert len(visitor.rooms) == 1
    await until_members(visitor.worker, "own", {})
    await until_members(visitor.worker, "next", {"p": False})
    (welcome,) = visitor.heard
    assert (welcome["room"], welcome["key"], welcome["resumed"]) == ("next", "m", False)


async def test_a_client_may_begin_in_no_room_and_move_to_its_first(worker: Worker) -> None:
    visitor = Visitor(worker)
    visitor.rooms.begin("p")
    assert len(visitor.rooms) == 0
    with pytest.raises(Refused, match="not_joined"):
        visitor.rooms.member("")
    await visitor.rooms.move(Move("first", "m", can_resume=False))
    assert visitor.rooms.member("").room == visitor.rooms.own_room == "first"
    assert [(event["room"], event["peer"], event["key"]) for event in visitor.heard] == [("first", "p", "m")]
    visitor.rooms.leave_all(hold=True)
    await until_members(worker, "first", {})


async def test_a_client_may_begin_in_no_room_and_join_several(worker: Worker) -> None:
    visitor = Visitor(worker)
    visitor.rooms.begin("p")
    await visitor.rooms.join(Join("one"))
    await visitor.rooms.join(Join("two", peer="q"))
    assert [(event["room"], event["peer"]) for event in visitor.heard] == [("one", "p"), ("two", "q")]
    with pytest.raises(Refused, match="already_joined"):
        await visitor.rooms.move(Move("one"))
    with pytest.raises(Refused, match="too_many_rooms"):
        await visitor.rooms.move(Move("three"))
    with pytest.raises(Refused, match="not_joined"):
        visitor.rooms.member("")
    with pytest.raises(Refused, match="bad_room"):
        await visitor.rooms.list_members(AskPresence())


async def test_moving_to_the_own_room_changes_nothing(visitor: Visitor) -> None:
    member = visitor.rooms.member("")
    await visitor.rooms.move(Move("own", "m"))
    assert visitor.rooms.member("") is member
    (welcome,) = visitor.heard
    assert (welcome["room"], welcome["key"], welcome["resumed"]) == ("own", "m", True)


async def test_a_client_that_cannot_move_stays_where_it_is(visitor: Visitor, worker: Worker) -> None:
    other = Visitor(worker)
    await other.rooms.enter(JoinRequest("next", "p"))
    with pytest.raises(Refused) as refused:
        await visitor.rooms.move(Move("next"))
    assert refused.value.code == "peer_taken"
    assert visitor.rooms.member("").room == visitor.rooms.own_room == "own"


async def test_channels_add_up_and_are_taken_away(visitor: Visitor) -> None:
    rooms = visitor.rooms
    rooms.subscribe(Subscribe(["b"], key="1"))
    rooms.subscribe(Subscribe(["a"]))
    rooms.unsubscribe(Unsubscribe(["b"]))
    rooms.unsubscribe(Unsubscribe(None))
    rooms.unsubscribe(Unsubscribe(["b"]))
    assert [event["channels"] for event in visitor.heard] == [["b"], ["a", "b"], ["a"], None, []]
    rooms.subscribe(Subscribe(["a", "b"]))
    with pytest.raises(Refused) as refused:
        rooms.subscribe(Subscribe(["c"]))
    assert refused.value.code == "too_many_channels"
    assert rooms.member("").channels == {"a", "b"}


async def test_the_channels_of_all_rooms_are_bounded_together() -> None:
    async with Worker(Settings(subscriptions_per_connection=3)) as worker:
        visitor = Visitor(worker)
        await visitor.rooms.enter(JoinRequest("own", "p", channels=["a", "b"]))
        for join in (Join("more", channels=["a", "b"]), Join("more", channels=["x" * 40_000])):
            with pytest.raises(Refused) as refused:
                await visitor.rooms.join(join)
            assert refused.value.code == "too_many_channels"
        await visitor.rooms.join(Join("more", channels=["c"]))
        with pytest.raises(Refused):
            visitor.rooms.subscribe(Subscribe(["d"], "more"))
        visitor.rooms.unsubscribe(Unsubscribe(["a"]))
        visitor.rooms.subscribe(Subscribe(["d"], "more"))
        assert visitor.rooms.member("more").channels == {"c", "d"}
        visitor.rooms.subscribe(Subscribe(["b"]))


async def test_only_members_see_the_names_of_members(visitor: Visitor, worker: Worker) -> None:
    other = Visitor(worker)
    await other.rooms.enter(JoinRequest("theirs", "q"))
    await visitor.rooms.list_members(AskPresence(key="k"))
    await visitor.rooms.list_members(AskPresence("theirs"))
    own, theirs = visitor.heard
    assert (own["members"], own["count"], own["key"]) == ([{"peer": "p"}], 1, "k")
    assert (theirs["members"], theirs["count"], theirs["room"]) == ([], 1, "theirs")


async def test_a_list_follows_the_events_that_its_id_stands_for(visitor: Visitor, worker: Worker) -> None:
    other = Visitor(worker)
    await other.rooms.enter(JoinRequest("own", "q"))
    # In memory, events are delivered in the next turn of the loop: the list is ahead of them.
    worker.publish(other.rooms.member("own"), Publish(b'{"n":1}'), lambda _: None)
    await visitor.rooms.list_members(AskPresence("own"))
    message, listed = visitor.heard
    assert (message["n"], listed["id"]) == (1, message["id"])


async def test_only_listeners_of_a_room_get_its_id_with_its_members(visitor: Visitor, worker: Worker) -> None:
    other = Visitor(worker)
    await other.rooms.enter(JoinRequest("theirs", "q"))
    await visitor.rooms.list_members(AskPresence("theirs"))
    (listed,) = visitor.heard
    assert listed["id"] == "0-0"


async def test_a_name_in_use_is_detected(visitor: Visitor, worker: Worker) -> None:
    other = Visitor(worker)
    await other.rooms.enter(JoinRequest("theirs", "q"))
    await visitor.rooms.detect(Detect("theirs", key="k"))
    await visitor.rooms.detect(Detect("nowhere"))
    assert visitor.heard == [
        {"type": "presence", "present": True, "key": "k"},
        {"type": "presence", "present": False},
    ]


async def test_a_client_resumes_the_membership_that_it_claims(worker: Worker) -> None:
    first = Visitor(worker)
    await first.rooms.enter(JoinRequest("claimed", "p"))
    (welcome,) = first.heard
    first.rooms.leave_all(hold=True)
    await until_members(worker, "claimed", {"p": True})
    second = Visitor(worker)
    claim = ResumeClaim("claimed", "p", welcome["resume"], MessageId.parse(welcome["id"]))
    await second.rooms.enter(JoinRequest("asked", "new", claim=claim))
    assert (second.rooms.own_room, second.rooms.member("").peer) == ("claimed", "p")
    assert [event["type"] for event in second.heard] == ["welcome", "recovered"]
    await until_members(worker, "claimed", {"p": False})


@pytest.mark.parametrize("taken", [False, True])
async def test_a_client_whose_claim_is_void_enters_the_room_that_it_asks_for(worker: Worker, taken: bool) -> None:
    if taken:
        await Visitor(worker).rooms.enter(JoinRequest("claimed", "p"))
    visitor = Visitor(worker)
    claim = ResumeClaim("claimed", "p", "wrong", MessageId(1, 1))
    await visitor.rooms.enter(JoinRequest("asked", "new", claim=claim))
    assert (visitor.rooms.own_room, visitor.rooms.member("").peer) == ("asked", "new")
    await until_members(worker, "claimed", {"p": False} if taken else {})


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_tracked_client_goes_on_from_its_delivered_position(
    worker: Worker, visitor: Visitor, claimed: bool
) -> None:
    first = Visitor(worker)
    await first.rooms.enter(JoinRequest("tracked", "t", tracking=Tracking.ACKNOWLEDGED))
    (welcome,) = first.heard
    await first.rooms.join(Join("more", tracking=Tracking.ACKNOWLEDGED))
    (other,) = first.heard
    sent = [await worker.publish_from_server("tracked", b'{"n":%d}' % number) for number in (1, 2, 3)]
    await until(lambda: len(first.connection.events) == 3)
    worker.acknowledge(first.rooms.member(""), sent[1].id)
    await worker._parts.positions.round()
    first.rooms.leave_all(hold=True)
    await until_members(worker, "tracked", {"t": True})
    second = Visitor(worker)
    if claimed:
        claim = ResumeClaim("tracked", "t", welcome["resume"], None)
        request = JoinRequest("asked", "new", claim=claim, tracking=Tracking.ACKNOWLEDGED)
    else:
        request = JoinRequest("tracked", "t", resume=welcome["resume"], tracking=Tracking.ACKNOWLEDGED)
    await second.rooms.enter(request)
    again, message, *_ = second.heard
    assert (again["recovered"], again["id"], message["n"]) == (True, str(sent[1].id), 3)
    # Nothing happened in the other room but the member's own return.
    await second.rooms.join(Join("more", resume=other["resume"], tracking=Tracking.ACKNOWLEDGED))
    assert second.heard[0]["recovered"] is True


async def test_a_client_that_moves_may_be_tracked_in_the_other_room(visitor: Visitor, worker: Worker) -> None:
    await visitor.rooms.move(Move("other", tracking=Tracking.WRITTEN))
    assert len(worker._parts.positions) == 1
    visitor.rooms.leave(Leave())
    assert len(worker._parts.positions) == 0


@pytest.mark.parametrize("hold", [False, True])
async def test_leaving_all_rooms(visitor: Visitor, hold: bool) -> None:
    await visitor.rooms.join(Join("more"))
    visitor.rooms.leave_all(hold=hold)
    for room in ("own", "more"):
        await until_members(visitor.worker, room, {"p": True} if hold else {})
    assert len(visitor.rooms) == 0
    visitor.rooms.leave_all(hold=hold)


# STUN and TURN servers.

TURN = Settings(turn_servers=("turn:t.example",), turn_secret="secret-of-the-tests", turn_ttl=600)


async def test_a_client_gets_credentials_with_each_welcome_and_renewed_ones_once() -> None:
    async with Worker(TURN) as worker:
        visitor = Visitor(worker)
        await visitor.rooms.enter(JoinRequest("own", "p"))
        await visitor.rooms.join(Join("more"))
        welcomes = visitor.heard
        assert [one["iceServers"][0]["username"].partition(":")[2] for one in welcomes] == ["p", "p"]
        assert len(worker.ice) == 1
        visitor.rooms.renew_ice()
        (renewed,) = visitor.heard
        assert (renewed["type"], renewed["ttl"], set(renewed)) == ("ice", 600, {"type", "iceServers", "ttl"})
        # A client that has left all rooms gets none.
        for room in ("more", ""):
            visitor.rooms.leave(Leave(room))
        await until(lambda: len(visitor.connection.events) == 2)
        visitor.connection.events.clear()
        visitor.rooms.renew_ice()
        visitor.rooms.leave_all(hold=True)
        assert (visitor.heard, len(worker.ice)) == ([], 0)


async def test_without_turn_servers_no_client_is_kept_for_renewal(visitor: Visitor) -> None:
    assert len(visitor.worker.ice) == 0


async def test_a_client_that_is_put_out_of_a_further_room_stays_connected(visitor: Visitor, worker: Worker) -> None:
    await visitor.rooms.join(Join("other"))
    assert await worker.rules.kick("other", "p", reason="noise")
    await until(lambda: not visitor.rooms.is_in("other"))
    assert visitor.connection.reason is None
    assert visitor.heard[-1]["type"] == "kicked"
    assert [one.peer for one in (await worker.roster("own")).members] == ["p"]
    await visitor.rooms.join(Join("other"))
    assert await worker.rules.kick("own", "p")
    await until(lambda: visitor.connection.reason is KICKED)


async def test_a_client_that_is_put_out_of_a_room_while_it_joins_is_not_in_it(
    visitor: Visitor, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = worker.join

    async def join_and_be_put_out(member: Member, *args: Any, **options: Any) -> None:
        await join(member, *args, **options)
        member.put_out(KICKED)

    monkeypatch.setattr(worker, "join", join_and_be_put_out)
    await visitor.rooms.join(Join("other"))
    assert not visitor.rooms.is_in("other")
    await until_members(worker, "other", {})
    assert visitor.connection.reason is None
    await visitor.rooms.move(Move("other"))
    assert visitor.rooms.own_room == "own"
    await until_members(worker, "other", {})
    assert visitor.connection.reason is NOT_ADMITTED


async def test_a_client_is_moved_by_its_session_out_of_its_own_room_alone(visitor: Visitor, worker: Worker) -> None:
    class Mover:
        rooms: ClassVar[list[str]] = []

        def move(self, room: str) -> None:
            self.rooms.append(room)

    await visitor.rooms.join(Join("other"))
    assert await worker.rules.move("own", "elsewhere") == 1
    # A client whose session moves nobody is told all the same.
    await until(lambda: visitor.connection.events[-1]["type"] == "move")
    visitor.rooms.mover = Mover()
    assert await worker.rules.move("other", "elsewhere") == 1
    assert await worker.rules.move("own", "next", ["p"]) == 1
    await until(lambda: Mover.rooms == ["next"])
    assert [event["to"] for event in visitor.heard if event["type"] == "move"] == ["elsewhere", "elsewhere", "next"]
