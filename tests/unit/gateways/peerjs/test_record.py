"""The record of signals that wait, over a record in memory."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from relay.backend.memory.waiting import MemoryWaitingMessages
from relay.gateways.peerjs.codec import Signal
from relay.gateways.peerjs.record import RecordedSignals
from relay.model.commands import Publish
from relay.model.envelope import MessageId
from relay.model.publication import Receipt
from relay.rooms.late_messages import LateMessages
from relay.rooms.member import Member, UnheldMember
from relay.tasks import BackgroundTasks
from tests.unit.gateways.base.fakes import FakeConnection


class Room:
    """One room, in which everything that is published is noted."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []
        self.keys = iter(f"key{number}" for number in range(100))
        self.tasks = BackgroundTasks()

        async def stores(_: str) -> bool:
            return True

        self.messages = LateMessages(MemoryWaitingMessages(lambda: 0.0), self._publish, stores, self.tasks)

    async def _publish(self, room: str, command: Publish, sender: str) -> Receipt:
        self.published.append((sender, command.key))
        return Receipt(b"1-1")

    def member(self, peer: str, began: int = 1, kind: type[Member] = Member) -> Member:
        member = kind(FakeConnection(), None, "room", peer)  # type: ignore[arg-type]
        member.began = MessageId(began, 1)
        return member

    def record(self, member: Member | None) -> RecordedSignals:
        return RecordedSignals(self.messages, lambda: member, lambda: next(self.keys))

    async def settle(self) -> None:
        while len(self.tasks):
            await asyncio.sleep(0)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    room = Room()
    yield room
    await room.tasks.cancel()


def signal(record: RecordedSignals, kind: str = "OFFER", dst: str = "bob") -> Signal:
    envelope = {"to": dst, "channel": "peerjs", "message": {"type": kind, "payload": {"connectionId": "c"}}}
    return Signal(msgspec.json.encode(envelope), (dst,), "peerjs", key=record.new_key(), kind=kind)


async def test_another_session_of_the_client_gets_the_signals_as_they_were(room: Room) -> None:
    ann = room.member("ann")
    record = room.record(ann)
    signals = [signal(record), signal(record, "CANDIDATE")]
    for one in signals:
        record.keep(one, 5)
    await room.settle()
    assert [one for one, _ in await room.record(ann).resume(ann)] == signals
    record.drop(signals[:1])
    await room.settle()
    assert [one for one, _ in await room.record(ann).resume(ann)] == signals[1:]
    record.drop_all()
    await room.settle()
    assert await room.record(ann).resume(ann) == []
    assert room.published == []


async def test_they_are_delivered_when_their_peer_arrives(room: Room) -> None:
    record = room.record(room.member("ann"))
    for kind in ("OFFER", "CANDIDATE"):
        record.keep(signal(record, kind), 5)
    await room.settle()
    bob = room.member("bob")
    assert await room.record(bob).resume(bob) == []
    for _ in range(2):
        room.messages.deliver("room", "bob")
        await room.settle()
        assert room.published == [("ann", "1-1.key0"), ("ann", "1-1.key1")]


async def test_a_later_client_with_the_same_id_does_not_go_on_with_them(room: Room) -> None:
    record = room.record(room.member("ann"))
    record.keep(signal(record), 5)
    await room.settle()
    other = room.member("ann", began=2)
    assert await room.record(other).resume(other) == []
    room.messages.deliver("room", "bob")
    await room.settle()
    assert room.published == []


async def test_expired_connections_are_known_to_another_session(room: Room) -> None:
    ann = room.member("ann")
    record = room.record(ann)
    record.keep(offer := signal(record), 5)
    record.expire([offer])
    await room.settle()
    back = room.record(ann)
    assert await back.resume(ann) == []
    assert back.has_any
    assert back.has_expired(signal(back, "CANDIDATE"))
    assert not back.has_expired(signal(back, "OFFER"))


@pytest.mark.parametrize("place", [None, UnheldMember])
async def test_nothing_is_recorded_for_a_client_without_a_place_or_that_cannot_come_back(
    room: Room, place: type[Member] | None
) -> None:
    record = room.record(place and room.member("ann", kind=place))
    record.keep(signal(record), 5)
    record.expire([signal(record)])
    record.drop_all()
    room.messages.deliver("room", "bob")
    await room.settle()
    assert room.published == []
