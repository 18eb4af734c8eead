"""One worker: bus, presence, hub and keeper put together, and what the edges may ask of them."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Self

from relay import __version__, ids
from relay.backend.bus import Published
from relay.backend.factory import backend_settings, build_backend
from relay.config import Settings
from relay.limits import AddressLimits
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL, MessageId, Receipt, read_envelope
from relay.model.errors import GOING_AWAY, Refused, RelayError
from relay.model.events import Message, Roster
from relay.model.json_text import reading
from relay.model.names import check_room
from relay.rooms.clients import Client, Clients
from relay.rooms.gaps import GapRecovery
from relay.rooms.health import Check, Health
from relay.rooms.heartbeat import Heartbeat, beat_interval
from relay.rooms.hub import Hub
from relay.rooms.member import Member
from relay.rooms.membership import Membership
from relay.rooms.throttle import Throttle

log = logging.getLogger("relay.rooms.worker")

_LOOKED_BACK = (512, 64, 8)
"""Events in which a channel is looked for: fewer, where so many are more than is kept or read at once."""

_SETTLING, _TICK = 1.5, 0.01
"""Seconds a worker that starts has to become ready, and between two looks."""

_DRAIN_RATE = 1000
"""Connections that a stopping worker closes a second; more, if `drain_timeout` leaves too little time for that."""

_PRESENCE_BATCH = 0.02
"""Seconds for which joins and leaves are gathered before members are told."""


class Worker:
    """Opened and closed by `async with`; the edges (gateways, HTTP) know nothing below it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"
        self.metrics = Metrics()
        self.metrics.connection_limit.set(settings.max_connections)
        self.clock = time.monotonic
        self.random = ids.IdGenerator()
        self.disconnects = Throttle()
        self.clients = Clients(rate=_DRAIN_RATE, patience=settings.drain_timeout)
        self.addresses = AddressLimits(settings.connections_per_address, settings.handshake_rate, self.clock)
        self._hub = Hub(
            self.metrics,
            later=lambda callback: asyncio.get_running_loop().call_later(_PRESENCE_BATCH, callback),
            on_gap=lambda rooms: self._gap_recovery.begin(rooms),
        )
        self._backend = build_backend(
            backend_settings(settings, heartbeat_interval=beat_interval(settings.worker_lease)),
            worker=self.id,
            sink=self._hub.deliver,
            metrics=self.metrics,
            clock=self.clock,
        )
        self._bus, self._presence, self._leases = self._backend.bus, self._backend.presence, self._backend.leases
        self._gap_recovery = GapRecovery(self._hub, self._bus, self._presence, lease=settings.worker_lease)
        self._membership = Membership(
            self._hub,
            self._bus,
            self._presence,
            grace=settings.reconnect_grace,
            clock=self.clock,
            metrics=self.metrics,
            random=self.random,
        )
        # Called for each message: bound here, and not wrapped in methods, they cost no further call.
        self.publish: Callable[[Member, Publish, Published], None] = self._membership.publish
        self.when_delivered: Callable[[str, MessageId, Callable[[], None]], None] = self._hub.when_delivered
        self._heartbeat = Heartbeat(
            self._membership,
            self._leases,
            self._bus,
            interval=beat_interval(settings.worker_lease),
            lease=settings.worker_lease,
            presence_ttl=settings.room_state_ttl,
            probe_interval=settings.probe_timeout,
            clock=self.clock,
            metrics=self.metrics,
            on_deaf=lambda: self.clients.send_away(GOING_AWAY),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._heartbeat_task: asyncio.Task[None] | None = None
        self._started = self.clock()
        self._draining = False
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._backend)
        self._heartbeat_task = asyncio.create_task(self._heartbeat.run(), name="heartbeat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
            await asyncio.wait([self._heartbeat_task])
        # Ahead of the end of the lease: whoever takes over the places of those just lost is to know since when.
        self.disconnects.finish()
        try:
            async with asyncio.timeout(1):
                await self._leases.retire()
        except (RelayError, TimeoutError):
            log.warning("Redis could not be told that this worker stops; its lease will run out")
        await self._stack.aclose()

    # What the edges ask.

    async def wait_until_ready(self) -> None:
        """Wait until ready, but not for long, as health is to tell what is missing.

        To be called ahead of the first client, who would be refused else: a load balancer may send some at once.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLING):
                # Asked again and again: it is made of what several tasks find out.
                while not self.ready:  # noqa: ASYNC110
                    await asyncio.sleep(_TICK)

    @property
    def ready(self) -> bool:
        """Whether clients should be sent here."""
        return not self._draining and self._works

    @property
    def accepts_clients(self) -> bool:
        """Whether clients that come are let in; asked at every handshake."""
        return not self._closing and self._works

    @property
    def _works(self) -> bool:
        return (
            self._heartbeat_alive
            and not self._heartbeat.refusal
            and (not self.settings.redis_url or self._bus.health().ready)
        )

    @property
    def _heartbeat_alive(self) -> bool:
        return self._heartbeat_task is not None and not self._heartbeat_task.done()

    def health(self) -> Health:
        """How the worker is now; costs nothing."""
        bus, refusal = self._bus.health(), self._heartbeat.refusal
        answers = bus.reachable and not refusal
        checks = {
            "redis": Check(answers, "answers" if answers else f"refuses: {refusal}" if refusal else bus.problem),
            "subscription": Check(bus.ready, "heard itself" if bus.ready else bus.problem, bus.heard),
            "heartbeat": Check(
                self._heartbeat_alive, "runs" if self._heartbeat_alive else "the task has died; restart this worker"
            ),
            "draining": Check(not self._draining, "is stopping" if self._draining else "no"),
        }
        if not self.settings.redis_url:
            del checks["redis"], checks["subscription"]
            checks["bus"] = Check(ok=True, text="in this process; no Redis is configured")
        return Health(
            ready=self.ready,
            worker=self.id,
            version=__version__,
            uptime=self.clock() - self._started,
            rooms=len(self._hub),
            connections=len(self.clients),
            draining=self._draining,
            checks=checks,
        )

    async def join(
        self,
        member: Member,
        *,
        offered: str,
        since: MessageId | None,
        key: str = "",
        moved: Member | None = None,
        back: bool = False,
    ) -> None:
        """Let a member into its room and send it the welcome.

        `offered` is the resume key that the client sent ("" for none), `since` the last id that it says it has seen.
        `moved` is the client's membership of the room that it leaves for this one. With `back`, only an existing entry
        is resumed, and no new one made. Raises `Refused` (`peer_taken`, `room_full`, `not_joined`), `Unavailable` or
        `OutcomeUnknown`; the member is in no room then.
        """
        await self._membership.join(member, offered=offered, since=since, key=key, moved=moved, back=back)

    def leave(self, member: Member, *, hold: bool) -> asyncio.Future[None]:
        """End a membership: at once, or with `hold` after the reconnect grace time.

        Never fails: a leave that Redis did not take is retried. The future is done after the first attempt.
        """
        return self._membership.leave(member, hold=hold)

    def newest_id(self, member: Member) -> MessageId:
        """The newest id of the member's room; all events up to it have been written to the member.

        Joins and leaves that still wait to be sent together are written first.
        """
        room = self._hub.get(member.room)
        if room and (room.joined or room.left):
            self._hub.tell_presence()
        return max(member.since, room.last) if room else member.since

    async def roster(self, room: str) -> Roster:
        """Who is in a room; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._membership.roster(room)

    async def detect(self, name: str, room: str) -> bool:
        """Whether a name is in use, as somebody asks who is in `room`.

        It is if others are in a room of that name, or if the log has a channel of that name among the latest events of
        this one. Raises `Unavailable` or `OutcomeUnknown`.
        """
        with suppress(Refused):
            roster = await self._membership.roster(check_room(name))
            if roster.count > (name == room):
                return True
        here = self._hub.get(room)
        if here is None or here.last == BEFORE_ALL:
            return False
        epoch, seq = here.last
        for count in _LOOKED_BACK:
            replay = await self._bus.replay(room, MessageId(epoch, max(0, seq - count)))
            if not replay.lost:
                return any(isinstance(event, Message) and event.channel == name for event in replay.events)
        return False

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """Every room of the fleet and its number of members; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._presence.rooms()

    async def publish_from_server(self, room: str, envelope: bytes) -> Receipt:
        """Publish an envelope that an application server sent over HTTP.

        Raises `BadFrame` when it cannot be read, and `Refused`, `Unavailable` or `OutcomeUnknown` when it was not sent.
        """
        return await self._membership.publish_from_server(room, reading(read_envelope, envelope))

    def register(self, client: Client) -> None:
        """A client is one of this worker's, until `unregister`."""
        self.clients.add(client)
        self.metrics.connections.set(len(self.clients))

    def unregister(self, client: Client) -> None:
        """Undo `register`."""
        self.clients.remove(client)
        self.metrics.connections.set(len(self.clients))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for a session in the background; it must not raise."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def full(self) -> bool:
        """Whether this worker has as many connections as it may have."""
        return len(self.clients) >= self.settings.max_connections

    async def drain(self) -> None:
        """Be no longer ready, wait until that has got about, and send everybody elsewhere.

        Returns when all are gone, or after the drain timeout. Until then what clients have sent is seen to.
        """
        self._draining = True
        if self.settings.drain_delay:
            log.info("draining: not ready; closing connections in %g s", self.settings.drain_delay)
            await asyncio.sleep(self.settings.drain_delay)
        self._closing = True
        log.info("draining: closing %d connections", len(self.clients))
        left = await self.clients.drain(GOING_AWAY)
        if left:
            log.warning("%d connections were not closed in time", left)
