"""Rights on trees: the rights of a token, applied to reads and writes."""

import pytest

from relay.gateways.base.guard import Guard
from relay.gateways.firebase.access import check_access
from relay.identity.grants import Grants, Right
from relay.model.errors import Refused
from relay.model.rules import RuleChange
from relay.rooms.worker import Worker


async def test_without_auth_every_room_is_open_that_is_not_locked(worker: Worker) -> None:
    await check_access(worker, None, Right.JOIN, "room", is_member=False)
    await worker.rules.change("room", RuleChange(locked=True), create=True)
    with pytest.raises(Refused, match="room_locked"):
        await check_access(worker, None, Right.JOIN, "room", is_member=False)
    await check_access(worker, None, Right.JOIN, "room", is_member=True)


async def test_a_password_is_asked_of_clients_that_are_not_in_the_room(worker: Worker) -> None:
    await worker.rules.change("room", RuleChange(password="secret"), create=True)
    with pytest.raises(Refused, match="password_required"):
        await check_access(worker, None, Right.PUBLISH, "room", is_member=False)


async def test_a_token_without_the_right_is_refused_also_to_members(worker: Worker) -> None:
    with pytest.raises(Refused):
        await check_access(worker, Guard(Grants(anonymous=True)), Right.PUBLISH, "room", is_member=True)
