"""The room of one namespace: a connection is in a room once, however many of its namespaces name it."""

from typing import Any, Protocol

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.model.codec import Encoder
from relay.model.commands import Join
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker


class Siblings(Protocol):
    """The namespaces of a connection: each is in a room, or is entering one."""

    def is_in(self, room: str, besides: str = "") -> bool:
        """Return whether a namespace is in a room, or enters it; but for the one named `besides`."""
        ...

    def count(self, besides: str) -> int:
        """Return how many namespaces the client is in, or enters; but for the one named `besides`."""
        ...


class NamespaceRooms(JoinedRooms):
    """`JoinedRooms` of a namespace: joins no room in which another namespace of its connection is.

    `name` is that of the namespace; `entering` is the room that it is about to enter, "" for none.
    """

    __slots__ = ("_name", "_siblings", "entering")

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        codecs: CodecPair[Any],
        address: str,
        *,
        name: str,
        entering: str,
        siblings: Siblings,
    ) -> None:
        super().__init__(connection, worker, codecs, address)
        self._name = name
        self._siblings = siblings
        self.entering = entering

    def is_in(self, room: str) -> bool:
        """Return whether the namespace is in a room, or is about to be."""
        return room == self.entering or self._has(room)

    def _count(self) -> int:
        """Return the number of rooms that the connection is in, by all its namespaces."""
        return len(self) + self._siblings.count(besides=self._name)

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
        if self._siblings.is_in(join.room, besides=self._name):
            raise Refused("already_joined", room=join.room)
        # Set before the wait for Redis: a join of another namespace must not come in between.
        self.entering = join.room
        try:
            return await super()._join(
                join, since, codec, moved_from=moved_from, renamed=renamed, resume_only=resume_only
            )
        finally:
            self.entering = ""
