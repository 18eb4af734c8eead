"""Leases on a cluster: one in each group of slots, all with one name."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, TypeVar

from relay.backend.presence import HeldMember, LeaseEnd, LeaseName, LeaseStatus, Touched
from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.client import ClusterClient
from relay.backend.redis.cluster.keys import ClusterKeys, group_of
from relay.backend.redis.cluster.refusals import LEASES, RENEWAL, Failure, ShardRefusals
from relay.backend.redis.cluster.slots import slot_of_key, slot_of_tag
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.registration import Registration, scored
from relay.model.errors import RelayError

_SEVERITY: Final[Sequence[LeaseEnd]] = ("", "lapsed", "lost", "older")

_T = TypeVar("_T")


class GroupedRegistration:
    """The registrations of a worker in all groups; each is for the rooms of its own group."""

    def __init__(
        self, cluster: ClusterClient, keys: ClusterKeys, lease: LeaseName, groups: Sequence[Registration]
    ) -> None:
        self._cluster = cluster
        self._lease = lease
        self._keys = keys
        self._groups = groups

    async def prepare(self, room: str) -> None:
        """Register a room whose group is at another node: the order of commands holds for one connection only."""
        registration = self._of(room)
        if registration.has(room):
            return
        keys, lease = self._keys.leases_of_room(room), str(self._lease)
        if self._cluster.client_of(slot_of_tag(room)) is self._cluster.client_of(slot_of_key(keys.workers)):
            return
        registration.register_lease()
        await asyncio.gather(
            self._cluster.call("ZADD", keys.worker_index(lease), *scored([room])),
            self._cluster.call("SADD", keys.worker_rooms(lease), room),
        )

    def register(self, rooms: Sequence[str]) -> None:
        """Register the lease and these rooms, in the groups of the rooms."""
        for number, its in by_group(rooms).items():
            self._groups[number].register(its)

    def deadline_of(self, room: str) -> int:
        """Until when a script may write an entry of a room."""
        return self._of(room).deadline_of(room)

    def note(self, lease: str, rooms: Iterable[str]) -> None:
        """Note that Redis has registered these rooms under a lease."""
        for number, its in by_group(rooms).items():
            self._groups[number].note(lease, its)

    def forget(self, rooms: Iterable[str] | None = None) -> None:
        """Note that Redis does not have these rooms any more, or perhaps none at all."""
        if rooms is None:
            for group in self._groups:
                group.forget()
            return
        for number, its in by_group(rooms).items():
            self._groups[number].forget(its)

    def _of(self, room: str) -> Registration:
        return self._groups[group_of(slot_of_tag(room))]


class GroupedLeases:
    """The leases of a worker in all groups. A node that is away does not keep the others from being renewed.

    A heartbeat waits for `patience` seconds for the groups that answer late, and goes on without them; the next one has
    their results. If the lease has ended in one group, the worker begins another one in all of them. `look_after` is
    called with each heartbeat. A node that refuses is noted in `refusals`, and fails nothing elsewhere.
    """

    def __init__(
        self,
        groups: Sequence[RedisLeases],
        lease: LeaseName,
        refusals: ShardRefusals,
        *,
        patience: float,
        look_after: Callable[[], None],
    ) -> None:
        self._groups = groups
        self._lease = lease
        self._patience = patience
        self._look_after = look_after
        self._refusals = refusals
        self._running: dict[RedisLeases, asyncio.Task[LeaseEnd]] = {}
        # Of the groups whose last heartbeat has failed.
        self._failed: dict[RedisLeases, Failure] = {}

    async def beat(self) -> LeaseStatus:
        """Renew the lease in all groups; raise the error of one if no group has answered."""
        self._look_after()
        ends = await self._answers(lambda group: group.renew())
        ended: LeaseEnd = max(ends.values(), key=_SEVERITY.index, default="")
        if ended:
            await self._begin_anew(ended, ends)
        statuses = await asyncio.gather(*[group.status() for group in ends], return_exceptions=True)
        return _merged([one for one in statuses if not isinstance(one, BaseException)], ended)

    async def _begin_anew(self, ended: LeaseEnd, ends: Mapping[RedisLeases, LeaseEnd]) -> None:
        # The members are announced under the new lease. In each group, others take over the rest under the old one.
        left = [group.leave_behind() for group, end in ends.items() if not end]
        await asyncio.gather(*left, return_exceptions=True)
        # Replies about the old lease must not be taken for some about the new one.
        running, self._running = self._running, {}
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        self._lease.renew()
        await self._answers(lambda group: _begun(group, ended))

    async def _answers(
        self, call: Callable[[RedisLeases], Coroutine[Any, Any, LeaseEnd]]
    ) -> dict[RedisLeases, LeaseEnd]:
        """Call for each group that has answered the last call; return the answers that are there in time."""
        for group in self._groups:
            if group not in self._running:
                self._running[group] = asyncio.create_task(call(group))
        answers, failed = dict[RedisLeases, LeaseEnd](), list[RelayError]()
        numbers = {group: number for number, group in enumerate(self._groups)}
        while not answers and self._running:
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            if any(not task.done() for task in self._running.values()):
                await asyncio.wait(self._running.values(), timeout=self._patience)
            for group in [group for group, task in self._running.items() if task.done()]:
                try:
                    answers[group] = self._running.pop(group).result()
                    self._failed.pop(group, None)
                except RelayError as error:
                    failed.append(error)
                    self._failed[group] = self._refusals.client_of_group(numbers[group]), error
        self._refusals.note(LEASES, self._failed.values())
        if failed and not answers:
            raise failed[0]
        return answers

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        """Take over the members of a dead lease in all groups at the same time."""
        if not any(lease in group.deadlines for group in self._groups):
            return
        sources = [self._adopt(group, lease) for group in self._groups]
        async with aclosing(_interleaved(sources)) as batches:
            async for batch in batches:
                yield batch

    async def _adopt(self, group: RedisLeases, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        # A worker renews its leases in all groups at about the same time, and they end so.
        if await group.has_died(lease, self._patience):
            async for batch in group.adopt(lease):
                yield batch

    async def forget(self, lease: str) -> None:
        """Forget a dead lease in each group that has found it dead."""
        await asyncio.gather(*[group.forget(lease) for group in self._groups])

    async def retire(self) -> None:
        """End this worker's own lease in all groups."""
        for task in self._running.values():
            task.cancel()
        retired = await asyncio.gather(*[group.retire() for group in self._groups], return_exceptions=True)
        failed = [one for one in retired if isinstance(one, BaseException)]
        if len(failed) == len(self._groups):
            raise failed[0]

    async def touch(self, rooms: Mapping[str, str], left: Sequence[str] = ()) -> Touched:
        """Renew the time to live of these rooms, each in its own group; those of a node that fails are `failed`.

        Rooms that could not be left are among the vacant ones, so that they are left in the next round.
        """
        parts = self._parts(rooms, left)
        touched = [self._groups[number].touch(part.rooms, part.left) for (number, _), part in parts.items()]
        replies = await asyncio.gather(*touched, return_exceptions=True)
        merged = _Merged([], [], [], [])
        failures: list[Failure] = []
        for (_, client), part, reply in zip(parts, parts.values(), replies, strict=True):
            if isinstance(reply, RelayError):
                failures.append((client, reply))
                merged.failed.extend(part.rooms)
                merged.vacant.extend(part.left)
            elif isinstance(reply, BaseException):
                raise reply
            else:
                merged.lost.extend(reply.lost)
                merged.again.extend(reply.again)
                merged.vacant.extend(reply.vacant)
        self._refusals.note(RENEWAL, failures)
        return Touched(*merged)

    def _parts(self, rooms: Mapping[str, str], left: Sequence[str]) -> "dict[tuple[int, RedisClient | None], _Part]":
        """Return what each group has to touch at each node: slots of a group may be at several nodes."""
        parts: dict[tuple[int, RedisClient | None], _Part] = {}

        def part_of(number: int, client: RedisClient | None) -> _Part:
            return parts.setdefault((number, client), _Part({}, []))

        for room, peer in rooms.items():
            part_of(group_of(slot_of_tag(room)), self._refusals.client_of_room(room)).rooms[room] = peer
        for number, gone in by_group(left).items():
            # They leave the lease.
            part_of(number, self._refusals.client_of_group(number)).left.extend(gone)
        for number, group in enumerate(self._groups):
            if group.has_vacant:
                part_of(number, self._refusals.client_of_group(number))
        return parts


