"""The rooms that one client has joined, and the commands that concern them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from msgspec import structs
from mypy_extensions import mypyc_attr

from relay.gateways.base.join_request import CodecPair, JoinRequest, ResumeClaim
from relay.identity.grants import Grants
from relay.model.codec import Encoder
from relay.model.commands import AskPresence, Detect, Join, Leave, Move, Ping, SetInfo, Subscribe, Unsubscribe
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import NOT_ADMITTED, ClientGone, CloseReason, Refused
from relay.model.events import (
    Detected,
    IceRenewed,
    InfoChanged,
    LeftRoom,
    Pong,
    PresenceList,
    ServerEvent,
    Subscriptions,
    Welcome,
)
from relay.model.member_info import vouch, vouched_part
from relay.model.names import check_room
from relay.rooms.claim import Claim
from relay.rooms.connection import Connection
from relay.rooms.member import Listener, Member, TreeMember, UnheldMember
from relay.rooms.worker import Worker

MAX_CHANNEL_NAMES = 32_768
"""Characters of the names of all channels to which one connection is subscribed."""

_NOT_RESUMABLE = frozenset({"not_joined", "peer_taken", "superseded"})
"""Error codes which say that the membership a client wants to resume is no longer its own."""


class Mover(Protocol):
    """Moves its client to another room."""

    def move(self, room: str) -> None:
        """Make a room the client's own, soon."""
        ...


