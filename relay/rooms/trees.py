"""The trees of rooms, for the sessions of this worker."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from relay.backend.presence import HeldMember
from relay.backend.trees import Ended, Trees, Writer, WriteReceipt
from relay.model.commands import Publish
from relay.model.errors import NotMember, Refused, RelayError, Replaced, Unavailable
from relay.model.publication import Receipt
from relay.model.tree_changes import Expected, Prepared, TreeChange, TreePart
from relay.rooms.announcer import Announcer
from relay.rooms.fan_out import SMALL, FanOut
from relay.rooms.hub import Hub
from relay.rooms.member import Member
from relay.rooms.quotas import Quotas
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.trees")

_LONGEST_TURN: Final = 10.0
"""Seconds for which a change that takes long waits at most for others."""

_REST: Final = 2
_LONGEST_REST: Final = 0.2
"""For how many times as long as a change took there is none of these, and for how many seconds at most."""

_RETRIES: Final = 60
_RETRY: Final = 0.5
"""How often changes that were prepared are tried again while Redis is away, and seconds between two attempts."""


class RoomTrees:
    """Reads and changes the trees of rooms; `ttl` is the setting `tree-ttl`.

    `written` are the quotas of the bytes that clients of each address write in that time.

    Every coroutine raises `Unavailable` or `OutcomeUnknown` if Redis does not answer. For clients that are no members,
    `check` is called with the room first, and may raise the former at once.
    """

    def __init__(
        self,
        trees: Trees,
        hub: Hub,
        announcer: Announcer,
        fan_out: FanOut,
        tasks: BackgroundTasks,
        written: Quotas,
        *,
        ttl: float,
        check: Callable[[str], None] = lambda room: None,
    ) -> None:
        self._trees = trees
        self._written = written
        self._hub = hub
        self._fan_out = fan_out
        self._announcer = announcer
        self._tasks = tasks
        self._ttl = ttl
        self._check = check
        # Held while a change that takes long is made.
        self._turn = asyncio.Lock()

    async def read(self, room: str, path: str) -> TreePart:
        """Return a part of a room's tree."""
        self._check(room)
        return await self._trees.read(room, path, ttl=self._ttl)

    async def write(self, member: Member, change: TreeChange, expected: Expected | None = None) -> Receipt:
        """Make a member's change; raises `Refused` as `Trees.write` does, also `too_many_tree_bytes`, and `Replaced`.

        Returns late where the changes of the room cause more deliveries than they may (see `FanOut`).
        """
        self._check_quota(change, member.address)
        receipt = await self._write_as_member(member, change, expected)
        self._written.of(member.address).use(change.written_size)
        return receipt

    async def _write_as_member(self, member: Member, change: TreeChange, expected: Expected | None) -> Receipt:
        try:
            return await self._write(member, change, expected)
        except NotMember:
            # Redis has lost the entry of a member that is connected here.
            await self._announcer.announce([member])
        if not self._hub.rooms.has(member):
            raise Replaced
        try:
            return await self._write(member, change, expected)
        except NotMember:
            raise Unavailable from None

    async def write_from_outside(
        self,
        room: str,
        change: TreeChange,
        sender: str,
        address: str,
        expected: Expected | None = None,
        reads: str | None = None,
    ) -> WriteReceipt:
        """Make a change of a client at this address that is no member; raises as `write` does.

        `reads` is as in `Trees.write`.
        """
        self._check(room)
        self._check_quota(change, address)
        writer = Writer(sender, seen=self._hub.rooms.last(room))
        async with self._in_turn(change):
            receipt = await self._trees.write(room, writer, change, ttl=self._ttl, expected=expected, reads=reads)
        self._written.of(address).use(change.written_size)
        return receipt

    def note_frames(self, room: str, frames: int) -> None:
        """Note that a client gets so many frames of one change, as it listens at many paths: its room counts them."""
        local = self._hub.rooms.get(room)
        if local is not None and frames > 1:
            self._fan_out.count(local, frames - 1)

    async def prepare(self, member: Member, prepared: Prepared, *, grown: int = 0) -> None:
        """Record the changes for the end of a member's connection, instead of those before; raises as `write` does.

        They have `grown` by so many bytes of values, which count as written by the client's address.
        """
        if grown and self._written.of(member.address).is_used_up:
            raise Refused("too_many_tree_bytes")
        await self._record(member, prepared)
        if grown:
            self._written.of(member.address).use(grown)

    async def _record(self, member: Member, prepared: Prepared) -> None:
        if await self._trees.prepare(member.room, self._writer(member), prepared, ttl=self._ttl):
            return
        await self._announcer.announce([member])
        if not self._hub.rooms.has(member):
            raise Replaced
        if not await self._trees.prepare(member.room, self._writer(member), prepared, ttl=self._ttl):
            raise Unavailable

    def finish(self, member: Member, prepared: Prepared) -> None:
        """Make the changes that a member has prepared: its connection has ended. Tried again while Redis is away."""
        self._begin_finish(member, Ended(member.peer, member.generation, prepared))

    def finish_left(self, member: Member) -> None:
        """Make the changes that are recorded for a member that has left the room; as `finish`."""
        self._begin_finish(member, Ended(member.peer, member.generation, left=True))

    def _begin_finish(self, member: Member, ended: Ended) -> None:
        # Sent now, ahead of the member's leave.
        first = self._make(member.room, [ended])
        self._tasks.spawn(self._finish(member.room, ended, first), "end of a connection")

    async def finish_last(self, room: str, peer: str) -> None:
        """Make the changes that this peer has prepared in a room: its connection, and perhaps its worker, has ended."""
        await self._make(room, [Ended(peer, 0)])

    async def take_over(self, members: Iterable[HeldMember]) -> None:
        """Make the changes that members of a dead worker have prepared, as far as Redis has them."""
        rooms: dict[str, list[Ended]] = {}
        for member in members:
            rooms.setdefault(member.room, []).append(Ended(member.peer, member.generation, left=True))
        for attempt in [self._make(room, ended) for room, ended in rooms.items()]:
            await attempt

    async def _finish(self, room: str, ended: Ended, attempt: Awaitable[int]) -> None:
        for _ in range(_RETRIES):
            try:
                await attempt
            except RelayError as error:
                log.debug("room %s: changes at the end of a connection failed (%s); retrying", room, error)
                ended = _again(ended)
                await asyncio.sleep(_RETRY)
                attempt = self._make(room, [ended])
            else:
                return
        log.warning(
            "room %s: the changes that a client had prepared for the end of its connection were not made, as Redis is "
            "away; other clients may see its values until they are removed, or tree-ttl ends",
            room,
        )

    def _make(self, room: str, ended: Sequence[Ended]) -> Awaitable[int]:
        return self._trees.finish(room, ended, seen=self._hub.rooms.last(room), ttl=self._ttl)

    async def _write(self, member: Member, change: TreeChange, expected: Expected | None) -> Receipt:
        try:
            async with self._in_turn(change):
                receipt = await self._trees.write(
                    member.room, self._writer(member), change, ttl=self._ttl, expected=expected
                )
        except Replaced:
            self._hub.close_replaced(member)
            raise
        if receipt.version is not None:
            member.version = receipt.version
        local = self._hub.rooms.get(member.room)
        if local is not None and (local.budget is not None or len(local.members) > SMALL):
            await asyncio.sleep(self._fan_out.charge(local, Publish(change.envelope)))
        return receipt

    @asynccontextmanager
    async def _in_turn(self, change: TreeChange) -> AsyncIterator[None]:
        """Have a change that takes Redis long wait for the one before, and for a rest, in which Redis serves others."""
        if not change.work:
            yield
            return
        try:
            async with asyncio.timeout(_LONGEST_TURN):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable from None
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            loop.call_later(min(_LONGEST_REST, _REST * (loop.time() - began)), self._turn.release)

    def _check_quota(self, change: TreeChange, address: str) -> None:
        if change.grows and self._written.of(address).is_used_up:
            raise Refused("too_many_tree_bytes")

    def _writer(self, member: Member) -> Writer:
        return Writer(member.peer, member.generation, self._hub.rooms.last(member.room))


def _again(ended: Ended) -> Ended:
    """Return the next attempt after one without a reply.

    By then, the member may have left, and its client may have come back on another worker, which has made the recorded
    changes: made once more, they would take away the values that the client has written since.
    """
    is_over = ended.prepared is not None and 0 < ended.prepared.until <= time.time() * 1000
    # Changes that the member has no right to make any more are to be forgotten.
    return ended._replace(left=True, prepared=ended.prepared if is_over else None)
