"""The requests of one client to the trees of rooms: reads, listens, writes, also those for the end of a connection."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from relay.awake import awake_limit
from relay.gateways.firebase.changes import Disconnects, merge_change, set_change
from relay.gateways.firebase.codec import Asked, answer, data, revoked
from relay.gateways.firebase.errors import FirebaseRefused
from relay.gateways.firebase.listens import Listen, Listens
from relay.gateways.firebase.places import Places, TreePlace
from relay.gateways.firebase.values import knows, value_of
from relay.gateways.firebase.writing import Turn, incremented, make_in_turn, write_value
from relay.identity.grants import Right
from relay.model.codec import Frame
from relay.model.errors import OutcomeUnknown, Refused
from relay.model.tree import contents_of, has_increments
from relay.model.tree_changes import Expected, Prepared, TreeChange, TreePart
from relay.rooms.large_messages import LARGE
from relay.rooms.member import Member
from relay.rooms.worker import Worker

_MOST_ATTEMPTS: Final = 10
"""How often a write that depends on the present value is tried against those of others."""

_encode: Final = msgspec.json.Encoder().encode


class RequestPort(Protocol):
    """The session, as its requests need it."""

    @property
    def address(self) -> str:
        """The address under which the client is counted."""
        ...

    def write(self, frame: Frame) -> None:
        """Write a frame to the client."""
        ...

    async def check(self, right: Right, room: str) -> None:
        """Raise `Refused` if the client does not have a right in a room, or may not enter it."""
        ...

    async def pay(self, size: int) -> None:
        """Count bytes that the client reads against its rates; returns when it may have them."""
        ...

    def current(self, room: str) -> Member | None:
        """Return the client's membership of a room, None if it has none."""
        ...

    async def member(self, room: str) -> Member:
        """Return the client's membership of a room, which it joins if it has none."""
        ...


