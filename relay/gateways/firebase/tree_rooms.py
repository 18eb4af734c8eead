"""The rooms of a Firebase client, which has prepared changes for the end of its memberships."""

import asyncio
from collections.abc import Sequence
from typing import Final

from relay.gateways.base.guard import Guard
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.firebase.changes import Disconnects
from relay.identity.grants import Right
from relay.model.codec import Frame
from relay.model.errors import CloseReason
from relay.model.tree_changes import Prepared
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

ENDED: Final = 1
"""The end of rights that a client has not (Unix time, ms): long ago."""


class TreeRooms(JoinedRooms):
    """The rooms of a client, with the changes that it has prepared for its end."""

    __slots__ = ("_disconnects",)

    def __init__(
        self, connection: Connection, worker: Worker, codecs: CodecPair[Frame], address: str, disconnects: Disconnects
    ) -> None:
        super().__init__(connection, worker, codecs, address)
        self._disconnects = disconnects

    def leave_all(self, *, hold: bool) -> Sequence[asyncio.Future[None]]:
        """Make the prepared changes, and leave; a membership is not held, as its client registers nothing again."""
        for member in self.memberships():
            self.finish(member)
        return super().leave_all(hold=hold)

    def put_out(self, member: Member, reason: CloseReason) -> None:
        """End a membership that the room has ended: the changes that its client has prepared are not made."""
        changes = self._disconnects.take(member.room)
        if changes:
            # The backend only forgets them.
            self._worker.trees.finish(member, Prepared(changes, ENDED))
        super().put_out(member, reason)

    def finish(self, member: Member) -> None:
        """Make the changes that are prepared for a member, if its client has the right to make them now."""
        changes = self._disconnects.take(member.room)
        if changes:
            self._worker.trees.finish(member, Prepared(changes, self._end_of_rights(member)))

    def finish_left(self, member: Member) -> None:
        """As `finish`, for a member that has left its room."""
        changes, until = self._disconnects.take(member.room), self._end_of_rights(member)
        if changes and until != ENDED:
            self._worker.trees.finish_left(member)
        elif changes:
            self._worker.trees.finish(member, Prepared(changes, until))

    def _end_of_rights(self, member: Member) -> int:
        """Return the end of the client's right to make changes in a room; without it, the backend only forgets them."""
        grants = self.grants
        allowed = grants is None or Guard(grants).allows(Right.PUBLISH, member.room)
        return self._disconnects.until if allowed else ENDED
