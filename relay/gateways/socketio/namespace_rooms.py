"""The room of one namespace: a connection is in a room once, however many of its namespaces name it."""

from collections.abc import Callable
from typing import Any

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.model.codec import Encoder
from relay.model.commands import Join
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

CountElsewhere = Callable[[], int]
"""Counts the other namespaces of the connection: each is in a room, or is entering one."""

IsElsewhere = Callable[[str], bool]
"""Tells whether another namespace of the connection is in a room, or is entering it."""


class NamespaceRooms(JoinedRooms):
    """`JoinedRooms` of a namespace: joins no room in which another namespace of its connection is.

    `entering` is the room that it is about to enter, "" for none.
    """

    __slots__ = ("_count_elsewhere", "_is_elsewhere", "entering")

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair[Any],
        address: str,
        *,
        entering: str,
        is_elsewhere: IsElsewhere,
        count_elsewhere: CountElsewhere = int,
    ) -> None:
        super().__init__(connection, worker, codecs, address)
        self._is_elsewhere = is_elsewhere
        self._count_elsewhere = count_elsewhere
        self.entering = entering

    def is_in(self, room: str) -> bool:
        """Return whether the namespace is in a room, or is about to be."""
        return room == self.entering or self._has(room)

    def _count(self) -> int:
        """Return the number of rooms that the connection is in, by all its namespaces."""
        return len(self) + self._count_elsewhere()

    async def _join(
        self,
        join: Join,
        since: MessageId | None,
        codec: Encoder,
        *,
        moved_from: Member | None = None,
        renamed: Member | None = None,
        resume_only: bool = False,
    ) -> Member:
        if self._is_elsewhere(join.room):
            raise Refused("already_joined", room=join.room)
        # Set before the wait for Redis: a join of another namespace must not come in between.
        self.entering = join.room
        try:
            return await super()._join(
                join, since, codec, moved_from=moved_from, renamed=renamed, resume_only=resume_only
            )
        finally:
            self.entering = ""
