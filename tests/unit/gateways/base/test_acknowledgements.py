"""When a message is acknowledged: in the order of its room's events, or not in time."""

import asyncio
from collections.abc import Callable

from relay.gateways.base.acknowledgements import Acknowledgements
from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import OutcomeUnknown
from relay.rooms.member import Member
from tests.unit.gateways.base.fakes import FakeConnection

LONG, SHORT = 60.0, 0.02


class Deliveries:
    """Stands for the hub: calls back for a room's ids up to the one that was delivered."""

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        self.waiting: list[tuple[str, MessageId, Callable[[], None]]] = []

    def when_delivered(self, room: str, message_id: MessageId, callback: Callable[[], None]) -> None:
        self.waiting.append((room, message_id, callback))
        self.deliver(room, self.newest.get(room, 0))

    def deliver(self, room: str, seq: int) -> None:
        self.newest[room] = seq
        due = [one for one in self.waiting if one[0] == room and one[1].seq <= seq]
        self.waiting = [one for one in self.waiting if one not in due]
        for _, _, callback in due:
            callback()


class World:
    """A member of each of two rooms, and the acks that its session owes."""

    def __init__(self, timeout: float) -> None:
        self.connection = FakeConnection()
        self.members = {room: Member(self.connection, NativeCodec(), room, "p") for room in ("r", "s")}
        self.deliveries = Deliveries()
        self.acks = Acknowledgements(self.deliveries.when_delivered, timeout)
        self.answers: asyncio.Queue[tuple[str, OutcomeUnknown | None]] = asyncio.Queue()

    def add(self, key: str, seq: int, room: str = "r") -> None:
        self.acks.add(self.members[room], MessageId(1, seq), key, self.answered)

    def answered(self, member: Member, key: str, error: OutcomeUnknown | None) -> None:
        self.answers.put_nowait((key, error))

    @property
    def done(self) -> list[str]:
        return [self.answers.get_nowait()[0] for _ in range(self.answers.qsize())]

    @property
    def written(self) -> list[str]:
        return [f"{event['type']} {event['key']} {event['id']}" for event in self.connection.events]


async def test_a_message_that_was_delivered_already_is_acknowledged_at_once_and_needs_no_timer() -> None:
    world = World(SHORT)
    world.deliveries.newest["r"] = 9
    world.add("a", 8)
    assert world.written == ["ack a 1-8"]
    assert world.done == ["a"]
    assert len(world.acks) == 0


async def test_an_ack_waits_until_everything_before_it_was_delivered() -> None:
    world = World(LONG)
    world.add("a", 5)
    world.add("b", 6)
    world.deliveries.deliver("r", 4)
    assert world.written == []
    world.connection.write(Frame(b'{"type":"event","key":"of-somebody-else","id":"1-5"}'))
    world.deliveries.deliver("r", 5)
    assert world.written == ["event of-somebody-else 1-5", "ack a 1-5"]
    world.deliveries.deliver("r", 7)
    assert world.written[2:] == ["ack b 1-6"]
    assert world.done == ["a", "b"]


async def test_rooms_do_not_wait_for_each_other() -> None:
    world = World(LONG)
    world.add("a", 5, "r")
    world.add("b", 1, "s")
    world.deliveries.deliver("s", 1)
    assert world.written == ["ack b 1-1"]
    assert len(world.acks) == 2
    world.deliveries.deliver("r", 5)
    assert world.written == ["ack b 1-1", "ack a 1-5"]
    assert len(world.acks) == 0


async def test_a_message_that_is_not_delivered_in_time_gets_an_error_and_no_ack_later() -> None:
    world = World(SHORT)
    world.add("a", 5)
    key, error = await world.answers.get()
    assert key == "a"
    assert error is not None
    assert error.code == "outcome_unknown"
    world.deliveries.deliver("r", 5)
    assert world.written == []
    assert world.done == []


async def test_every_message_has_the_whole_time() -> None:
    world = World(SHORT)
    began = asyncio.get_running_loop().time()
    world.add("a", 5)
    await asyncio.sleep(SHORT / 2)
    world.add("b", 6)
    keys = [(await world.answers.get())[0], (await world.answers.get())[0]]
    assert keys == ["a", "b"]
    assert asyncio.get_running_loop().time() - began >= SHORT * 1.4


async def test_a_message_behind_an_answered_one_times_out_as_well() -> None:
    world = World(SHORT)
    world.add("a", 5)
    world.add("b", 6)
    world.deliveries.deliver("r", 5)
    assert world.done == ["a"]
    key, error = await world.answers.get()
    assert (key, error is None) == ("b", False)


async def test_a_message_after_a_quiet_time_times_out_as_well() -> None:
    world = World(SHORT)
    world.add("a", 5)
    await world.answers.get()
    world.add("b", 6)
    assert (await world.answers.get())[0] == "b"


async def test_an_answer_that_fails_does_not_keep_later_messages_waiting() -> None:
    world = World(SHORT)

    def fail(*arguments: object) -> None:
        raise RuntimeError

    world.acks.add(world.members["r"], MessageId(1, 1), "a", fail)
    world.add("b", 2)
    async with asyncio.timeout(5):
        key, error = await world.answers.get()
    assert key == "b"
    assert isinstance(error, OutcomeUnknown)
