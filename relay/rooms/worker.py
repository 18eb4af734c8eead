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

from msgspec import structs

from relay import __version__, ids
from relay.address_rates import RequestRate
from relay.backend.bus import Published
from relay.backend.presence import LeaveReason
from relay.backend.trees import WriteReceipt
from relay.build import BUILD
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.identity.admin import AdminToken
from relay.identity.authority import Authority
from relay.identity.grants import ADMIN, Grants
from relay.limits import AddressLimits, Clock, PaceLimits
from relay.metrics import Metrics
from relay.model.commands import Publish, Tracking
from relay.model.envelope import BEFORE_ALL, MessageId, read_envelope
from relay.model.errors import GOING_AWAY, Refused, RelayError
from relay.model.events import Message, Roster
from relay.model.json_text import read_leniently
from relay.model.names import SERVER
from relay.model.publication import Receipt
from relay.model.room_list import FIRST_ROOMS, RoomPage, RoomQuery
from relay.model.standing import Standing
from relay.model.tree_changes import Expected, TreeChange
from relay.model.workers import LocalWorkers
from relay.origins import AllowedOrigins
from relay.rooms.admissions import Admissions, Ticket
from relay.rooms.buffers import Buffers
from relay.rooms.claim import Claim
from relay.rooms.clients import Clients
from relay.rooms.composition import WorkerBasis, compose
from relay.rooms.expiries import Expiries
from relay.rooms.goodbyes import Goodbyes
from relay.rooms.guesses import Guesses
from relay.rooms.health import Health
from relay.rooms.large_messages import LargeMessages
from relay.rooms.late_messages import LateMessages
from relay.rooms.member import Listener, Member, OutcomeReceiver
from relay.rooms.observer import Observer
from relay.rooms.outside_rates import OutsideRates
from relay.rooms.quotas import Quotas
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
    the same port; None for a lone worker. No room may be named like one of the `reserved_words`. `clock` tells the
    seconds that rates and timeouts count.
    """

    def __init__(
        self,
        settings: Settings,
        protocols: Mapping[str, Iterable[str]] = MappingProxyType({}),
        *,
        local: LocalWorkers | None = None,
        reserved_words: Collection[str] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        self.settings = settings
        self._reserved_words = reserved_words
        self.id = settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"
        self.local = local or LocalWorkers()
        self.metrics = Metrics(protocols)
        self.metrics.connection_limit.set(settings.max_connections)
        self.clock = clock
        self.random = ids.IdGenerator()
        self.disconnects = Throttle()
        self.large_messages = LargeMessages()
        self.requests = RequestRate(settings.http_rate, self.clock)
        self.admin_token = AdminToken(
            settings.admin_token,
            attempts=settings.token_attempts,
            clock=self.clock,
            beside_users=settings.auth != "off",
        )
        self.expiries = Expiries()
        self.origins = AllowedOrigins(settings.allowed_origins)
        self.clients = Clients(rate=_DRAIN_RATE, timeout=settings.drain_timeout)
        self.fleet_key = FleetKey(settings.fleet_secret.split())
        self.session_ids = SessionIds(self.fleet_key, self.local.owner, self.random)
        basis = WorkerBasis(
            settings, self.id, self.local, self.fleet_key, self.metrics, random=self.random, clock=self.clock
        )
        self._parts = compose(basis, on_deaf=lambda: self.clients.close_all(GOING_AWAY))
        self.authority = Authority(
            settings,
            self._parts.key_sets,
            attempts=settings.token_attempts,
            clock=self.clock,
            refused=lambda code: self.metrics.refused_tokens.labels(code).inc(),
        )
        self.subjects = self._parts.subjects
        # Where a client is in a room whose protocol does not tell it when it comes back: by a name of its gateway.
        self.places = self._parts.places
        # Rooms that an application lists under a name, each by one of its members.
        self.listings = self._parts.listings
        self.broadcasts = self._parts.backend.broadcasts
        self.checkpoints = self._parts.backend.checkpoints
        self.goodbyes = Goodbyes(self._parts.backend.turns)
        self.guesses = Guesses(settings.token_attempts, self._parts.backend.usage)
        self._outside = OutsideRates(settings.message_rate, self.clock)
        self.admissions = _admissions(settings, self._parts.stored, self.metrics, self.clock)
        # Called for each message: bound here, and not wrapped in methods, they cost no further call.
        self.publish: Callable[[Member, Publish, Published], float] = self._parts.publisher.publish
        self.publish_for: Callable[[OutcomeReceiver, Member, Publish], float] = self._parts.publisher.publish_for
        self.when_delivered: Callable[[str, MessageId, Callable[[], None]], None] = self._parts.hub.when_delivered
        self.await_arrival: Callable[[str, str, Callable[[], None]], Callable[[], None]]
        self.await_arrival = self._parts.hub.await_arrival
        self.ice = self._parts.ice
        self.rules = self._parts.rules
        self.trees = self._parts.trees
        self.late_messages = LateMessages(
            self._parts.backend.waiting, self._publish_late, self.rules.keeps_history, self._parts.tasks
        )
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
        if parts.ice.has_turn:
            parts.tasks.keep(parts.ice.run, "TURN credentials")
        if parts.key_sets.changes:
            parts.tasks.keep(parts.key_sets.run, "key sets")
        if parts.webhook is not None:
            parts.webhook.start(parts.tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.tasks.cancel()
        # Before the lease ends: so the worker that takes the members over knows since when each of them is held.
        self.disconnects.finish()
        await self._stop_webhook()
        try:
            async with asyncio.timeout(_RETIRE_TIMEOUT):
                await self._parts.backend.leases.retire()
        except (RelayError, TimeoutError) as failure:
            log.warning(
                "the lease of this worker could not be ended (%s); other workers take its members over when it has run "
                "out", str(failure) or "no answer in time",
            )  # fmt: skip
        await self._stack.aclose()

    async def _stop_webhook(self) -> None:
        """Leave the webhook's events to the other workers, unless that takes too long: they notice it by themselves."""
        webhook = self._parts.webhook
        if webhook is not None:
            with suppress(RelayError, TimeoutError):
                async with asyncio.timeout(_RETIRE_TIMEOUT):
                    await webhook.stop()

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
        return not self._closing and self._parts.health.worked_just_now

    def health(self) -> Health:
        """The worker's state; costs nothing."""
        return Health(
            ready=self.ready,
            worker=self.id,
            version=__version__,
            build=BUILD,
            uptime=self.clock() - self._started,
            rooms=len(self._parts.hub.rooms),
            connections=len(self.admissions),
            draining=self._draining,
            checks=self._parts.health.checks(draining=self._draining),
        )

    # Identity.

    async def identify(self, token: str, address: str) -> Grants | None:
        """The grants of a client with this token, "" for none; None if auth is off, and then no token is looked at.

        The admin token grants everything. `address` is as `counted_address` returns it. Raises `Refused`, as
        `Authority.grants` does.
        """
        if self.authority.is_off:
            return None
        if token and self._is_admin_token(token, address):
            return ADMIN
        return await self.authority.grants(token or None, address)

    def _is_admin_token(self, token: str, address: str) -> bool:
        try:
            return self.admin_token.check(address, None, otherwise=token)
        except Refused as refusal:
            if refusal.code != "unauthorized":
                raise
            # It was counted as a guess; the client gets the error of the same text as a client's token.
            return False

    # Connections.

    def admit(self, address: str, protocol: str) -> Ticket:
        """Admit a client of a gateway's protocol, and count it against its address until its ticket is released.

        Raises `Refused`: `unavailable`, `worker_full`, `too_many_connections` or `too_many_handshakes`.
        """
        if not self.accepts_clients:
            raise Refused("unavailable")
        return self.admissions.admit(address, protocol)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a session's work in the background."""
        return self._sessions.spawn(work, "session")

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
        `room_full`, `too_many_places`, `not_joined`, `too_many_new_rooms`, `memory_low`), `ClientGone`, `Unavailable`
        or `OutcomeUnknown`; the member is in no room then.
        """
        self._check_open(member.room)
        tracked, positions = tracking is not Tracking.NONE, self._parts.positions
        from_noted = tracked and since is None and bool(claim.offered)
        if from_noted:
            since = await positions.noted(member.room, member.peer)
            if claim.own_key and since == BEFORE_ALL:
                since = None
        position, has_waiting = await self._parts.membership.join(member, claim, since=since, key=key)
        if claim.grants is not None:
            self.subjects.begin(member, claim.grants.subject)
        self.places.begin(member, claim.found_by)
        if tracked:
            positions.begin(member, tracking, position=position, noted=from_noted and position == since)
        if has_waiting:
            self.late_messages.deliver(member.room, member.peer)

    def acknowledge(self, member: Member, position: MessageId, *, at_once: bool = False) -> None:
        """Take note that a tracked member's client has acknowledged all events of its room up to this id.

        It is noted within a second, or `at_once`: a client that is lost may come back in a moment.
        """
        self._parts.positions.acknowledge(member, position, at_once=at_once)

    def confirm(self, member: Member, position: MessageId) -> None:
        """Take note, at once, that a tracked member's client has answered the event with this id, or a later one."""
        self._parts.positions.confirm(member, position)

    def leave(self, member: Member, *, hold: bool, reason: LeaveReason = "left") -> asyncio.Future[None]:
        """End a membership: at once, or with `hold` after the reconnect grace time.

        `reason` is for webhooks; a membership that was held ends as `lost`. Never fails: a leave that Redis did not
        take is retried. The future is done after the first attempt.
        """
        self._parts.subjects.end(member)
        self._parts.places.end(member, keep=hold)
        self._parts.listings.end(member)
        tracked = self._parts.positions.end(member, hold=hold)
        return self._parts.membership.leave(member, hold=hold, tracked=tracked, reason=reason)

    async def change_info(self, member: Member, info: bytes) -> None:
        """Change a member's info; b"" removes it. `info` is as `member_info.read_info` returns it.

        Raises `Refused` (`too_fast`), `Replaced`, `Unavailable` or `OutcomeUnknown`.
        """
        await self._parts.infos.change(member, info)

    async def observe(self, observer: Observer, *, key: str = "", address: str = "") -> None:
        """Let an observer watch its room, until `stop_observing`, and send it the welcome (`Observing`).

        `address` is the one under which its client is counted. Raises `Refused` (`bad_room`, `too_many_observers`,
        `too_many_new_rooms`, `memory_low`), `Unavailable` or `OutcomeUnknown`; it observes nothing then.
        """
        self._check_open(observer.room)
        await self._parts.observation.begin(observer, key=key, address=address)

    def stop_observing(self, observer: Observer) -> None:
        """End an observation; no event is written to the observer any more."""
        self._parts.observation.end(observer)

    def hide_presence(self, listener: Listener) -> None:
        """Send a listener no joins and leaves any more: it has lost the right to see them."""
        self._parts.hub.rooms.hide_presence(listener)

    async def history(self, member: Member, most: int) -> Sequence[Message]:
        """The messages to all among the last events of a member's room: of `most` events, or fewer if there is less.

        They are those up to its welcome. Raises `Unavailable` or `OutcomeUnknown`.
        """
        while most:
            after = MessageId(member.since.epoch, max(0, member.since.seq - most))
            replay = await self._parts.membership.history(member, after)
            if not replay.lost:
                events = [one for one in replay.events if isinstance(one, Message) and not one.to]
                return [one for one in events if one.id <= member.since]
            most //= 4
        return ()

    def newest_id(self, member: Listener) -> MessageId:
        """The newest id of the listener's room; all events up to it have been written to the listener.

        Presence that waits to be sent together is sent first.
        """
        return self._parts.notices.newest_id(member)

    async def is_banned(self, room: str, grants: Grants) -> bool:
        """Whether a room has banned the holder of a token, which then may neither observe it nor publish from outside.

        Raises `Unavailable` or `OutcomeUnknown`.
        """
        return await self.rules.is_banned(room, grants, self.fleet_time())

    def charge(self, grants: Grants, address: str, messages: float) -> None:
        """Count a client's request over HTTP as so many messages; see `OutsideRates.charge`."""
        self._outside.charge(grants, address, messages)

    async def count_room(self, room: str, grants: Grants, address: str) -> None:
        """Count a room for which a client is about to store rules over HTTP, unless it exists; a server makes any.

        Raises `Refused` (`too_many_new_rooms`, `memory_low`), `Unavailable` or `OutcomeUnknown`.
        """
        if not grants.admin:
            self._check_open(room)
            await self._parts.membership.count_room(room, address)

    async def publish_from_server(
        self, room: str, envelope: bytes, sender: str = SERVER, *, grants: Grants = ADMIN, address: str = ""
    ) -> Receipt:
        """Publish an envelope that came over HTTP: from an application server, or from a client with this peer id.

        For a client with these grants, at this address, the room must be one that it may open, or that exists, it must
        not be banned there, and messages and bytes count. Raises `BadFrame` when the envelope cannot be read,
        and `Refused`, `Unavailable` or `OutcomeUnknown` when it was not sent.
        """
        return await self._publish_to(room, read_leniently(read_envelope, envelope), sender, grants, address)

    async def publish_to_rooms(
        self, rooms: Sequence[str], envelope: bytes, sender: str = SERVER, *, grants: Grants = ADMIN, address: str = ""
    ) -> Sequence[Receipt | RelayError]:
        """Publish an envelope that came over HTTP to several rooms; returns each one's receipt or error, in order.

        Raises `BadFrame` when the envelope cannot be read; else as `publish_from_server`.
        """
        command = read_leniently(read_envelope, envelope)
        publishing = [self._publish_to(room, command, sender, grants, address) for room in rooms]
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        for one in outcomes:
            if isinstance(one, BaseException) and not isinstance(one, RelayError):
                raise one
        return [one for one in outcomes if isinstance(one, Receipt | RelayError)]

    async def publish_by_key(self, room: str, peer: str, resume: str, command: Publish) -> Receipt:
        """Publish for a member whose connection may be on any worker; it proves its membership by its resume key.

        Raises `Refused`, `NotMember` (it has no membership with this key), `Replaced`, `Unavailable` or
        `OutcomeUnknown`; only after the last one, the envelope may have been sent.
        """
        self.check_unreserved(room)
        if not await self.rules.keeps_history(room):
            command = structs.replace(command, stored=False)
        return await self._parts.publisher.publish_by_key(room, peer, ids.fingerprint(resume), command)

    async def _publish_late(self, room: str, command: Publish, sender: str) -> Receipt:
        return await self._publish_to(room, command, sender, ADMIN, "")

    async def _publish_to(self, room: str, command: Publish, sender: str, grants: Grants, address: str) -> Receipt:
        self._check_open(room)
        if not await self.rules.keeps_history(room):
            command = structs.replace(command, stored=False)
        publish = self._parts.publisher.publish_from_server
        if grants.admin:
            return await publish(room, command, sender)
        self.charge(grants, address, 1)
        if await self.is_banned(room, grants):
            raise Refused("banned", room=room)
        if not self.admissions.charge(address, len(command.envelope)):
            raise Refused("too_fast", "this address has published as many bytes as it may for now; nothing was sent")
        opening, created = await self._parts.membership.opening(room, address, grants, joins=False), False
        try:
            receipt = await publish(room, command, sender)
            created = receipt.id.seq == 1
        finally:
            opening.end(created=created)
        return receipt

    async def change_tree(
        self,
        room: str,
        change: TreeChange,
        *,
        grants: Grants | None,
        address: str,
        expected: Expected | None = None,
        reads: str | None = None,
    ) -> WriteReceipt:
        """Change a room's tree for a client that is no member; `grants` are None if auth is off.

        The room must be one that it may open, or that exists, and messages and bytes count; the caller has checked the
        rights. `reads` is as in `Trees.write`. Raises `Refused`, as `Trees.write` does too, `Unavailable` or
        `OutcomeUnknown`.
        """
        self._check_open(room)
        generate = self.random.peer_id
        sender = generate() if grants is None else grants.peer("", generate)
        self.charge(grants or Grants(anonymous=True), address, 1)
        opening, created = await self._parts.membership.opening(room, address, grants, joins=False), False
        try:
            receipt = await self.trees.write_from_outside(room, change, sender, address, expected, reads)
            created = receipt.id.seq == 1
        finally:
            opening.end(created=created)
        return receipt

    async def reserve(self, room: str, seconds: float, owner: str) -> bool:
        """Whether nobody of the fleet has reserved a room that does not exist, as the caller does now for a time.

        `owner` is a name that no other reservation has. A reservation keeps only callers of this method from the room.
        Raises `Unavailable` or `OutcomeUnknown`.
        """
        return await self._parts.backend.turns.take(_opening(room), seconds, owner)

    async def give_back(self, room: str, owner: str) -> None:
        """End a reservation before its time is over, if its owner has it still; raises as `reserve`."""
        await self._parts.backend.turns.give_back(_opening(room), owner)

    async def roster(self, room: str, limit: int | None = None) -> Roster:
        """The members of a room, up to `limit` of them by name (None: as many as `presence-list-limit`).

        Fewer are named if their names and infos are more than a quarter of `send-buffer`. Raises `Refused` (`bad_room`)
        for a reserved word, `Unavailable` or `OutcomeUnknown`.
        """
        self.check_unreserved(room)
        return await self._parts.directory.roster(room, limit)

    async def standings(self, room: str, peers: Sequence[str]) -> Mapping[str, Standing]:
        """How these members of a room stand, by peer id; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._parts.backend.standings(room, peers) if peers else {}

    async def list_members(self, listener: Listener, limit: int | None = None) -> Roster:
        """The members of a listener's room, once it has been sent all events that the list knows of.

        `limit` is as in `roster`. Presence that waits to be sent together is sent first. Raises `Unavailable` or
        `OutcomeUnknown`.
        """
        self._parts.backend.bus.check(listener.room)
        roster = await self._parts.lists.read(listener.room, limit)
        self._parts.notices.newest_id(listener)
        return roster

    def is_watched(self, room: str) -> bool:
        """Whether a client of any worker watches the presence of a room that has members here, as far as is known."""
        local = self._parts.hub.rooms.get(room)
        return local is not None and local.watched

    async def detect(self, name: str, room: str, *, rooms: bool = True) -> bool:
        """Whether a name is in use as a channel of `room` or, with `rooms`, as a room.

        Raises `Unavailable` or `OutcomeUnknown`.
        """
        return await self._parts.directory.detect(name, room, rooms=rooms)

    def note_channel(self, name: str, room: str, address: str) -> None:
        """Record that a channel of `room` is in use, for `detect`; raises as `Directory.note_channel` does."""
        self._parts.directory.note_channel(name, room, address)

    async def list_rooms(self, query: RoomQuery = FIRST_ROOMS) -> RoomPage:
        """A page of the rooms of the fleet; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._parts.directory.list_rooms(query)

    # Other workers.

    async def find_address(self, owner: str) -> str:
        """The address of a live worker of another replica, "" if there is none; as `Addresses.find`."""
        return await self._parts.backend.addresses.find(owner)

    def fleet_time(self) -> int:
        """The time (ms) of the clock that all workers of the fleet share."""
        return self._parts.backend.addresses.now()

    def _check_open(self, room: str) -> None:
        """Refuse a name as `check_unreserved` does; raise `Unavailable` for a room whose Redis has been away for long.

        For clients that are no members yet: a message of a member waits for Redis in any case.
        """
        self.check_unreserved(room)
        self._parts.backend.bus.check(room)

    def check_unreserved(self, room: str) -> None:
        """Raise `Refused` (`bad_room`) for a name that no room may have, as paths of the relay begin with it."""
        if room in self._reserved_words:
            raise Refused(
                "bad_room",
                f"no room may be named {room}: paths of the relay begin with it; choose another, such as {room}-1",
            )


def _opening(room: str) -> str:
    return f"opening {ids.fingerprint(room)}"


def _admissions(settings: Settings, stored: Quotas, metrics: Metrics, clock: Clock) -> Admissions:
    addresses = AddressLimits(
        settings.connections_per_address, settings.handshake_rate, settings.address_byte_rate, clock
    )
    pace = PaceLimits(settings.message_rate, settings.message_burst, settings.byte_rate, settings.message_delay)
    buffers = Buffers(
        address_limit=settings.address_buffer, worker_limit=settings.worker_buffer, metrics=metrics, clock=clock
    )
    return Admissions(addresses, pace, stored, buffers, most=settings.max_connections, metrics=metrics, clock=clock)
