"""The session of a Firebase client."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from msgspec import structs

from relay.gateways.base.costs import JOIN_COST
from relay.gateways.base.guard import Guard
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.leaving import leave
from relay.gateways.base.session import Session
from relay.gateways.base.wrapped_connection import SilentConnection
from relay.gateways.firebase.access import check_access
from relay.gateways.firebase.changes import Disconnects
from relay.gateways.firebase.codec import (
    PONG,
    Asked,
    ClientPing,
    FrameIgnored,
    LossFrame,
    TreeEventFrame,
    answer,
    hello,
)
from relay.gateways.firebase.listens import Listens
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.requests import TreeRequests
from relay.gateways.firebase.tree_rooms import ENDED, TreeRooms
from relay.identity.grants import Grants, Right
from relay.ids import fingerprint
from relay.model.codec import Frame
from relay.model.commands import Command, GatewayCommand, Join
from relay.model.errors import UNAVAILABLE, OutcomeUnknown, Refused, RelayError, Unavailable
from relay.model.tree_changes import Prepared
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

LASTING: Final = 1.0
"""Seconds after which a listen makes its client a member: `once` ends its listen as soon as it has the value."""

_LONGEST_WAIT: Final = 5.0
"""Seconds that a client waits at most for the bytes that it reads."""

_PEER_DIGITS: Final = 24
"""Hexadecimal digits of a peer id: 96 bits, as those that the relay draws."""

_OF_TOKENS: Final = frozenset({"auth", "gauth", "unauth", "appcheck", "unappcheck"})

_NOTHING: Final = Grants(anonymous=True)
"""The grants of a client that has given its token up where it needs one."""


class Settle(GatewayCommand):
    """The client's listens have lasted: it becomes a member of their rooms."""

    __slots__ = ()

    about = "listen"


class RoomConnection(SilentConnection):
    """Hands the events of rooms to the session, which writes the changes that its client listens to."""

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self.session: FirebaseSession | None = None

    def write(self, frame: Frame) -> None:
        """Write a frame, or those that follow from an event."""
        if not isinstance(frame, TreeEventFrame):
            super().write(frame)
        elif self.session is not None:
            self.session.deliver(frame)


