"""Publishing: envelopes on their way from a session to the bus, and their outcomes."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from relay.backend.bus import Bus, Published
from relay.backend.channels import RecentChannels
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import NotMember, RelayError, Replaced, Unavailable
from relay.model.names import SERVER
from relay.model.publication import Publication, Receipt
from relay.rooms.announcer import Announcer
from relay.rooms.fan_out import SMALL, FanOut
from relay.rooms.hub import Hub
from relay.rooms.member import Member, OutcomeReceiver
from relay.tasks import BackgroundTasks, guarded

log = logging.getLogger("relay.rooms.publisher")

_SAMPLED: Final = 16
"""One message in so many is timed, from the publish to its delivery to this worker's members.

Only one at a time: of the messages of one turn, one shows what all of them take.
"""

_Send = Callable[[RelayError | None], None]
"""Publishes an envelope that waits for the announcement of its member, or passes the error on."""


class _Waiting:
    """The envelopes of a member that is being announced: those that came back, and the ones that it sent since."""

    __slots__ = ("later", "returned")

    def __init__(self) -> None:
        self.returned: list[_Send] = []
        self.later: list[_Send] = []


class Publisher:
    """Publishes for the members of one worker.

    With callbacks, and not with tasks: all of a message's Python takes about fifteen microseconds, and a task would add
    several. Each message that a member sends passes through `publish_for` and `_MemberPublication.published`.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        announcer: Announcer,
        tasks: BackgroundTasks,
        channels: RecentChannels,
        fan_out: FanOut,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._rooms = hub.rooms
        self._by_name = hub.rooms.by_name
        self._bus = bus
        self._announcer = announcer
        self._tasks = tasks
        self._channels = channels
        self._fan_out = fan_out
        self._clock = clock
        self._metrics = metrics
        # Messages since one was timed.
        self._untimed = 0
        self._is_timing = False
        # By member that Redis has no entry of.
        self._waiting: dict[Member, _Waiting] = {}

    def publish(self, member: Member, command: Publish, done: Published) -> float:
        """Publish a member's envelope; `done` is called with the outcome as by `Bus.publish`.

        Returns the same as `publish_for`.
        """
        return self.publish_for(_Callback(done), member, command)

    def publish_for(self, receiver: OutcomeReceiver, member: Member, command: Publish) -> float:
        """Publish a member's envelope; `receiver` takes the outcome, perhaps before this returns.

        Returns the seconds for which no further message of the sender should be served, mostly 0; see `FanOut`.
        """
        room, channel = member.room, command.channel
        local = self._by_name.get(room)
        if channel and (room, channel) not in self._channels.noted:
            self._channels.note(room, channel)
        self._untimed += 1
        started = self._start_timing() if self._untimed >= _SAMPLED and not self._is_timing else 0.0
        seen = BEFORE_ALL if local is None else local.last
        publication = _MemberPublication(command, member, seen, self, receiver, started)
        if self._waiting and (waiting := self._waiting.get(member)) is not None:
            # Behind those that wait: sent now, it would overtake them.
            waiting.later.append(partial(self._send, publication, publication.published))
        else:
            self._bus.publish(publication, publication.published)
        return self._fan_out.charge(local, command) if local is not None and len(local.members) > SMALL else 0.0

    async def publish_from_server(self, room: str, command: Publish, sender: str = SERVER) -> Receipt:
        """Publish an envelope that no member sent; raises the errors that `Bus.publish` passes to its callback."""
        reply = _Reply()
        self._publish_unattached(Publication(command, room, sender, seen=self._rooms.last(room)), reply)
        return await reply.receipt()

    async def publish_by_key(self, room: str, peer: str, proof: str, command: Publish) -> Receipt:
        """Publish for a member that has no connection here, or none that it can send over.

        `proof` is the fingerprint of its resume key. Calls in one turn of the event loop are published in their order.
        Raises the errors that `Bus.publish` passes to its callback: `NotMember`, if the room has no such member with
        this key.
        """
        reply = _Reply()
        local = self._rooms.get(room)
        member = None if local is None else local.members.get(peer)
        publication = Publication(command, room, peer, seen=self._rooms.last(room), proof=proof)
        if member is not None and member.welcomed and member.resume == proof:
            # It costs less, and records again a member that Redis has lost.
            self.publish(member, command, partial(self._published_by_member, publication, reply))
        else:
            self._publish_unattached(publication, reply)
        return await reply.receipt()

    def _published_by_member(self, publication: Publication, reply: "_Reply", outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, Replaced):
            # A client that keeps its key has it still: its place has moved to another worker.
            self._publish_unattached(publication, reply)
        else:
            reply.done(outcome)

    def _publish_unattached(self, publication: Publication, reply: "_Reply") -> None:
        if publication.command.channel:
            self._channels.note(publication.room, publication.command.channel)
        self._bus.publish(publication, reply.done)

    # For `_MemberPublication`.

    def wait(self, publication: "_MemberPublication") -> None:
        """Keep an envelope that came back until its member is announced."""
        member = publication.member
        waiting = self._waiting.get(member)
        if waiting is None:
            waiting = self._waiting[member] = _Waiting()
            self._tasks.spawn(self._publish_again(member), "publish again")
        waiting.returned.append(partial(self._send, publication, publication.published_again))

    async def _publish_again(self, member: Member) -> None:
        """Announce a member that Redis has no entry of, although it is connected here, and publish in its order."""
        error: RelayError | None = None
        try:
            await self._announcer.announce([member])
            if not self._rooms.has(member):
                error = Replaced()
        except RelayError as failure:
            error = failure
        except Exception:
            log.exception("a member was not announced; its messages are refused (report this as a bug)")
            error = Unavailable()
        waiting = self._waiting.pop(member)
        for send in (*waiting.returned, *waiting.later):
            guarded(partial(send, error), "publish again")

    def _send(self, publication: Publication, done: Published, error: RelayError | None) -> None:
        if error is None:
            self._bus.publish(publication, done)
        else:
            done(error)

    def close_replaced(self, member: Member) -> None:
        """Close the connection of a member whose peer has a newer one."""
        self._hub.close_replaced(member)

    def measure(self, room: str, outcome: Receipt | RelayError, started: float) -> None:
        """Note how long a message takes that was published at this time; nothing, if it was not published."""
        self._is_timing = False
        if isinstance(outcome, Receipt):
            self._metrics.publish_seconds.observe(self._clock() - started)
            observe = self._metrics.delivery_seconds.observe
            self._hub.when_delivered(room, outcome.id, lambda: observe(self._clock() - started))

    def _start_timing(self) -> float:
        self._untimed, self._is_timing = 0, True
        return self._clock()