class TreeRequests:
    """Carries the requests of one client out, one after the other."""

    __slots__ = ("_disconnects", "_listens", "_places", "_port", "_worker")

    def __init__(
        self, port: RequestPort, worker: Worker, places: Places, listens: Listens, disconnects: Disconnects
    ) -> None:
        self._port = port
        self._worker = worker
        self._places = places
        self._listens = listens
        self._disconnects = disconnects

    async def answer(self, asked: Asked) -> None:
        """Carry a request out, and answer it; raises `RelayError`."""
        if asked.action == "s":
            self._port.write(answer(asked.number))
            return
        if asked.queried:
            raise FirebaseRefused("query_unsupported")
        place = self._places.find(asked.path)
        match asked.action:
            case "q":
                await self._listen(place)
            case "g":
                part = await self._read(place)
                self._port.write(answer(asked.number, Raw(_value(part, place))))
                return
            case "p":
                await self._put(place, asked)
            case "m":
                make = partial(merge_change, place)
                await self._write_value(place, asked, make)
            case _:
                await self._prepare(place, asked)
        self._port.write(answer(asked.number))

    async def catch_up(self, room: str) -> None:
        """Have the client become a member of a room, and tell it of all changes since its values there were read."""
        try:
            await self._port.check(Right.JOIN, room)
            await self._enter(room)
        except Refused as error:
            for listen in self._listens.of_room(room):
                self._listens.remove(listen.place)
                self._port.write(revoked(self._places.text(room, listen.place.path)))
            raise error from None

    async def _enter(self, room: str) -> Member:
        """Return the client's membership of a room; a new member gets all changes since its values were read.

        Later changes wait until then: the client gets the changes in their order.
        """
        behind = [(listen, listen.since) for listen in self._listens.of_room(room) if not listen.live]
        for listen, _ in behind:
            listen.since = None
        try:
            member = await self._port.member(room)
        except BaseException:
            for listen, known in behind:
                listen.since, listen.waiting = known, None
            raise
        for listen, known in behind:
            if self._listens.has(listen):
                doubtful, listen.live, listen.doubtful = listen.doubtful, True, False
                part = await self._part(listen.place)
                # The version of a tree that Redis has lost, or has in an older state, says nothing.
                if doubtful or known is None or part.version > known:
                    self._send(listen, part)
                self._go_on(listen, part)
        return member

    # Reading.

    async def _read(self, place: TreePlace) -> TreePart:
        await self._port.check(Right.JOIN, place.room)
        return await self._part(place)

    async def _part(self, place: TreePlace) -> TreePart:
        """Return a part of a tree, whose bytes count against the client's rates."""
        part = await self._worker.trees.read(place.room, place.path)
        await self._port.pay(sum([len(path) + len(value) for path, value in part.leaves]))
        return part

    async def _listen(self, place: TreePlace) -> None:
        most = self._worker.settings.subscriptions_per_connection
        if len(self._listens) >= most:
            raise FirebaseRefused("too_many_listens", f"at most {most} listens")
        listen = self._listens.add(place, asyncio.get_running_loop().time())
        listen.live = self._port.current(place.room) is not None
        try:
            part = await self._read(place)
            self._send(listen, part)
        except BaseException:
            self._listens.remove(place)
            raise
        self._go_on(listen, part)

    def _send(self, listen: Listen, part: TreePart) -> None:
        if self._listens.has(listen):
            value = _value(part, listen.place)
            self._port.write(data(self._places.text(listen.place.room, listen.place.path), value))

    def _go_on(self, listen: Listen, part: TreePart) -> None:
        for frame in self._listens.read(listen, part.id):
            if self._listens.has(listen):
                self._port.write(frame)

    # Writing.

    async def _put(self, place: TreePlace, asked: Asked) -> None:
        if asked.hash is None:
            make = partial(set_change, self._places, place, shareable=True)
            await self._write_value(place, asked, make)
            return
        await self._port.check(Right.PUBLISH, place.room)
        for _ in range(_MOST_ATTEMPTS):
            part = await self._part(place)
            if not knows(part, place, asked.hash):
                break
            expected = Expected(place.path, contents_of(part.leaves))
            make = partial(set_change, self._places, place, shareable=False)
            change = await make_in_turn(make, incremented(part, place, asked.value), self._turn_of(asked))
            try:
                await self._write(place, change, expected)
            except Refused as error:
                if error.code != "stale_value":
                    raise
            else:
                return
        # The client needs the present value, to try again with it.
        part = await self._read(place)
        self._port.write(data(self._places.text(place.room, place.path), _value(part, place)))
        raise Refused("stale_value")

    async def _write_value(self, place: TreePlace, asked: Asked, make: Callable[[Any], TreeChange]) -> None:
        read, write = partial(self._read, place), partial(self._write, place)
        await write_value(place, asked.value, make, read, write, self._turn_of(asked))

    def _turn_of(self, asked: Asked) -> Turn | None:
        return partial(self._worker.large_messages.turn, self._port.address) if asked.size >= LARGE else None

    async def _write(self, place: TreePlace, change: TreeChange, expected: Expected | None = None) -> None:
        await self._port.check(Right.PUBLISH, place.room)
        if not change.writes:
            return
        member = await self._enter(place.room)
        if change.work:
            await self._port.pay(change.work)
        receipt = await self._worker.trees.write(member, change, expected)
        await self._until_delivered(place.room, receipt.id)

    async def _until_delivered(self, room: str, message_id: Any) -> None:
        """Return when the client has been sent its own change: the answer must not overtake it."""
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done() -> None:
            if not delivered.done():
                delivered.set_result(None)

        self._worker.when_delivered(room, message_id, done)
        try:
            async with awake_limit(self._worker.settings.publish_timeout):
                await delivered
        except TimeoutError:
            raise OutcomeUnknown from None

    # The end of the connection.

    async def _prepare(self, place: TreePlace, asked: Asked) -> None:
        await self._port.check(Right.PUBLISH, place.room)
        if has_increments(asked.value):
            raise Refused("bad_value", "an increment cannot wait for the end of a connection")
        before = self._disconnects.copy()
        try:
            self._change_prepared(place, asked)
            await self._port.pay(sum([change.work for change in self._disconnects.changes(place.room)]))
            await self._record(place.room)
        except Refused:
            # A change that is refused is not made at the end either.
            self._disconnects.take_from(before)
            raise

    def _change_prepared(self, place: TreePlace, asked: Asked) -> None:
        if asked.action == "oc":
            self._disconnects.cancel(place)
        elif asked.action == "o":
            self._disconnects.put([(place, set_change(self._places, place, asked.value, shareable=False))])
        else:
            merge_change(place, asked.value)
            children = [(self._places_below(place, key), value) for key, value in asked.value.items()]
            changes = [(one, set_change(self._places, one, value, shareable=False)) for one, value in children]
            self._disconnects.put(changes)

    def _places_below(self, place: TreePlace, path: str) -> TreePlace:
        text = self._places.text(place.room, place.path)
        return self._places.find(f"{text}/{path}")

    async def record_all(self) -> None:
        """Record all prepared changes again: the end of the client's rights is another one."""
        for room in self._disconnects.rooms():
            if self._port.current(room) is not None:
                await self._record(room)

    async def record(self, room: str) -> None:
        """Record the changes that are prepared in a room for the client's membership, which may be a new one."""
        await self._port.check(Right.PUBLISH, room)
        await self._record(room)

    async def _record(self, room: str) -> None:
        changes = self._disconnects.changes(room)
        member = await self._enter(room) if changes else self._port.current(room)
        if member is not None:
            grown = self._disconnects.uncounted(room)
            await self._worker.trees.prepare(member, Prepared(changes, self._disconnects.until), grown=grown)
            self._disconnects.count(room, grown)


def _value(part: TreePart, place: TreePlace) -> bytes:
    """Return a value as JSON text."""
    return _encode(value_of(part, place))