class FirebaseSession(Session[Frame]):
    """Serves one client.

    A request is answered when the one before is: an answer follows the data that it is about, and the client relies on
    that. A client that listens gets the value at once, and becomes a member when its listen has lasted for a second, or
    with its first write. It gets the events of the room from then on, after the value once more if that has changed.
    """

    id: str
    """The secret id by which the client names its session later."""

    __slots__ = (
        "_disconnects",
        "_first_peer",
        "_last_key",
        "_last_peer",
        "_listens",
        "_lost",
        "_places",
        "_requests",
        "_settling",
        "_tree_rooms",
    )

    def __init__(
        self, connection: RoomConnection, worker: Worker, codecs: CodecPair[Frame], ticket: Ticket, places: Places
    ) -> None:
        super().__init__(connection, worker, codecs, ticket)
        self._disconnects = Disconnects()
        self._rooms = self._tree_rooms = TreeRooms(connection, worker, codecs, ticket.address, self._disconnects)
        connection.session = self
        self._places = places
        self._listens = Listens(places)
        self._requests = TreeRequests(self, worker, places, self._listens, self._disconnects)
        self._settling: asyncio.TimerHandle | None = None
        # Whether Redis may have lost what the client has prepared.
        self._lost = False
        self._first_peer = self._last_peer = self._last_key = ""

    async def start(self, host: str, token: str, session_id: str, last_session: str = "") -> None:
        """Greet the client at this host, with the token of its request ("" for none), and the id of its session.

        `last_session` is the id of its last one ("" for none), whose worker may be dead.
        """
        self._first_peer, self._last_peer = peer_of(session_id), peer_of(last_session)
        self._last_key = key_of(last_session)
        self._connection.write(hello(host, session_id, time.time()))
        try:
            await self.authenticate(token)
            self._rooms.begin(self._new_peer(lambda: self._first_peer))
        except Refused as error:
            # It may send a token; until then, it may do nothing.
            self._metrics.refused(error.code)
        except RelayError:
            self._connection.close(UNAVAILABLE)
        finally:
            self._end_exclusive()

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        return super().end(goodbye=goodbye)

    def leave(self) -> "asyncio.Future[None] | None":
        """End the session: the client has closed it, or has connected anew. The future is that of `end`."""
        return self.end(goodbye=True)

    # Events of rooms.

    def deliver(self, frame: TreeEventFrame) -> None:
        """Write the client's frames of an event; after a loss, it reads anew."""
        if isinstance(frame, LossFrame):
            for listen in self._listens.of_room(frame.room):
                listen.live, listen.doubtful = False, True
            self._lost = True
            self._settle_in(0)
            return
        frames = self._listens.frames(frame)
        for one in frames:
            self._connection.write(one)
        self._worker.trees.note_frames(frame.room, len(frames))

    def _settle_in(self, seconds: float) -> None:
        when = asyncio.get_running_loop().time() + seconds
        if self._settling is not None:
            if self._settling.when() <= when:
                return
            self._settling.cancel()
        self._settling = asyncio.get_running_loop().call_at(when, self._settle)

    def _settle_when_lasting(self) -> None:
        began = [began for room, began in self._listens.began().items() if not self._rooms.is_in(room)]
        if began and not self._ended:
            self._settle_in(max(0.0, min(began) + LASTING - asyncio.get_running_loop().time()))

    def _settle(self) -> None:
        self._settling = None
        if not self._ended:
            self.execute(Settle())

    # Requests.

    def _execute(self, command: Command) -> None:
        match command:
            case Asked(action="n"):
                self._stop_listening(command)
            case Asked():
                self._run_exclusive(self._answer(command), command)
            case ClientPing():
                self._connection.write(PONG)
            case Settle():
                self._run_exclusive(self._become_member(), command)
            case FrameIgnored():
                pass
            case _:
                super()._execute(command)

    def _stop_listening(self, asked: Asked) -> None:
        # A listen with a query was refused. It is another one than that without, at the same path.
        if not asked.queried:
            self._listens.remove(self._places.find(asked.path))
        self._connection.write(answer(asked.number))

    async def _answer(self, asked: Asked) -> None:
        with self._closes_without_redis():
            if asked.action in _OF_TOKENS:
                await self._change_token(asked)
            else:
                await self._requests.answer(asked)
        self._settle_when_lasting()

    @contextmanager
    def _closes_without_redis(self) -> Iterator[None]:
        """Close the connection if Redis does not answer: the client connects anew, and asks again."""
        try:
            yield
        except (Unavailable, OutcomeUnknown) as error:
            self._metrics.refused(error.code)
            self._connection.close(UNAVAILABLE)

    async def _become_member(self) -> None:
        with self._closes_without_redis():
            if self._lost:
                self._lost = False
                try:
                    await self._requests.record_all()
                except Refused as error:
                    self._metrics.refused(error.code)
            lasting = asyncio.get_running_loop().time() - LASTING
            for room, began in self._listens.began().items():
                if began > lasting and not self._rooms.is_in(room):
                    continue
                try:
                    await self._requests.catch_up(room)
                except Refused as error:
                    self._metrics.refused(error.code)
        self._settle_when_lasting()

    # The token.

    async def _change_token(self, asked: Asked) -> None:
        """Serve the client with the rights of another token from now on, or of none."""
        if asked.action in {"appcheck", "unappcheck"}:
            self._connection.write(answer(asked.number))
            return
        before = self._guard
        if self._worker.authority.is_off:
            # No token changes anything.
            pass
        elif asked.token and before is not None and not before.grants.anonymous:
            await self._renew(asked.token)
            await self._requests.record_all()
        else:
            try:
                await self.authenticate(asked.token)
            except Refused:
                if asked.action != "unauth":
                    raise
                # A client without a token may do nothing here.
                self._set_grants(_NOTHING)
            await self._begin_anew()
        if len(self._listens):
            self._settle_in(0)
        guard = self._guard
        subject = guard.grants.subject if guard is not None else ""
        self._connection.write(answer(asked.number, {"auth": {"uid": subject} if subject else None}))

    async def _begin_anew(self) -> None:
        """Leave all rooms, and enter those of the client's listens again: its peer id may be another one."""
        rooms = self._tree_rooms
        members = rooms.memberships()
        leaving = [rooms.end(member.room) for member in members]
        if leaving:
            # The client may have the same peer id again.
            await asyncio.wait(leaving)
        for room in self._listens.rooms():
            for listen in self._listens.of_room(room):
                listen.live = False
        rooms.begin(self._new_peer(lambda: self._first_peer))
        await self._record_anew(members)

    async def _record_anew(self, before: Sequence[Member]) -> None:
        """Record the changes that are prepared for the end of these memberships for new ones, in the same rooms."""
        left = deque(before)
        try:
            while left:
                await self._record_for_new(left[0])
                left.popleft()
        except RelayError:
            # The client connects anew, with another peer id perhaps.
            for member in left:
                self._tree_rooms.finish_left(member)
            raise

    async def _record_for_new(self, before: Member) -> None:
        changes = self._disconnects.changes(before.room)
        if not changes:
            return
        try:
            await self._requests.record(before.room)
        except Refused as error:
            self._metrics.refused(error.code)
            self._tree_rooms.finish_left(before)
        else:
            # Under an earlier peer id, the backend only forgets them.
            self._worker.trees.finish(before, Prepared(changes, ENDED))

    def _new_peer(self, generate: Callable[[], str]) -> str:
        return generate() if self._guard is None else self._guard.grants.peer("", generate)

    def _set_grants(self, grants: Grants) -> Guard:
        self._disconnects.until = int(grants.expires * 1000) if grants.expires else 0
        return super()._set_grants(grants)

    # Port of the requests.

    @property
    def address(self) -> str:
        """The address under which the client is counted."""
        return self.ticket.address

    def write(self, frame: Frame) -> None:
        """Write a frame to the client."""
        self._connection.write(frame)

    async def check(self, right: Right, room: str) -> None:
        """Raise `Refused` if the client does not have a right in a room, or may not enter it."""
        await check_access(self._worker, self._guard, right, room, is_member=self.current(room) is not None)

    async def pay(self, size: int) -> None:
        """Count bytes that the client reads against its rates; returns when it may have them."""
        seconds = (self._pace or self._make_pace()).count(size, least=0)
        if seconds:
            await asyncio.sleep(min(seconds, _LONGEST_WAIT))

    def current(self, room: str) -> Member | None:
        """Return the client's membership of a room, None if it has none."""
        return self._rooms.member(room) if self._rooms.is_in(room) else None

    async def member(self, room: str) -> Member:
        """Return the client's membership of a room, which it joins if it has none."""
        member = self.current(room)
        if member is None:
            (self._pace or self._make_pace()).spend(JOIN_COST)
            await self._join_after_last(room)
            member = self._rooms.member(room)
        return member

    async def _join_after_last(self, room: str) -> None:
        """Join a room, and make the changes that the client's last session has prepared in it.

        The worker of that session may be dead. Made later, they would take away the values that the client writes now.
        """
        trees, own = self._worker.trees, self._rooms.peer
        last = self._new_peer(lambda: self._last_peer) if self._last_peer else ""
        join = Join(room, echo=True, can_resume=False, reads_tree=True, own_key=True, next_key=key_of(self.id))
        if last != own:
            if last:
                await trees.finish_last(room, last)
                await self._end_last(HttpPlace(room, last, self._last_key))
            await self._join(join)
            return
        # The client's token fixes its peer id. If the last membership is there still, this one takes its place.
        await self._join(structs.replace(join, resume=self._last_key))
        try:
            await trees.finish_last(room, own)
        except RelayError:
            # The client enters anew, and makes them then.
            self._rooms.end(room)
            raise

    async def _end_last(self, place: HttpPlace) -> None:
        """End the membership of the client's last session, whose worker may not know yet that it is over."""
        try:
            await leave(self._worker, place, self.ticket.address, arrived=time.monotonic())
        except Refused as error:
            if error.code in {Unavailable.code, OutcomeUnknown.code}:
                raise Unavailable from None
            # A worker of an earlier version has it: it ends when that worker notices the loss.


def key_of(session_id: str) -> str:
    """Return the resume key of a session's memberships, "" for "": by it, the client's next session takes them over."""
    return f"firebase {session_id}" if session_id else ""


def peer_of(session_id: str) -> str:
    """Return the peer id of a session, which others may see; "" for "". It does not tell the id, which is secret."""
    return fingerprint(session_id)[:_PEER_DIGITS]
