"""One worker's rooms over the memory backend, with a clock of their own, and failures put in."""

import asyncio
import itertools
import json
import time
from typing import Any

from relay.backend.memory.bus import MemoryBus
from relay.backend.memory.channels import MemoryRecentChannels
from relay.backend.memory.presence import MemoryPresence
from relay.backend.memory.rules import MemoryRoomRules
from relay.backend.memory.state import MemoryEntry, MemoryRooms
from relay.backend.memory.usage import MemoryAddressUsage
from relay.backend.memory.watches import MemoryWatchedRooms
from relay.backend.presence import LeaseEnd, LeaseName
from relay.backend.settings import HistorySettings, RoomSettings
from relay.backend.stamps import Stamp
from relay.fleet_key import FleetKey
from relay.gateways.native.gateway import NativeCodec
from relay.ids import IdGenerator
from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL
from relay.model.events import RulesChanged
from relay.rooms.announcer import Announcer
from relay.rooms.attempts import Attempts
from relay.rooms.claim import Claim
from relay.rooms.counts import CountNotices
from relay.rooms.crowding import CrowdingLog
from relay.rooms.departures import Departures
from relay.rooms.entrances import Entrances
from relay.rooms.fan_out import FanOut
from relay.rooms.gaps import GapRecovery
from relay.rooms.history_reads import HistoryReads
from relay.rooms.hub import Hub
from relay.rooms.ice import IceOffers
from relay.rooms.infos import MemberInfos
from relay.rooms.member import Member
from relay.rooms.member_lists import MemberLists
from relay.rooms.membership import Membership
from relay.rooms.notices import PresenceNotices
from relay.rooms.observation import Observation
from relay.rooms.observer import Observer, Sight
from relay.rooms.openings import Openings
from relay.rooms.passwords import Passwords
from relay.rooms.publisher import Publisher
from relay.rooms.quotas import Quotas
from relay.rooms.registry import LocalRooms
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.rules import Rules
from relay.rooms.subscriptions import RoomSubscriptions
from relay.rooms.watches import Watches
from relay.tasks import BackgroundTasks


class FakeConnection:
    """Reads the frames that were written to it; `batches` counts the writes of several frames."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.batches = 0
        self.reason = None
        self.lost = False

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)

    def write_batch(self, batch: Batch) -> None:
        self.batches += 1
        self.frames += batch.frames

    def close(self, reason) -> None:
        self.reason = reason

    @property
    def sent(self) -> list[dict]:
        return [json.loads(frame.data) for frame in self.frames]

    @property
    def ids(self) -> list[str]:
        """The ids of the messages."""
        return [event["id"] for event in self.sent if "type" not in event]


class Failing:
    """Stands before a bus or a presence, and fails the next calls of one method, before or after they are done."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.before: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.meanwhile: dict[str, Any] = {}
        """Awaited between a call's arrival and its execution, by method."""

    def __getattr__(self, name: str):
        method = getattr(self._inner, name)
        if name == "publish":
            return method

        async def call(*arguments, **named):
            self.calls.append(name)
            if self.before.get(name):
                raise self.before[name].pop(0)
            if name in self.meanwhile:
                await self.meanwhile[name]()
            result = await method(*arguments, **named)
            if self.after.get(name):
                raise self.after[name].pop(0)
            return result

        return call


class World:
    def __init__(self, *, grace: float = 15, history: int = 10, closed: bool = False) -> None:
        self.now = 1000.0
        self.deaf = False
        self.losses: list[str] = []
        # No two requests arrive at the same time.
        self._moments = itertools.count(0, 1e-6)
        self.late = 0.0
        """How many seconds before its join each client's request arrives."""
        self.between = lambda: asyncio.sleep(0)
        kept = HistorySettings(size=history)
        self.backend = MemoryRooms(lambda: self.now, time.time, kept)
        self.metrics = Metrics()
        self.tasks = BackgroundTasks()
        self.rooms = LocalRooms(self.metrics)
        self.notices = PresenceNotices(self.rooms, lambda flush: None)
        self.hub = Hub(
            self.rooms,
            self.notices,
            self.metrics,
            on_gap=lambda names: self.gaps.begin(names),
            on_count=lambda name: self.counts.note(name),
            on_new_epoch=lambda name: self.gaps.begin_epoch(name),
            on_joined=lambda name: self.watches.look(name),
            on_rules=lambda event: self.copies.note(event),
            on_put_out=lambda name: self.subscriptions.note_idle(name),
            on_closed=lambda name: self.copies.forget(name),
        )
        self.bus = Failing(MemoryBus(self._deliver, self.backend, kept))
        self.presence = Failing(MemoryPresence(self.backend, LeaseName("w"), RoomSettings()))
        self.watches = Watches(self.rooms, MemoryWatchedRooms())
        self.subscriptions = RoomSubscriptions(self.rooms, self.bus, self.watches, timeout=5, clock=lambda: self.now)
        self.departures = Departures(
            self.presence,
            grace=grace,
            clock=lambda: self.now,
            metrics=self.metrics,
            on_settled=self.subscriptions.note_idle,
        )
        self.store = MemoryRoomRules(self.backend, RoomSettings())
        self.copies = RuleCopies(
            self.store,
            self.tasks,
            is_ours=lambda room: self.rooms.get(room) is not None or room in self.departures,
            has_members=lambda room: self.rooms.has_members(room) or room in self.departures,
            on_newer=lambda room, rules: self.hub.room_notices.tell(RulesChanged(room, BEFORE_ALL, rules)),
        )
        self.passwords = Passwords(attempts=3, clock=lambda: self.now, metrics=self.metrics)
        self.rules = Rules(self.store, self.store, self.copies, self.passwords, owners=True, metrics=self.metrics)
        self.announcer = Announcer(
            self.hub, self.presence, self.departures, self.copies, on_loss=lambda: self.losses.append("loss")
        )
        self.lists = MemberLists(self.hub, self.presence, timeout=0.2)
        self.gaps = GapRecovery(self.hub, self.bus, self.presence, self.announcer, self.lists, self.tasks, lease=0.01)
        self.counts = CountNotices(self.rooms, self.presence, self.tasks)
        self.waits: list[float] = []
        self.attempts = Attempts(
            self.presence,
            lambda room, arrived: str(Stamp.exact(self.now - 0.001 - self.late + next(self._moments))),
            FleetKey(["secret"]),
            IdGenerator(),
            sleep=self._sleep,
        )
        usage = MemoryAddressUsage(lambda: self.now)
        self.quotas = Quotas("rooms", 3, usage, use="new rooms", setting="new-rooms-per-address")
        self.openings = Openings(self.rooms, self.presence, self.store, self.quotas, self.backend.headroom)
        self.membership = Membership(
            self.hub,
            self.subscriptions,
            self.departures,
            self.announcer,
            Entrances(self.attempts, self.copies, self.passwords, closed=closed),
            CrowdingLog(1000, lambda: self.now),
            self.openings,
            HistoryReads(self.bus, rate=1000, clock=lambda: self.now, metrics=self.metrics),
            IceOffers((), None, metrics=self.metrics),
            metrics=self.metrics,
        )
        self.observation = Observation(self.hub, self.presence, self.subscriptions, self.openings, self.copies, limit=2)
        self.infos = MemberInfos(self.rooms, self.presence, self.announcer, lambda: self.now)
        self.channels = MemoryRecentChannels(ttl=30, clock=lambda: self.now)
        self.publisher = Publisher(
            self.hub,
            self.bus,
            self.announcer,
            self.tasks,
            self.channels,
            FanOut(rate=1000, clock=lambda: self.now, metrics=self.metrics),
            clock=lambda: self.now,
            metrics=self.metrics,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.between()

    def _deliver(self, batch) -> None:
        if not self.deaf:
            self.hub.deliver(batch)

    def member(self, peer: str = "p", room: str = "room", **options) -> Member:
        return Member(FakeConnection(), NativeCodec(), room, peer, **options)

    async def join(self, peer: str = "p", *, offered: str = "", since=None, **options) -> Member:
        member = self.member(peer, **options)
        await self.membership.join(member, Claim(offered), since=since)
        return member

    async def observe(
        self, sight: Sight = Sight.MEMBER, *, room: str = "room", address: str = "", **options
    ) -> Observer:
        observer = Observer(FakeConnection(), NativeCodec(), room, sight, **options)
        await self.observation.begin(observer, address=address)
        return observer

    async def publish(self, member: Member, envelope: bytes = b"{}", to: tuple[str, ...] = ()) -> Any:
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.publisher.publish(member, Publish(envelope, to), outcome.set_result)
        return await outcome

    async def announce(self, ended: LeaseEnd = "lapsed") -> None:
        async def between() -> None:
            pass

        await self.announcer.announce_all(between, ended)

    async def settle(self) -> None:
        """Let events that were published arrive, and tasks that they began end."""
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            while len(self.tasks):
                await asyncio.sleep(0)

    async def pass_time(self, seconds: float = 0.5) -> None:
        """Let time pass, and then settle the departures that are due."""
        self.now += seconds
        await self.departures.settle_due()

    async def roster(self, room: str = "room") -> list[tuple[str, bool]]:
        """The members of a room, and whether they are held."""
        return [(one.peer, one.held) for one in (await self.presence.roster(room)).members]

    def entries(self, room: str = "room") -> dict[str, MemoryEntry]:
        """The backend's entries of a room's members, for tests to change."""
        return self.backend.room(room).members

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)
