"""The clients that may give the commands kick, rules, close and move, and the answers to them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.guard import Guard
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.room_control import control, right_of
from relay.identity.grants import GUEST, Grants, Right, RoomGrant
from relay.model.commands import ChangeRules, CloseRoom, Kick, MoveMembers, RoomControl
from relay.model.errors import Refused
from relay.model.rules import RoomRules, RuleChange
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import CODECS, FakeConnection

KICK, LOCK, CLOSE, MOVE = Kick("q", "why", 5), ChangeRules(RuleChange(locked=True)), CloseRoom("why"), MoveMembers("y")
ALL = [KICK, LOCK, CLOSE, MOVE]


class FakeRules:
    """The rules of a room whose owner is `owner`, and the commands that were carried out."""

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        self.found = True
        self.done: list[tuple[Any, ...]] = []

    def is_owner(self, room: str, peer: str) -> bool:
        return bool(peer) and peer == self.owner

    async def get(self, room: str) -> RoomRules:
        return RoomRules(owner=self.owner)

    async def change(self, room: str, change: RuleChange, *, create: bool = False, by: str = "") -> RoomRules:
        self.done.append(("change", room, change, create, by))
        return RoomRules(locked=True)

    async def kick(
        self, room: str, peer: str = "", *, reason: str = "", ban: float = 0, subject: str = "", by: str = ""
    ) -> bool:
        self.done.append(("kick", room, peer, reason, ban, by))
        return self.found

    async def close(self, room: str, *, reason: str = "") -> int:
        self.done.append(("close", room, reason))
        return 3

    async def move(self, room: str, to: str, peers: Sequence[str] | None = None) -> int:
        self.done.append(("move", room, to, peers))
        return 2


class Client:
    """A member `p` of the room `x`, without a session; `grants` are those of its token."""

    def __init__(self, worker: Worker, rules: FakeRules, grants: Grants | None) -> None:
        worker.rules = rules  # type: ignore[assignment]
        self.rules = rules
        self.worker = worker
        self.connection = FakeConnection()
        self.rooms = JoinedRooms(self.connection, worker, CODECS)
        self.guard = None if grants is None else Guard(grants)

    async def order(self, command: RoomControl) -> dict[str, Any]:
        """Give a command, and return the answer."""
        await control(command, self.rooms, self.worker, self.guard)
        return self.connection.events[-1]

    async def refusal(self, command: RoomControl) -> str:
        """The code with which a command is refused."""
        with pytest.raises(Refused) as refused:
            await self.order(command)
        assert not self.rules.done
        return refused.value.code


@asynccontextmanager
async def visiting(grants: Grants | None = None, owner: str = "", **settings: Any) -> AsyncIterator[Client]:
    async with Worker(Settings(**settings)) as worker:
        client = Client(worker, FakeRules(owner), grants)
        await client.rooms.enter(JoinRequest("x", "p"))
        yield client
        client.rooms.leave_all(hold=False)


def granting(*rights: Right, room: str = "*") -> Grants:
    return Grants(rooms=(RoomGrant(room, frozenset(rights)),))


def test_each_command_needs_its_right() -> None:
    assert [right_of(one) for one in ALL] == [Right.KICK, Right.LOCK, Right.CLOSE, Right.MOVE]
    assert right_of(ChangeRules()) is None


async def test_a_token_that_grants_it_is_enough() -> None:
    async with visiting(granting(*Right)) as client:
        answers = [await client.order(one) for one in ALL]
        assert [(one["type"], one.get("about"), one.get("count")) for one in answers] == [
            ("done", "kick", 1),
            ("rules", None, None),
            ("done", "close", 3),
            ("done", "move", 2),
        ]
        assert answers[1]["rules"]["locked"]
        assert client.rules.done == [
            ("kick", "x", "q", "why", 5, "p"),
            ("change", "x", RuleChange(locked=True), False, "p"),
            ("close", "x", "why"),
            ("move", "x", "y", None),
        ]


async def test_a_moderator_need_not_be_in_the_room() -> None:
    async with visiting(granting(Right.KICK, room="z")) as client:
        answer = await client.order(Kick("q", room="z", key="k"))
        assert answer == {"type": "done", "about": "kick", "count": 1, "room": "z", "key": "k"}
        assert client.rules.done == [("kick", "z", "q", "", 0, "")]


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("grants", [granting(Right.JOIN), granting(*Right, room="z"), GUEST])
async def test_a_token_without_the_right_is_not_enough(command: RoomControl, grants: Grants) -> None:
    async with visiting(grants) as client:
        assert await client.refusal(command) == "not_granted"


@pytest.mark.parametrize("command", ALL)
async def test_without_auth_the_settings_are_named(command: RoomControl) -> None:
    async with visiting(owner="p") as client:
        with pytest.raises(Refused, match="RELAY_AUTH") as refused:
            await client.order(command)
        assert refused.value.code == "forbidden"
        assert ("RELAY_OWNER_RULES" in refused.value.text) == (command is not MOVE)


async def test_the_owner_has_the_rights_of_owners() -> None:
    async with visiting(owner="p", owner_rules="on") as client:
        assert await client.refusal(MOVE) == "forbidden"
        for command in (KICK, LOCK, CLOSE):
            await client.order(command)
        assert [call[0] for call in client.rules.done] == ["kick", "change", "close"]


@pytest.mark.parametrize("grants", [None, GUEST])
@pytest.mark.parametrize("command", [KICK, LOCK, CLOSE])
async def test_nobody_else_may(command: RoomControl, grants: Grants | None) -> None:
    async with visiting(grants, owner="q", owner_rules="on") as client:
        assert await client.refusal(command) == "not_owner"


async def test_everybody_in_a_room_may_ask_for_its_rules() -> None:
    async with visiting(owner="q") as client:
        answer = await client.order(ChangeRules(key="k"))
        assert (answer["type"], answer["rules"]["owner"], answer["key"]) == ("rules", "q", "k")
        assert "room" not in answer
        assert await client.refusal(ChangeRules(room="z")) == "not_joined"


async def test_nobody_to_kick_is_an_error() -> None:
    async with visiting(granting(Right.KICK)) as client:
        client.rules.found = False
        with pytest.raises(Refused) as refused:
            await client.order(Kick("q"))
        assert (refused.value.code, refused.value.detail) == ("no_such_peer", {"peers": ["q"]})
        assert (await client.order(KICK))["count"] == 0


async def test_members_are_not_moved_to_where_they_are() -> None:
    async with visiting(granting(Right.MOVE)) as client:
        assert await client.refusal(MoveMembers("x")) == "already_joined"


async def test_members_are_not_moved_to_a_room_that_cannot_be() -> None:
    async with Worker(Settings(), reserved_words={"turn"}) as worker:
        client = Client(worker, FakeRules(), granting(Right.MOVE))
        await client.rooms.enter(JoinRequest("x", "p"))
        assert await client.refusal(MoveMembers("turn")) == "bad_room"
        client.rooms.leave_all(hold=False)


async def test_a_client_in_no_room_names_one() -> None:
    async with Worker(Settings()) as worker:
        client = Client(worker, FakeRules(), granting(*Right))
        assert await client.refusal(KICK) == "not_joined"
        assert await client.refusal(Kick("q", room="a b")) == "bad_room"


async def test_a_ban_in_a_room_that_does_not_exist_counts_as_a_new_room() -> None:
    grants = Grants(subject="p", rooms=(RoomGrant("*", frozenset({Right.JOIN, Right.KICK})),))
    async with Worker(Settings(new_rooms_per_address=2)) as worker:
        client = Client(worker, FakeRules(), grants)
        await client.rooms.enter(JoinRequest("x", "p"))

        async def ban(room: str) -> None:
            command = Kick("q", ban=5, room=room)
            await control(command, client.rooms, worker, client.guard, "1.2.3.4")

        for room in ("x", "y1", "x", "y2"):
            await ban(room)
        with pytest.raises(Refused) as refused:
            await ban("y3")
        assert refused.value.code == "too_many_new_rooms"
        assert len(client.rules.done) == 4
