"""The room of a client that observes; other clients have joined rooms instead."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from relay.gateways.base.join_request import CodecPair, ObserveRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.model.codec import Encoder
from relay.model.commands import Join, Move, Ping
from relay.model.errors import Refused
from relay.model.events import Pong
from relay.rooms.connection import Connection
from relay.rooms.member import Listener
from relay.rooms.observer import Observer, Sight
from relay.rooms.worker import Worker


class ObservedRoom(JoinedRooms):
    """One room that a client observes; it has no membership, of this room or any other.

    The commands `ping` and `presence` work. Every other command raises `Refused` (`observing`).
    """

    __slots__ = ("_observer", "_request")

    def __init__(self, connection: Connection, worker: Worker, codecs: CodecPair[Any], address: str = "") -> None:
        super().__init__(connection, worker, codecs, address)
        self._observer: Observer | None = None
        self._request: ObserveRequest | None = None

    async def observe(self, request: ObserveRequest) -> None:
        """Let the client observe a room; raises the errors of `Worker.observe`, and `too_many_channels`."""
        self.own_room = request.room
        observer = Observer(
            self._connection,
            self.codecs.own,
            request.room,
            request.sight,
            presence=request.presence,
            messages=request.messages,
        )
        if request.channels is not None and observer.channels is None:
            observer.channels = self._checked_channels(request.channels)
        await self._worker.observe(observer, key=request.key, address=self._address)
        self._observer, self._request = observer, request

    def may_go_on(self, allowed: Callable[[ObserveRequest], ObserveRequest]) -> bool:
        """Return whether the client may still have all that it has; `allowed` returns a request as it may have it."""
        request = self._request
        if request is None:
            return True
        try:
            return allowed(request) == request
        except Refused:
            return False

    def member(self, room: str) -> NoReturn:
        """Raise `Refused` (`observing`): the client is no member."""
        raise Refused("observing", room=self.own_room)

    async def join(self, command: Join, encoder: Encoder | None = None) -> None:
        """Raise `Refused` (`observing`): a client that observes has no peer id to join with."""
        self.member(command.room)

    async def move(self, command: Move) -> None:
        """Raise `Refused` (`observing`), as `join` does."""
        self.member(command.room)

    def ping(self, command: Ping) -> None:
        """Answer with the newest id of the room; raises `Refused` (`not_joined`) for any other room."""
        observer = self._observer
        if observer is None or command.room not in {"", observer.room}:
            raise Refused("not_joined", room=command.room)
        self._send(Pong(observer.room, self._worker.newest_id(observer), command.key))

    def leave_all(self, *, hold: bool) -> Sequence[asyncio.Future[None]]:
        """End the observation; there is nothing to hold, and nothing to wait for."""
        if self._observer is not None:
            self._worker.stop_observing(self._observer)
            self._observer = None
        return ()

    def _listener(self, room: str) -> Listener | None:
        return self._observer if self._observer is not None and room == self._observer.room else None

    def _has(self, room: str) -> bool:
        observer = self._observer
        return observer is not None and room == observer.room and observer.sight is not Sight.COUNTS