class _Part(NamedTuple):
    """The rooms to renew, and those to leave."""

    rooms: dict[str, str]
    left: list[str]


class _Merged(NamedTuple):
    """The results of all parts, as in `Touched`."""

    lost: list[str]
    again: list[str]
    vacant: list[str]
    failed: list[str]


async def _begun(group: RedisLeases, ended: LeaseEnd) -> LeaseEnd:
    """Begin another lease in a group; returns that this one has not ended."""
    await group.begin_anew(ended)
    return ""


def by_group(rooms: Iterable[str]) -> dict[int, list[str]]:
    """Return the rooms of each group."""
    found: dict[int, list[str]] = {}
    for room in rooms:
        found.setdefault(group_of(slot_of_tag(room)), []).append(room)
    return found


def _merged(found: Sequence[LeaseStatus], ended: LeaseEnd) -> LeaseStatus:
    """Return the findings of all groups; a lease is marked as retired or lost if all groups that found it say so."""
    dead = {name for status in found for name in status.dead}
    ended = max((ended, *(status.ended for status in found)), key=_SEVERITY.index)

    def marked(name: str, marks: Callable[[LeaseStatus], Any]) -> bool:
        return all(name in marks(status) for status in found if name in status.dead)

    retired = {name for name in dead if marked(name, lambda status: status.retired)}
    lost = {name for name in dead if any(name in status.lost for status in found)}
    return LeaseStatus(ended, sorted(dead), retired, lost - retired)


async def _interleaved(sources: Sequence[AsyncIterator[_T]]) -> AsyncGenerator[_T, None]:
    """Yield from all sources as their results come; an error of one is raised once the others have ended."""
    steps = {asyncio.ensure_future(_step(source)): source for source in sources}
    error: RelayError | None = None
    try:
        while steps:
            done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = steps.pop(task)
                try:
                    found = task.result()
                except RelayError as failure:
                    error = error or failure
                    continue
                if found:
                    steps[asyncio.ensure_future(_step(source))] = source
                    yield found[0]
    finally:
        for task in steps:
            task.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
    if error is not None:
        raise error


async def _step(source: AsyncIterator[_T]) -> list[_T]:
    """Return the next result, in a list; an empty one at the end."""
    try:
        return [await anext(source)]
    except StopAsyncIteration:
        return []
