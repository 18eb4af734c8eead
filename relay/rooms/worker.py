"""One worker, as the edges (gateways, HTTP) see it: they know nothing below it."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import MappingProxyType, TracebackType
from typing import Any, Self

from relay import __version__, ids
from relay.backend.bus import Published
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.limits import AddressLimits, Clock, PaceLimits
from relay.metrics import Metrics
from relay.model.commands import Publish, Tracking
from relay.model.envelope import MessageId, Receipt, read_envelope
from relay.model.errors import GOING_AWAY, Refused, RelayError
from relay.model.events import Roster
from relay.model.json_text import read_leniently
from relay.model.workers import LocalWorkers
from relay.origins import AllowedOrigins
from relay.rooms.admissions import Admissions, Ticket
from relay.rooms.clients import Clients
from relay.rooms.composition import WorkerBasis, compose
from relay.rooms.health import Health
from relay.rooms.member import Claim, Listener, Member
from relay.rooms.observer import Observer
from relay.rooms.throttle import Throttle
from relay.session_ids import SessionIds
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.worker")

_START_TIMEOUT, _TICK = 1.5, 0.01
"""Seconds that a starting worker has to become ready, and between two looks."""

_DRAIN_RATE = 1000
"""Connections that a stopping worker closes in a second, or more if there are too many for its drain timeout."""

_RETIRE_TIMEOUT = 1.0
"""Seconds that a stopping worker has to end its lease."""


class Worker:
    """A facade over the parts of a worker; opened and closed by `async with`.

    `protocols` are the protocols of its clients, each with its error codes, for metrics. `local` are the workers behind
    the same port; None for a lone worker. No room may be named like one of the `reserved_words`.
    """

    def __init__(
        self,
        settings: Settings,
        protocols: Mapping[str, Iterable[str]] = MappingProxyType({}),
        *,
        local: LocalWorkers | None = None,
        reserved_words: Collection[str] = (),
    ) -> None:
        self.settings = settings
        self._reserved_words = reserved_words
        self.id = settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"
        self.local = local or LocalWorkers()
        self.metrics = Metrics(protocols)
        self.metrics.connection_limit.set(settings.max_connections)
        self.clock = time.monotonic
        self.random = ids.IdGenerator()
        self.disconnects = Throttle()
        self.admissions = _admissions(settings, self.metrics, self.clock)
        self.origins = AllowedOrigins(settings.allowed_origins)
        self.clients = Clients(rate=_DRAIN_RATE, timeout=settings.drain_timeout)
        self.fleet_key = FleetKey(settings.fleet_secret.split())
        self.session_ids = SessionIds(self.fleet_key, self.local.owner, self.random)
        basis = WorkerBasis(
            settings, self.id, self.local, self.fleet_key, self.metrics, random=self.random, clock=self.clock
        )
        self._parts = compose(basis, on_deaf=lambda: self.clients.close_all(GOING_AWAY))
        # Called for each message: bound here, and not wrapped in methods, they cost no further call.
        self.publish: Callable[[Member, Publish, Published], None] = self._parts.publisher.publish
        self.when_delivered: Callable[[str, MessageId, Callable[[], None]], None] = self._parts.hub.when_delivered
        self._sessions = BackgroundTasks()
        self._stack = AsyncExitStack()
        self._started = self.clock()
        self._draining = False
        self._closing = False

    async def __aenter__(self) -> Self:
        parts = self._parts
        await self._stack.enter_async_context(parts.backend)
        parts.health.supervise(
            parts.tasks.keep(parts.heartbeat.run, "heartbeat"),
            parts.tasks.keep(parts.upkeep.run, "upkeep"),
            parts.tasks.keep(parts.fleet_key_sharing.run, "fleet key"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.tasks.cancel()
        # Before the lease ends: so the worker that takes the members over knows since when each of them is held.
        self.disconnects.finish()
        try:
            async with asyncio.timeout(_RETIRE_TIMEOUT):
                await self._parts.backend.leases.retire()
        except (RelayError, TimeoutError) as failure:
            log.warning(
                "the lease of this worker could not be ended (%s); other workers take its members over when it has run "
                "out", str(failure) or "no answer in time",
            )  # fmt: skip
        await self._stack.aclose()

    # Health.

    async def wait_until_ready(self) -> None:
        """Wait until ready, for a short time at most: after that, `/health` reports which check fails.

        Called before the first client is accepted: the worker would refuse clients until it is ready.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_TIMEOUT):
                # Polled, as readiness is made of the findings of several tasks.
                while not self.ready:  # noqa: ASYNC110
                    await asyncio.sleep(_TICK)

    @property
    def ready(self) -> bool:
        """Whether clients should be sent to this worker."""
        return not self._draining and self._parts.health.works

    @property
    def accepts_clients(self) -> bool:
        """Whether new clients are accepted; asked at every handshake.

        It stays true longer than `ready`: the load balancer takes some time to notice that the worker drains.
        """
        return not self._closing and self._parts.health.works

    def health(self) -> Health:
        """The worker's state; costs nothing."""
        return Health(
            ready=self.ready,
            worker=self.id,
            version=__version__,
            uptime=self.clock() - self._started,
            rooms=len(self._parts.hub.rooms),
            connections=len(self.admissions),
            draining=self._draining,
            checks=self._parts.health.checks(draining=self._draining),
        )

    # Connections.

    def admit(self, address: str, protocol: str) -> Ticket:
        """Admit a client of a gateway's protocol, and count it against its address until its ticket is released.

        Raises `Refused`: `unavailable`, `worker_full`, `too_many_connections` or `too_many_handshakes`.
        """
        if not self.accepts_clients:
            raise Refused("unavailable")
        return self.admissions.admit(address, protocol)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a session's work in the background."""
        self._sessions.spawn(work, "session")

    async def drain(self) -> None:
        """Stop being ready, wait until the load balancer has noticed, and close all connections step by step.

        Returns when all are closed, or after the drain timeout. Commands that clients have sent before are served until
        then.
        """
        self._draining = True
        if self.settings.drain_delay:
            log.info("draining: not ready; closing connections in %g s", self.settings.drain_delay)
            await asyncio.sleep(self.settings.drain_delay)
        self._closing = True
        log.info("draining: closing %d connections", len(self.clients))
        left = await self.clients.drain(GOING_AWAY)
        if left:
            log.warning("draining: %d connections were not closed within drain-timeout; they are dropped now", left)

    # Rooms.

    async def join(
        self,
        member: Member,
        claim: Claim,
        *,
        since: MessageId | None = None,
        key: str = "",
        tracking: Tracking = Tracking.NONE,
    ) -> None:
        """Let a member into its room, and send it the welcome.

        `since` is the last id that the client claims to have seen: if it was a member since then, the events that it
        missed follow the welcome. With `tracking`, the relay notes which events the client has got, and a client that
        resumes without `since` goes on from there. Raises `Refused` (`bad_room`, `superseded`, `peer_taken`,
        `room_full`, `not_joined`), `ClientGone`, `Unavailable` or `OutcomeUnknown`; the member is in no room then.
        """
        self._check_unreserved(member.room)
        tracked, positions = tracking is not Tracking.NONE, self._parts.positions
        from_noted = tracked and since is None and bool(claim.offered)
        if from_noted:
            since = await positions.noted(member.room, member.peer)
        position = await self._parts.membership.join(member, claim, since=since, key=key)
        if tracked:
            positions.begin(member, tracking, position=position, noted=from_noted and position == since)

    def acknowledge(self, member: Member, position: MessageId) -> None:
        """Take note that a tracked member's client has acknowledged all events of its room up to this id."""
        self._parts.positions.acknowledge(member, position)

    def leave(self, member: Member, *, hold: bool) -> asyncio.Future[None]:
        """End a membership: at once, or with `hold` after the reconnect grace time.

        Never fails: a leave that Redis did not take is retried. The future is done after the first attempt.
        """
        tracked = self._parts.positions.end(member)
        return self._parts.membership.leave(member, hold=hold, tracked=tracked)

    async def change_info(self, member: Member, info: bytes) -> None:
        """Change a member's info; b"" removes it. `info` is as `member_info.read_info` returns it.

        Raises `Refused` (`too_fast`), `Replaced`, `Unavailable` or `OutcomeUnknown`.
        """
        await self._parts.infos.change(member, info)

    async def observe(self, observer: Observer, *, key: str = "") -> None:
        """Let an observer watch its room, until `stop_observing`, and send it the welcome (`Observing`).

        Raises `Refused` (`bad_room`, `too_many_observers`), `Unavailable` or `OutcomeUnknown`; it observes nothing
        then.
        """
        self._check_unreserved(observer.room)
        await self._parts.observation.begin(observer, key=key)

    def stop_observing(self, observer: Observer) -> None:
        """End an observation; no event is written to the observer any more."""
        self._parts.observation.end(observer)

    def newest_id(self, member: Listener) -> MessageId:
        """The newest id of the listener's room; all events up to it have been written to the listener.

        Presence that waits to be sent together is sent first.
        """
        return self._parts.notices.newest_id(member)

    async def publish_from_server(self, room: str, envelope: bytes) -> Receipt:
        """Publish an envelope that an application server sent over HTTP.

        Raises `BadFrame` when it cannot be read, and `Refused`, `Unavailable` or `OutcomeUnknown` when it was not sent.
        """
        self._check_unreserved(room)
        return await self._parts.publisher.publish_from_server(room, read_leniently(read_envelope, envelope))

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """The members of a room, up to `limit` of them by name (None: as many as `presence-list-limit`).

        Fewer are named if their names and infos are more than a quarter of `send-buffer`. Raises `Refused` (`bad_room`)
        for a reserved word, `Unavailable` or `OutcomeUnknown`.
        """
        self._check_unreserved(room)
        return await self._parts.directory.roster(room, limit)

    async def list_members(self, listener: Listener, limit: int | None = None) -> Roster:
        """The members of a listener's room, once it has been sent all events that the list knows of.

        `limit` is as in `roster`. Presence that waits to be sent together is sent first. Raises `Unavailable` or
        `OutcomeUnknown`.
        """
        roster = await self._parts.lists.read(listener.room, limit)
        self._parts.notices.newest_id(listener)
        return roster

    def is_watched(self, room: str) -> bool:
        """Whether a client of any worker watches the presence of a room that has members here, as far as is known."""
        local = self._parts.hub.rooms.get(room)
        return local is not None and local.watched

    async def detect(self, name: str, room: str) -> bool:
        """Whether a name is in use as a room, or as a channel of `room`; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._parts.directory.detect(name, room)

    async def rooms(self) -> Sequence[tuple[str, int]]:
        """Every room of the fleet and its number of members; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._parts.directory.occupied()

    # Other workers.

    async def find_address(self, owner: str) -> str:
        """The address of a live worker of another replica, "" if there is none; as `Addresses.find`."""
        return await self._parts.backend.addresses.find(owner)

    def fleet_time(self) -> int:
        """The time (ms) of the clock that all workers of the fleet share."""
        return self._parts.backend.addresses.now()

    def _check_unreserved(self, room: str) -> None:
        if room in self._reserved_words:
            raise Refused(
                "bad_room",
                f"no room may be named {room}: paths of the relay begin with it; choose another, such as {room}-1",
            )


def _admissions(settings: Settings, metrics: Metrics, clock: Clock) -> Admissions:
    addresses = AddressLimits(
        settings.connections_per_address, settings.handshake_rate, settings.address_byte_rate, clock
    )
    pace = PaceLimits(settings.message_rate, settings.message_burst, settings.byte_rate, settings.message_delay)
    return Admissions(addresses, pace, most=settings.max_connections, metrics=metrics, clock=clock)
