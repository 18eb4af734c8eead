"""The memberships of a client of XMPP: one that a room ends is told to the client, whose stream goes on."""

from collections.abc import Callable
from typing import Any

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.model.codec import Encoder
from relay.model.commands import Join
from relay.model.envelope import MessageId
from relay.model.errors import ClientGone, CloseReason, Refused
from relay.rooms.connection import Connection
from relay.rooms.member import Member
from relay.rooms.worker import Worker

PutOut = Callable[[str, CloseReason], None]
"""Takes note that a room has put the client out, and why."""


class XmppRooms(JoinedRooms):
    """`JoinedRooms` of a client that has no room of its own."""

    __slots__ = ("_on_put_out",)

    def __init__(
        self, connection: Connection, worker: Worker, codecs: CodecPair[Any], address: str, on_put_out: PutOut
    ) -> None:
        super().__init__(connection, worker, codecs, address)
        self._on_put_out = on_put_out

    def put_out(self, member: Member, reason: CloseReason) -> None:
        """End a membership that the room has ended."""
        if self._others and self._others.get(member.room) is member:
            del self._others[member.room]
            self._worker.leave(member, hold=False)
        else:
            member.host = None
        self._on_put_out(member.room, reason)

    async def resume(self, join: Join, encoder: Encoder) -> None:
        """Resume a membership, and no other one; the events after its `since` follow the welcome."""
        if self._has(join.room):
            raise Refused("already_joined", room=join.room)
        self._check_limit(join.room)
        await self._enter(join, MessageId.parse(join.since), encoder, resume_only=True)

    async def rename_in(self, join: Join, encoder: Encoder) -> Member:
        """Join a room once more, under another peer id; returns the membership that the caller is to end."""
        before = self.member(join.room)
        member = await self._join(join, None, encoder, renamed=before)
        if member.host is None:
            self._worker.leave(member, hold=False)
            raise ClientGone()
        self.add(member)
        return before
