"""The rooms that one client has joined, and the commands that concern them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from relay.gateways.base.join_request import CodecPair, JoinRequest, ResumeClaim
from relay.model.codec import Encoder
from relay.model.commands import AskPresence, Detect, Join, Leave, Move, Ping, SetInfo, Subscribe, Unsubscribe
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import Refused
from relay.model.events import (
    Detected,
    InfoChanged,
    LeftRoom,
    Pong,
    PresenceList,
    ServerEvent,
    Subscriptions,
    Welcome,
)
from relay.model.names import check_room
from relay.rooms.connection import Connection
from relay.rooms.member import Claim, Listener, Member, UnheldMember
from relay.rooms.worker import Worker

_NOT_RESUMABLE = frozenset({"not_joined", "peer_taken", "superseded"})
"""Error codes which say that the membership a client wants to resume is no longer its own."""


class JoinedRooms:
    """A client's memberships: of its own room, and of any others that it joined later.

    The own room is the one that the client named when it connected, or has moved to since; a client may be without one.
    A command without a room means the own one. Every command raises `Refused` if the client may not do this; those that
    wait for Redis raise `Unavailable` and `OutcomeUnknown` too, and must not run side by side.
    """

    # Most clients join one room only: its member has an attribute, and a dict is made for the second room.
    __slots__ = ("_connection", "_others", "_own", "_peer", "_worker", "codecs", "own_room")

    def __init__(self, connection: Connection, worker: Worker, codecs: CodecPair[Any]) -> None:
        self._connection = connection
        self._worker = worker
        self.codecs = codecs
        self._peer = ""
        self._own: Member | None = None
        self._others: dict[str, Member] | None = None
        self.own_room = ""

    def member(self, room: str) -> Member:
        """Return the client's membership of a room ("" for its own); raise `Refused` (`not_joined`) if it has none."""
        member = self._own
        if room and room != self.own_room:
            member = self._others.get(room) if self._others else None
        if member is None:
            raise Refused("not_joined", room=room or self.own_room)
        return member

    def newest_id(self) -> MessageId | None:
        """Return the newest id that the worker knows of the client's own room; None while it is in none."""
        return None if self._own is None else self._worker.newest_id(self._own)

    def add(self, member: Member) -> None:
        """Record a membership that the worker has made."""
        if member.room == self.own_room:
            self._own = member
        else:
            self._others = self._others or {}
            self._others[member.room] = member

    # Joining and leaving.

    def begin(self, peer: str) -> None:
        """Set the peer id of a client that is in no room yet."""
        self._peer = peer

    async def enter(self, request: JoinRequest) -> None:
        """Join the client's own room, or resume the membership that the request claims, where that still exists."""
        join = Join(
            request.room,
            resume=request.resume,
            echo=request.echo,
            presence=request.presence,
            channels=request.channels,
            key=request.key,
            info=request.info,
            can_resume=request.can_resume,
            tracking=request.tracking,
            arrived=request.arrived,
        )
        if request.claim is None or not await self._resume(join, request.claim):
            self.own_room, self._peer = request.room, request.peer
            self.add(await self._join(join, request.since, self.codecs.own))

    async def join(self, command: Join, encoder: Encoder | None = None) -> None:
        """Join one more room; its events are written by `encoder`, if there is one."""
        room = check_room(command.room)
        if self._has(room):
            raise Refused("already_joined", room=room)
        self._check_limit(room)
        try:
            since = MessageId.parse(command.since) if command.since else None
        except ValueError:
            raise Refused("bad_command", "since is not an id as the relay sends it: epoch-sequence") from None
        self.add(await self._join(command, since, encoder or self._codec_for(room)))

    async def move(self, command: Move) -> None:
        """Make another room the client's own: join it, and leave the present one, if there is one."""
        room, left = check_room(command.room), self._own
        if left is not None and room == left.room:
            newest = self._worker.newest_id(left)
            self._send(Welcome(room, left.peer, newest, "", resumed=True, key=command.key))
            return
        if self._has(room):
            raise Refused("already_joined", room=room)
        join = Join(
            room,
            key=command.key,
            can_resume=command.can_resume,
            tracking=command.tracking,
            arrived=command.arrived,
        )
        if left is None:
            self._check_limit(room)
        else:
            join = replace(join, info=left.info, can_resume=left.can_resume)
        # The client stays in the room that it has until it is in the other; if it is refused there, nothing changes.
        self._own = await self._join(join, None, self.codecs.own, moved_from=left)
        self.own_room = room
        if left is not None:
            self._worker.leave(left, hold=False)

    def leave(self, command: Leave) -> None:
        """Leave a room; the client gets its answer once Redis has been asked."""
        member = self.member(command.room)
        if member is self._own:
            self._own = None
        elif self._others:
            del self._others[member.room]
        left = LeftRoom(member.room, command.key)
        self._worker.leave(member, hold=False).add_done_callback(lambda _: self._send(left))

    def leave_all(self, *, hold: bool) -> Sequence[asyncio.Future[None]]:
        """End all memberships: at once, or with `hold` after the reconnect grace time those that can be resumed.

        The futures are those of `Worker.leave`, for the memberships that end at once.
        """
        members = [*([self._own] if self._own else ()), *(self._others or {}).values()]
        self._own = self._others = None
        leaving: list[asyncio.Future[None]] = []
        for member in members:
            if hold and member.can_resume:
                # Thousands of connections may be lost in one moment. No caller waits for a hold, so they take turns.
                self._worker.disconnects.add(partial(self._worker.leave, member, hold=True))
            else:
                leaving.append(self._worker.leave(member, hold=False))
        return leaving

    async def _resume(self, join: Join, claim: ResumeClaim) -> bool:
        """Resume a membership; returns False where it does not exist any more."""
        self.own_room, self._peer = claim.room, claim.peer
        join = replace(join, room=claim.room, resume=claim.resume)
        try:
            self.add(await self._join(join, claim.since, self.codecs.own, resume_only=True))
        except Refused as error:
            if error.code not in _NOT_RESUMABLE:
                raise
            return False
        return True

    async def _join(
        self,
        join: Join,
        since: MessageId | None,
        codec: Encoder,
        *,
        moved_from: Member | None = None,
        resume_only: bool = False,
    ) -> Member:
        kind, peer = Member if join.can_resume else UnheldMember, join.peer or self._peer
        member = kind(self._connection, codec, join.room, peer, echo=join.echo, presence=join.presence, info=join.info)
        if join.channels is not None:
            member.channels = self._checked_channels(join.channels)
        claim = Claim(join.resume, moved_from, resume_only, join.arrived)
        await self._worker.join(member, claim, since=since, key=join.key, tracking=join.tracking)
        return member

    @property
    def watched(self) -> bool:
        """Whether one of the client's rooms is watched."""
        if self._own is not None and self._worker.is_watched(self._own.room):
            return True
        return bool(self._others) and any(map(self._worker.is_watched, self._others or ()))

    # Within a room.

    def subscribe(self, command: Subscribe) -> None:
        """Restrict a membership to channels; they add to those subscribed to before."""
        member = self.member(command.room)
        member.channels = self._checked_channels([*(member.channels or ()), *command.channels])
        self._send_subscriptions(member, command.key)

    def unsubscribe(self, command: Unsubscribe) -> None:
        """Take channels from a restriction; without any, lift it."""
        member = self.member(command.room)
        if command.channels is None:
            member.channels = None
        else:
            member.channels = (member.channels or set()) - set(command.channels)
        self._send_subscriptions(member, command.key)

    async def set_info(self, command: SetInfo) -> None:
        """Change the member's own info in a room, and answer with it."""
        member = self.member(command.room)
        await self._worker.change_info(member, command.info)
        self._send(InfoChanged(member.room, command.info, command.key))

    def ping(self, command: Ping) -> None:
        """Answer with the newest id of a room."""
        member = self.member(command.room)
        self._send(Pong(member.room, self._worker.newest_id(member), command.key))

    async def list_members(self, command: AskPresence) -> None:
        """Answer with a room's members: by name if the client is one of them, else only how many there are.

        Only a listener of the room gets its id, when it has been sent all events up to that id.
        """
        room = check_room(command.room or self.own_room)
        listener = self._listener(room)
        if listener is None:
            roster = replace(await self._worker.roster(room, 0), id=BEFORE_ALL)
        else:
            roster = await self._worker.list_members(listener, command.limit if self._has(room) else 0)
        self._send(PresenceList(room, roster, command.key))

    async def detect(self, command: Detect) -> None:
        """Answer whether a room or channel name is in use."""
        member = self.member(command.room)
        present = await self._worker.detect(command.name, member.room)
        self._send(Detected(member.room, present, command.key))

    # Helpers.

    def __len__(self) -> int:
        """Return the number of rooms that the client is in."""
        return (self._own is not None) + len(self._others or ())

    def _listener(self, room: str) -> Listener | None:
        """Return the membership of a room, or the observation of it, None if there is none."""
        return self._own if room == self.own_room else (self._others or {}).get(room)

    def _has(self, room: str) -> bool:
        return self._own is not None if room == self.own_room else room in (self._others or ())

    def _check_limit(self, room: str) -> None:
        limit = self._worker.settings.rooms_per_connection
        if len(self) >= limit:
            raise Refused("too_many_rooms", f"at most {limit} rooms", room=room)

    def _checked_channels(self, channels: Sequence[str]) -> set[str]:
        limit = self._worker.settings.channels_per_room
        if len(set(channels)) > limit:
            raise Refused("too_many_channels", f"at most {limit} channels in a room")
        return set(channels)

    def _codec_for(self, room: str) -> Encoder:
        return self.codecs.own if room == self.own_room else self.codecs.tagged

    def _send(self, event: ServerEvent) -> None:
        self._connection.write(self._codec_for(event.room).encode(event))

    def _send_subscriptions(self, member: Member, key: str) -> None:
        channels = None if member.channels is None else sorted(member.channels)
        self._send(Subscriptions(member.room, channels, key))
