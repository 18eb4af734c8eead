"""Publishing: envelopes on their way from a session to the bus, and their outcomes."""

import asyncio
from functools import partial

from relay.backend.bus import Bus, Published
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.envelope import Publication, Receipt
from relay.model.errors import NotMember, RelayError, Replaced, Unavailable
from relay.model.names import SERVER
from relay.rooms.announcer import Announcer
from relay.rooms.hub import Hub
from relay.rooms.member import Member
from relay.tasks import BackgroundTasks

_SAMPLED = 16
"""One message in so many is timed, from the publish to its delivery to this worker's members."""


class Publisher:
    """Publishes for the members of one worker.

    With callbacks, and not with tasks: all of a message's Python takes about fifteen microseconds, and a task would add
    several. Each message that a member sends passes through `publish` and `_published`.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        announcer: Announcer,
        tasks: BackgroundTasks,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._rooms = hub.rooms
        self._bus = bus
        self._announcer = announcer
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._publications = 0

    def publish(self, member: Member, command: Publish, done: Published) -> None:
        """Publish a member's envelope; `done` is called with the outcome as by `Bus.publish`."""
        room = member.room
        publication = Publication(command, room, member.peer, member.generation, member.version, self._rooms.last(room))
        self._publications += 1
        started = 0.0 if self._publications % _SAMPLED else self._clock()
        self._bus.publish(publication, partial(self._published, member, publication, started, done))

    async def publish_from_server(self, room: str, command: Publish) -> Receipt:
        """Publish an envelope that no member sent; raises the errors that `Bus.publish` passes to its callback."""
        replied: asyncio.Future[Receipt | RelayError] = asyncio.get_running_loop().create_future()

        def done(outcome: Receipt | RelayError) -> None:
            # The caller may have been cancelled meanwhile, and its future with it.
            if not replied.done():
                replied.set_result(outcome)

        self._bus.publish(Publication(command, room, SERVER, seen=self._rooms.last(room)), done)
        outcome = await replied
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome

    def _published(
        self, member: Member, publication: Publication, started: float, done: Published, outcome: Receipt | RelayError
    ) -> None:
        if isinstance(outcome, Receipt):
            if outcome.version is not None:
                member.version = outcome.version
            if started:
                self._measure(member.room, outcome, started)
        elif isinstance(outcome, NotMember):
            self._tasks.spawn(self._publish_again(member, publication, done), "publish again")
            return
        elif isinstance(outcome, Replaced):
            self._hub.close_replaced(member)
        done(outcome)

    async def _publish_again(self, member: Member, publication: Publication, done: Published) -> None:
        """Announce a member that Redis has no entry of, although it is connected here, and publish once more."""
        try:
            await self._announcer.announce([member])
        except RelayError as error:
            done(error)
            return
        if not self._rooms.has(member):
            done(Replaced())
            return
        self._bus.publish(publication, partial(self._published_again, done))

    @staticmethod
    def _published_again(done: Published, outcome: Receipt | RelayError) -> None:
        # The announcement had no effect, or was undone at once. The client must not get `not_joined`: it is in the
        # room, and would give its message up.
        done(Unavailable() if isinstance(outcome, NotMember) else outcome)

    def _measure(self, room: str, receipt: Receipt, started: float) -> None:
        self._metrics.publish_seconds.observe(self._clock() - started)
        observe = self._metrics.delivery_seconds.observe
        self._hub.when_delivered(room, receipt.id, lambda: observe(self._clock() - started))
