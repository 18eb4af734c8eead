"""Observers over every backend: a hub, and the parts for observers, on the lower floors of one worker."""

import asyncio
import time
from collections.abc import Callable

import pytest

from relay.backend.headroom import Headroom
from relay.backend.memory.usage import MemoryAddressUsage
from relay.backend.memory.watches import MemoryWatchedRooms
from relay.backend.presence import PresenceEntry
from relay.gateways.native.codec import NativeCodec
from relay.metrics import Metrics
from relay.model.envelope import BEFORE_ALL
from relay.model.events import Gap, MemberLeft, Message
from relay.rooms.announcer import Announcer
from relay.rooms.counts import CountNotices
from relay.rooms.departures import Departures
from relay.rooms.gaps import GapRecovery
from relay.rooms.hub import Hub
from relay.rooms.member_lists import MemberLists
from relay.rooms.notices import PresenceNotices
from relay.rooms.observation import Observation
from relay.rooms.observer import Observer, Sight
from relay.rooms.openings import Openings
from relay.rooms.quotas import Quotas
from relay.rooms.registry import LocalRooms
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.subscriptions import RoomSubscriptions
from relay.rooms.watches import Watches
from relay.tasks import BackgroundTasks
from tests.contract.conftest import SHORT, FakeWorker, MakeWorker, join
from tests.unit.rooms.world import FakeConnection


class Watching:
    """A worker that only has observers."""

    def __init__(self, worker: FakeWorker) -> None:
        self.worker = worker
        self.tasks = BackgroundTasks()
        metrics = Metrics()
        rooms = LocalRooms(metrics)
        self.gaps: GapRecovery
        self.hub = Hub(
            rooms,
            PresenceNotices(rooms, lambda flush: asyncio.get_running_loop().call_soon(flush)),
            metrics,
            on_gap=lambda names: self.gaps.begin(names),
            on_count=lambda name: self.counts.note(name),
            on_new_epoch=lambda name: self.gaps.begin_epoch(name),
            on_joined=lambda name: None,
        )
        self.subscriptions = RoomSubscriptions(
            rooms, worker.bus, Watches(rooms, MemoryWatchedRooms()), timeout=5, clock=time.monotonic
        )
        departures = Departures(
            worker.presence, grace=1, clock=time.monotonic, metrics=metrics, on_settled=self.subscriptions.note_idle
        )
        copies = RuleCopies(worker.rules, self.tasks, is_ours=lambda room: False, has_members=lambda room: False)
        self.gaps = GapRecovery(
            self.hub,
            worker.bus,
            worker.presence,
            Announcer(self.hub, worker.presence, departures, copies),
            MemberLists(self.hub, worker.presence, timeout=3),
            self.tasks,
            lease=0.05,
        )
        self.counts = CountNotices(rooms, worker.presence, self.tasks)
        quotas = Quotas("rooms", 1000, MemoryAddressUsage(time.time), use="new rooms", setting="new-rooms-per-address")
        openings = Openings(rooms, worker.presence, worker.rules, quotas, Headroom())
        self.observation = Observation(self.hub, worker.presence, self.subscriptions, openings, copies, limit=10)
        self.hear()

    def hear(self, *, deaf: bool = False) -> None:
        self.worker.received.then = (lambda _: None) if deaf else self.hub.deliver

    async def observe(self, sight: Sight = Sight.EVERYTHING, **options: bool) -> Observer:
        observer = Observer(FakeConnection(), NativeCodec(), "room", sight, **options)
        await self.observation.begin(observer)
        return observer


def gist(observer: Observer) -> list[object]:
    """The events of an observer after its welcome: numbers of messages, peers that joined and left, and codes."""
    sent = observer.connection.sent[1:]
    return [event.get("n", event.get("joined") or event.get("left") or event.get("code")) for event in sent]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.rooms.counts._INTERVAL", 0.05)


async def test_an_observer_sees_the_events_after_its_welcome(make_worker: MakeWorker) -> None:
    world, other = Watching(await make_worker("a")), await make_worker("b")
    entry, _ = await join(other, "old")
    observer = await world.observe()
    welcome = observer.connection.sent[0]
    assert (welcome["members"], welcome["count"], welcome["observer"]) == ([{"peer": "old"}], 1, True)
    _, joined = await join(other, "new", fresh="f2")
    claim = {"sender": "new", "generation": joined.generation}
    await other.publish("room", b'{"n":1}', **claim)
    await other.publish("room", b'{"n":2,"to":"old"}', to=("old",), **claim)
    await other.presence.leave(entry)
    await until(lambda: len(gist(observer)) == 4)
    assert gist(observer) == [["new"], 1, 2, ["old"]]


async def test_an_observer_leaves_no_trace_in_the_backend(make_worker: MakeWorker) -> None:
    watching, other = await make_worker("a"), await make_worker("b")
    world = Watching(watching)
    observer = await world.observe()
    assert observer.connection.sent[0]["id"] == str(BEFORE_ALL)
    world.hub.deliver([Gap(["room"])])
    await until(lambda: not len(world.tasks))
    assert (await other.presence.roster("room")).id == BEFORE_ALL
    assert (await other.list_rooms()).rooms == []
    if watching.client:
        assert await watching.client.call("EXISTS", *watching.keys.of_room("room")) == 0
        assert await watching.client.call("EXISTS", watching.keys.worker_rooms(str(watching.lease))) == 0


async def test_a_room_that_began_while_the_worker_was_deaf_is_read_from_its_beginning(make_worker: MakeWorker) -> None:
    world, other = Watching(await make_worker("a")), await make_worker("b")
    observer = await world.observe()
    world.hear(deaf=True)
    _, joined = await join(other)
    await other.publish("room", b'{"n":1}', sender="peer", generation=joined.generation)
    await world.worker.received.until(lambda events: events and isinstance(events[-1], Message))
    world.hear()
    await other.publish("room", b'{"n":2}', sender="peer", generation=joined.generation)
    await until(lambda: len(gist(observer)) == 3)
    # The history has no join of the first member of a room: the list of members follows instead.
    assert gist(observer)[:2] == [1, 2]
    assert observer.connection.sent[-1]["members"] == [{"peer": "peer"}]


async def test_after_a_gap_the_missed_events_follow(make_worker: MakeWorker) -> None:
    world, other = Watching(await make_worker("a")), await make_worker("b")
    entry, joined = await join(other)
    observer = await world.observe()
    world.hear(deaf=True)
    await other.publish("room", b'{"n":1}', sender="peer", generation=joined.generation)
    await other.presence.leave(entry)
    await world.worker.received.until(lambda events: events and isinstance(events[-1], MemberLeft))
    world.hear()
    world.hub.deliver([Gap(["room"])])
    await until(lambda: len(gist(observer)) == 2)
    assert gist(observer) == [1, ["peer"]]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_room_that_expired_begins_anew_without_a_loss(make_worker: MakeWorker) -> None:
    world, other = Watching(await make_worker("a", duration=SHORT)), await make_worker("b", duration=SHORT)
    entry, _ = await join(other)
    observer = await world.observe()
    await other.presence.leave(entry)
    await until(lambda: gist(observer) == [["peer"]])
    await other.client.call("DEL", *other.keys.of_room("room"))
    await join(other, "next")
    await until(lambda: len(gist(observer)) == 3)
    assert gist(observer)[:2] == [["peer"], ["next"]]
    # The last is the list of members, which follows when all workers have announced theirs.
    assert observer.connection.sent[-1]["members"] == [{"peer": "next"}]


async def test_numbers_follow_the_members(make_worker: MakeWorker) -> None:
    world, other = Watching(await make_worker("a")), await make_worker("b")
    entries: list[PresenceEntry] = [(await join(other, f"p{n}", fresh=f"f{n}"))[0] for n in range(3)]
    observer = await world.observe(Sight.COUNTS)
    assert (observer.connection.sent[0]["count"], "members" in observer.connection.sent[0]) == (3, False)
    for entry in entries:
        await other.presence.leave(entry)
    await until(lambda: observer.connection.sent[-1]["count"] == 0)
    assert not any(one.get("members") for one in observer.connection.sent)
