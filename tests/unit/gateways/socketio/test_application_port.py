"""The abilities of an application with a client: it publishes, changes the member info, goes on with a newer token."""

from __future__ import annotations

import json
from typing import Any

from tests.tokens import SECRET, token
from tests.unit.gateways.socketio.rooms_application import site


async def test_messages_reach_the_room_and_have_an_outcome() -> None:
    async with site() as one:
        ann, ben = await one.enter("ann"), await one.enter("ben")
        ann.say('420["say","lost"]')
        assert await ann.next() == '430["not_joined"]'
        ann.say('421["enter","r"]')
        await ann.next()
        ben.say('421["enter","r"]')
        await ben.next()
        await ann.next()
        ann.say('422["say","one"]', '42["say","two"]')
        assert await ann.next() == "432[true]"
        assert [await ben.next(), await ben.next()] == [
            '42["said",{"message": "one"}]',
            '42["said",{"message": "two"}]',
        ]


async def test_the_application_may_end_its_client() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        handler: Any = ann.session._handler
        ann.say('42["end"]')
        assert await ann.next() == "41"
        assert handler._namespaces.session("/") is None


async def test_a_client_changes_its_info_and_the_part_of_its_token_stays() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.enter("ann", token(sub="ann", rooms=["r"], info={"role": "x"}))
        ann.say('420["info",{"a":1}]', '421["enter","r"]', '422["info",{"a":2}]')
        assert [await ann.next() for _ in range(3)] == ['430["not_joined"]', '431["r",true,["ann"]]', "432[]"]
        (member,) = (await one.worker.roster("r")).members
        assert json.loads(member.info) == {"$token": {"role": "x"}, "a": 2}


async def test_a_newer_token_counts_for_later_commands() -> None:
    async with site(auth="required", auth_secret=SECRET, auth_leeway=0) as one:
        ann = await one.enter("ann", token(sub="ann", rooms=["r"]))
        newer = token(sub="ann", rooms=["s"], exp=4_000_000_000)
        ann.say(f'420["refresh","{newer}"]', '421["enter","r"]', '422["enter","s"]')
        assert [await ann.next() for _ in range(3)] == [
            "430[4000000000.0]", '431["not_granted"]', '432["s",true,["ann"]]',
        ]  # fmt: skip
        ann.say(f'423["refresh","{token(sub="ben", rooms=["s"])}"]')
        assert await ann.next() == '433["wrong_peer"]'


async def test_a_client_whose_newer_token_does_not_grant_its_room_is_put_out() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        ann = await one.enter("ann", token(sub="ann", rooms=["r"]))
        ann.say('420["enter","r"]', f'421["refresh","{token(sub="ann", rooms=["s"])}"]')
        assert await ann.next() == '430["r",true,["ann"]]'
        assert await ann.next() == "41"
        assert (await one.worker.roster("r")).count == 0


async def test_the_application_may_announce_the_id_of_the_session() -> None:
    async with site() as one:
        ann = await one.enter("ann")
        assert not ann.session.announced
        ann.say('42["announce"]')
        assert ann.session.announced