@mypyc_attr(allow_interpreted_subclasses=True)
class JoinedRooms:
    """A client's memberships: of its own room, and of any others that it joined later.

    `address` is the one under which the client is counted. The own room is the one that the client named when it
    connected, or has moved to since; a client may be without one. A command without a room means the own one. Every
    command raises `Refused` if the client may not do this; those that wait for Redis raise `Unavailable` and
    `OutcomeUnknown` too, and must not run side by side.

    `grants` are those of the client's token; None if auth is off. The session's guard has checked the rights. Here
    they set the limit on rooms, and the info for which the token vouches is put into each member's info.
    """

    # Most clients join one room only: its member has an attribute, and a dict is made for the second room.
    __slots__ = (
        "_address",
        "_connection",
        "_others",
        "_own",
        "_peer",
        "_worker",
        "codecs",
        "grants",
        "mover",
        "own_room",
    )

    def __init__(self, connection: Connection, worker: Worker, codecs: CodecPair[Any], address: str = "") -> None:
        self._connection = connection
        self._worker = worker
        self._address = address
        self.codecs = codecs
        self._peer = ""
        self._own: Member | None = None
        self._others: dict[str, Member] | None = None
        self.mover: Mover | None = None
        self.own_room = ""
        self.grants: Grants | None = None

    def member(self, room: str) -> Member:
        """Return the client's membership of a room ("" for its own); raise `Refused` (`not_joined`) if it has none."""
        member = self._own
        if room and room != self.own_room:
            member = self._others.get(room) if self._others else None
        if member is None:
            raise Refused("not_joined", room=room or self.own_room)
        return member

    @property
    def peer(self) -> str:
        """The client's peer id in its own room; "" before it has one."""
        return self._peer

    def is_in(self, room: str) -> bool:
        """Return whether the client is in a room."""
        return self._has(room)

    def newest_id(self) -> MessageId | None:
        """Return the newest id that the worker knows of the client's own room; None while it is in none."""
        return None if self._own is None else self._worker.newest_id(self._own)

    def add(self, member: Member) -> None:
        """Record a membership that the worker has made."""
        self._worker.ice.add(self)
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
        """Join the client's own room, or resume the membership that the request claims, where that still exists.

        A request without a peer id gets a new one.
        """
        join = _join_of(request)
        self._check_limit(request.room)
        claim = request.claim
        if claim is None or not await self._resume(join, claim, resume_only=request.resume_only):
            self.own_room, self._peer = request.room, request.peer or self._worker.random.peer_id()
            await self._enter(join, request.since, self.codecs.own)

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
        await self._enter(command, since, encoder or self._codec_for(room))

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
            join = structs.replace(join, info=left.info, can_resume=left.can_resume)
        # The client stays in the room that it has until it is in the other; if it is refused there, nothing changes.
        member = await self._join(join, None, self.codecs.own, moved_from=left)
        if member.host is None:
            self._worker.leave(member, hold=False)
            self._connection.close(NOT_ADMITTED)
            return
        self._own, self.own_room = member, room
        if left is not None:
            self._worker.leave(left, hold=False)

    async def rename(self, request: JoinRequest) -> Member:
        """Join the client's own room once more, under another peer id; returns the membership that it is to end now."""
        before = self.member("")
        join = structs.replace(_join_of(request), peer=request.peer)
        member = await self._join(join, None, self.codecs.own, renamed=before)
        if member.host is None:
            self._worker.leave(member, hold=False)
            raise ClientGone()
        self._own, self._peer = member, request.peer
        return before

    def take_back(self, before: Member, renamed: Member) -> bool:
        """Go on with the membership `before`, in place of the one after `rename`; False if either has ended."""
        if self._own is not renamed or before.host is None:
            return False
        self._own, self._peer = before, before.peer
        return True

    def leave(self, command: Leave) -> None:
        """Leave a room; the client gets its answer once Redis has been asked."""
        left = LeftRoom(self.member(command.room).room, command.key)
        self.end(command.room).add_done_callback(lambda _: self._send(left))

    def end(self, room: str) -> asyncio.Future[None]:
        """End the membership of a room ("" for the own one) at once; the future is that of `Worker.leave`."""
        member = self.member(room)
        if member is self._own:
            self._own = None
        elif self._others:
            del self._others[member.room]
        return self._worker.leave(member, hold=False)

    def leave_all(self, *, hold: bool) -> Sequence[asyncio.Future[None]]:
        """End all memberships: at once, or with `hold` after the reconnect grace time those that can be resumed.

        The futures are those of `Worker.leave`, for the memberships that end at once.
        """
        self._worker.ice.remove(self)
        members = self.memberships()
        self._own = self._others = self.mover = None
        leaving: list[asyncio.Future[None]] = []
        for member in members:
            if hold and member.can_resume:
                # Thousands of connections may be lost in one moment. No caller waits for a hold, so they take turns.
                self._worker.disconnects.add(partial(self._worker.leave, member, hold=True))
            else:
                leaving.append(self._worker.leave(member, hold=False, reason="lost" if hold else "left"))
        return leaving

    # Decisions of a room about its members.

    def put_out(self, member: Member, reason: CloseReason) -> None:
        """End a membership that the room has ended: of the client's own room, or its only one, with the connection."""
        if member is self._own or self.memberships() in ([], [member]):
            self._connection.close(reason)
        elif self._others and self._others.get(member.room) is member:
            del self._others[member.room]
            self._worker.leave(member, hold=False)
        else:
            # It is joining, and was put out as soon as it was welcomed: it is not recorded.
            member.host = None

    def moved(self, member: Member, room: str) -> None:
        """Have the client's session move to a room, if the member is in its own room."""
        if member is self._own and self.mover is not None:
            self.mover.move(room)

    async def _resume(self, join: Join, claim: ResumeClaim, *, resume_only: bool) -> bool:
        """Resume a membership; returns False where it does not exist any more, or raises `Refused` if `resume_only`."""
        self.own_room, self._peer = claim.room, claim.peer
        join = structs.replace(join, room=claim.room, resume=claim.resume)
        try:
            await self._enter(join, claim.since, self.codecs.own, resume_only=True)
        except Refused as error:
            if resume_only or error.code not in _NOT_RESUMABLE:
                raise
            return False
        return True

    async def _enter(self, join: Join, since: MessageId | None, codec: Encoder, *, resume_only: bool = False) -> None:
        """Join a room, and record the membership."""
        member = await self._join(join, since, codec, resume_only=resume_only)
        if member.host is None:
            self._worker.leave(member, hold=False)
            return
        self.add(member)
        if self.grants is not None:
            # A member that is resumed without an info has the one of its entry, in which an earlier token has a part.
            await self._vouch(member, self.grants)

    async def vouch(self) -> None:
        """Put the info for which the token vouches into the infos of all memberships: the token is a new one."""
        if self.grants is not None:
            for member in self.memberships():
                await self._vouch(member, self.grants)

    def check_vouching(self, grants: Grants) -> None:
        """Raise `Refused` (`bad_info`) if a member's info has no room for the one for which a newer token vouches."""
        for member in self.memberships():
            vouch(member.info, grants.info)

    async def _vouch(self, member: Member, grants: Grants) -> None:
        if vouched_part(member.info) != grants.info:
            await self._worker.change_info(member, vouch(member.info, grants.info))

    def _with_vouched(self, info: bytes) -> bytes:
        return info if self.grants is None else vouch(info, self.grants.info)

    def memberships(self) -> list[Member]:
        """Return all memberships of the client."""
        return [*([self._own] if self._own else ()), *(self._others or {}).values()]

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
        kind = TreeMember if join.reads_tree else Member if join.can_resume else UnheldMember
        peer = join.peer or self._peer
        # A member that resumes without an info keeps the one that it has.
        info = join.info if join.resume and not join.info else self._with_vouched(join.info)
        member = kind(self._connection, codec, join.room, peer, echo=join.echo, presence=join.presence, info=info)
        member.host = self
        if join.channels is not None:
            member.channels = self._checked_channels(join.channels)
        claim = Claim(
            join.resume,
            moved_from,
            resume_only,
            join.arrived,
            self._address,
            self.grants,
            join.password,
            join.own_key,
            join.opens,
            join.terms,
            join.next_key,
            join.held_only,
            join.found_by,
            renamed,
        )
        await self._worker.join(member, claim, since=since, key=join.key, tracking=join.tracking)
        return member

    @property
    def watched(self) -> bool:
        """Whether one of the client's rooms is watched."""
        if self._own is not None and self._worker.is_watched(self._own.room):
            return True
        return bool(self._others) and any(map(self._worker.is_watched, self._others or ()))

    # Within a room.

    def renew_ice(self) -> None:
        """Send the client its STUN and TURN servers with new credentials; nothing while it is in no room."""
        if len(self) and (offer := self._worker.ice.offer(self._peer, "renewal")):
            self._connection.write(self.codecs.own.encode(IceRenewed(self.own_room, offer)))

    def subscribe(self, command: Subscribe) -> None:
        """Restrict a membership to channels; they add to those subscribed to before."""
        member = self.member(command.room)
        member.channels = self._checked_channels([*(member.channels or ()), *command.channels], member)
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
        info = await self._change_info(member, command.info)
        self._send(InfoChanged(member.room, info, command.key))

    async def change_info(self, info: bytes) -> None:
        """Change the member's own info in the client's own room, without an answer."""
        await self._change_info(self.member(""), info)

    async def _change_info(self, member: Member, info: bytes) -> bytes:
        info = self._with_vouched(info)
        await self._worker.change_info(member, info)
        return info

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
        present = await self._worker.detect(command.name, member.room, rooms=command.rooms)
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

    def _count(self) -> int:
        """Return the number of rooms that count for the limit of the client."""
        return len(self)

    def _check_limit(self, room: str) -> None:
        limit = self._worker.settings.rooms_per_connection
        if self.grants is not None and self.grants.limits.rooms is not None:
            limit = self.grants.limits.rooms
        if self._count() >= limit:
            raise Refused("too_many_rooms", f"at most {limit} rooms", room=room)

    def _checked_channels(self, channels: Sequence[str], member: Member | None = None) -> set[str]:
        """Return the channels as a set, if the client may subscribe to them, instead of those of this membership."""
        settings, chosen = self._worker.settings, set(channels)
        if len(chosen) > settings.channels_per_room:
            raise Refused("too_many_channels", f"at most {settings.channels_per_room} channels in a room")
        subscribed = [*chosen]
        for one in (self._own, *(self._others or {}).values()):
            if one is not None and one is not member and one.channels:
                subscribed += one.channels
        if len(subscribed) > settings.subscriptions_per_connection:
            most = settings.subscriptions_per_connection
            raise Refused("too_many_channels", f"at most {most} channels in all rooms together")
        if sum(map(len, subscribed)) > MAX_CHANNEL_NAMES:
            raise Refused("too_many_channels", f"the names of all channels have at most {MAX_CHANNEL_NAMES} characters")
        return chosen

    def _codec_for(self, room: str) -> Encoder:
        return self.codecs.own if room == self.own_room else self.codecs.tagged

    def answer(self, event: ServerEvent) -> None:
        """Write an answer about a room to the client, which need not be in it."""
        self._send(event)

    def _send(self, event: ServerEvent) -> None:
        self._connection.write(self._codec_for(event.room).encode(event))

    def _send_subscriptions(self, member: Member, key: str) -> None:
        channels = None if member.channels is None else sorted(member.channels)
        self._send(Subscriptions(member.room, channels, key))


def _join_of(request: JoinRequest) -> Join:
    return Join(
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
        password=request.password,
        own_key=request.own_key,
        opens=request.opens,
        terms=request.terms,
        next_key=request.next_key,
        held_only=request.held_only,
        found_by=request.found_by,
    )
