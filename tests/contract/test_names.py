"""Names of any text, in their escaped form, through every backend."""

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.model.errors import Refused
from relay.model.events import MemberJoined, MemberLeft, Message, TakenOver
from relay.model.names import escape_peer, escape_room
from tests.contract.conftest import MakeWorker

TEXTS = ["main hall", "a/b", "%s %d %%", "{a}", "%20", "%w", "a,b", '"', "\U0001f600" * 170, "я" * 255]


@pytest.mark.parametrize("text", TEXTS)
async def test_a_room_and_peers_of_any_text(make_worker: MakeWorker, text: str) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.leases.beat()
    room, ann, ben = escape_room(text), escape_peer(text), escape_peer(f"B{text[1:]}")
    await a.bus.subscribe([room])
    joined = await a.presence.join(JoinAttempt(room=room, peer=ann, offered="", fresh="f1"))
    other = await b.presence.join(JoinAttempt(room=room, peer=ben, offered="", fresh="f2", roster=True))
    assert other.roster is not None
    assert {one.peer for one in other.roster.members} == {ann, ben}

    claim = {"sender": ann, "generation": joined.generation, "seen": joined.id}
    first = await a.publish(room, b'{"n":1}', to=(ben,), key="k", **claim)
    again = await a.publish(room, b'{"n":1}', to=(ben,), key="k", **claim)
    version = {} if first.version is None else {"version": first.version}
    fast = await a.publish(room, b'{"n":2}', **claim, **version)
    assert (again.id, again.repeat) == (first.id, True)
    with pytest.raises(Refused) as refused:
        await a.publish(room, to=(f"{ann}2",), **claim)
    assert refused.value.detail == {"peers": [f"{ann}2"]}

    taken = await b.presence.join(JoinAttempt(room=room, peer=ben, offered="f2", fresh="f3"))
    await b.presence.leave(PresenceEntry(room, ben, taken.generation, "f3"))
    await a.received.until(lambda events: events and isinstance(events[-1], MemberLeft))
    events = a.received.events
    assert [type(event) for event in events] == [MemberJoined, MemberJoined, Message, Message, TakenOver, MemberLeft]
    message, last = events[2], events[3]
    assert isinstance(message, Message)
    assert (message.room, message.sender, message.to, message.id) == (room, ann, (ben,), first.id)
    assert last.id == fast.id
    assert b'"from":"%b"' % ann.encode() in message.body

    replay = await b.bus.replay(room, joined.id)
    assert list(replay.events) == events[1:]
    assert (await b.presence.roster(room)).count == 1
    assert (room, 1) in (await b.list_rooms()).rooms
