"""Which rooms are watched: by local clients, and by those of other workers."""

from collections.abc import Callable

from relay.gateways.native.codec import NativeCodec
from relay.metrics import Metrics
from relay.rooms.member import Member
from relay.rooms.registry import LocalRooms
from relay.rooms.watches import Watches
from tests.unit.rooms.world import FakeConnection, World


class Record:
    """A backend's record, which answers when a test says so."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.asked: list[tuple[str, Callable[[], None]]] = []

    def note(self, room: str) -> None:
        self.noted.append(room)

    def look(self, room: str, watched: Callable[[], None]) -> None:
        self.asked.append((room, watched))


def test_the_first_watcher_here_is_recorded_once() -> None:
    rooms, record = LocalRooms(Metrics()), Record()
    watches = Watches(rooms, record)
    for peer, presence in (("a", False), ("b", True), ("c", True)):
        member = Member(FakeConnection(), NativeCodec(), "r", peer, presence=presence)
        rooms.stage(member)
        watches.begin(member)
        assert rooms["r"].watched is (peer != "a")
    assert record.noted == ["r"]
    watches.look("r")
    assert not record.asked


def test_a_watcher_elsewhere_is_found() -> None:
    rooms, record = LocalRooms(Metrics()), Record()
    watches = Watches(rooms, record)
    rooms.stage(Member(FakeConnection(), NativeCodec(), "r", "a"))
    watches.look("r")
    ((room, found),) = record.asked
    assert (room, rooms["r"].watched) == ("r", False)
    found()
    assert rooms["r"].watched


def test_a_room_that_is_gone_meanwhile_is_not_marked() -> None:
    rooms, record = LocalRooms(Metrics()), Record()
    watches = Watches(rooms, record)
    member = Member(FakeConnection(), NativeCodec(), "r", "a")
    rooms.stage(member)
    watches.look("r")
    rooms.remove(member)
    record.asked[0][1]()
    watches.look("r")
    assert rooms.get("r") is None
    assert len(record.asked) == 1


async def test_a_member_that_joins_here_is_no_reason_to_look(world: World) -> None:
    looked: list[str] = []
    world.hub._on_joined = looked.append
    await world.join("a")
    await world.join("b")
    await world.settle()
    assert [member.peer for member in world.rooms.members()] == ["a", "b"]
    assert looked == []