class _MemberPublication(Publication):
    """A member's message on its way, and the way of its outcome: one object, where partial functions would be three."""

    __slots__ = ("_publisher", "_receiver", "_started", "member")

    def __init__(
        self,
        command: Publish,
        member: Member,
        seen: MessageId,
        publisher: Publisher,
        receiver: OutcomeReceiver,
        started: float,
    ) -> None:
        # Without the base's `__init__`, which would make the object cost twice as much.
        self.command = command
        self.room = member.room
        self.sender = member.peer
        self.generation = member.generation
        self.version = member.version
        self.seen = seen
        self.proof = ""
        self.member = member
        self._publisher = publisher
        self._receiver = receiver
        self._started = started

    def published(self, outcome: Receipt | RelayError) -> None:
        """Take the outcome, and hand it on, unless the message is published once more."""
        if self._started:
            self._publisher.measure(self.room, outcome, self._started)
        if isinstance(outcome, Receipt):
            if outcome.version is not None:
                self.member.version = outcome.version
        elif isinstance(outcome, NotMember):
            self._publisher.wait(self)
            return
        elif isinstance(outcome, Replaced):
            self._publisher.close_replaced(self.member)
        self._receiver.published(self.member, self.command, outcome)

    def published_again(self, outcome: Receipt | RelayError) -> None:
        """Take the outcome of the second time."""
        # The announcement had no effect, or was undone at once. The client must not get `not_joined`: it is in the
        # room, and would give its message up.
        final = Unavailable() if isinstance(outcome, NotMember) else outcome
        self._receiver.published(self.member, self.command, final)


class _Callback(OutcomeReceiver):
    """Hands the outcome of one message to a function."""

    __slots__ = ("_done",)

    def __init__(self, done: Published) -> None:
        self._done = done

    def published(self, member: Member, command: Publish, outcome: Receipt | RelayError) -> None:
        """Call it."""
        self._done(outcome)


class _Reply:
    """The outcome of one publication, for a caller that waits for it."""

    def __init__(self) -> None:
        self._outcome: asyncio.Future[Receipt | RelayError] = asyncio.get_running_loop().create_future()

    def done(self, outcome: Receipt | RelayError) -> None:
        """Take the outcome."""
        # The caller may have been cancelled meanwhile, and its future with it.
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def receipt(self) -> Receipt:
        """Wait for the receipt; raises the error, if the outcome is one."""
        outcome = await self._outcome
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome
