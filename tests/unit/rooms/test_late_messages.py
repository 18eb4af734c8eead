"""Messages that wait, with a record and a Redis that fail."""

import asyncio

import pytest

from relay.backend.memory.waiting import MemoryWaitingMessages
from relay.model.commands import Publish
from relay.model.errors import Refused, RelayError, Unavailable
from relay.model.publication import Receipt
from relay.model.waiting import WaitingMessage
from relay.rooms.late_messages import LateMessages
from relay.tasks import BackgroundTasks


class Away:
    """A record while Redis is away."""

    async def keep(self, room: str, message: WaitingMessage) -> bool:
        raise Unavailable

    async def of(self, room: str, peer: str) -> list[WaitingMessage]:
        raise Unavailable

    async def drop(self, room: str, sender: str, keys: object = None) -> None:
        raise Unavailable


class Scene:
    def __init__(self, record: object = None) -> None:
        self.now = 0.0
        self.stored = True
        self.sent: list[tuple[str, Publish]] = []
        self.error: RelayError | None = None
        self.tasks = BackgroundTasks()
        self.late = LateMessages(
            record or MemoryWaitingMessages(lambda: self.now),  # type: ignore[arg-type]
            self._publish,
            self._stores,
            self.tasks,
        )

    async def _publish(self, room: str, command: Publish, sender: str) -> Receipt:
        if self.error is not None:
            raise self.error
        self.sent.append((sender, command))
        return Receipt(b"1-1")

    async def _stores(self, room: str) -> bool:
        return self.stored

    async def keep(self, key: str = "k", seconds: float = 5) -> None:
        self.late.keep("room", WaitingMessage("ann", "bob", key, b'{"to":"bob","message":1}', seconds))
        await self.settle()

    async def arrive(self, peer: str) -> list[str]:
        """Deliver to a peer; return the keys of the messages that wait from it."""
        self.late.deliver("room", peer)
        await self.settle()
        return [message.key for message in await self.late.sent_by("room", peer)]

    async def settle(self) -> None:
        while len(self.tasks):
            await asyncio.sleep(0)


async def test_a_message_is_published_for_its_sender_with_its_key() -> None:
    scene = Scene()
    await scene.keep()
    assert await scene.arrive("ann") == ["k"]
    assert await scene.arrive("bob") == []
    ((sender, command),) = scene.sent
    assert (sender, command.key, command.to, command.envelope) == ("ann", "k", ("bob",), b'{"to":"bob","message":1}')
    assert await scene.arrive("ann") == []


async def test_after_its_time_only_its_sender_gets_it_back() -> None:
    scene = Scene()
    await scene.keep()
    scene.now = 6
    assert await scene.arrive("bob") == []
    assert await scene.arrive("ann") == ["k"]
    assert scene.sent == []


async def test_an_undelivered_message_stays_for_its_sender() -> None:
    scene = Scene()
    await scene.keep("k1")
    await scene.keep("k2")
    scene.error = Refused("no_such_peer")
    await scene.arrive("bob")
    assert await scene.arrive("ann") == ["k1", "k2"]


async def test_a_room_without_a_history_has_no_record() -> None:
    scene = Scene()
    scene.stored = False
    await scene.keep()
    assert await scene.arrive("ann") == []


@pytest.mark.parametrize("peer", ["ann", "bob"])
async def test_nothing_fails_while_redis_is_away(peer: str) -> None:
    scene = Scene(Away())
    await scene.keep()
    assert await scene.arrive(peer) == []
    scene.late.drop("room", "ann")
    await scene.settle()
