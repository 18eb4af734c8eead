"""The guard of a session: what its client may do, by its token. Rights of sessions are checked here, and nowhere else.

A session has a guard from the moment at which it knows the client's token, ahead of all it does for the client. Without
auth it has none. Each right is one of `relay.identity.grants`:

    join, move              JOIN in the room that is entered
    subscribe, info         JOIN in the room
    publish                 PUBLISH, or SEND_DIRECT for a message that names its receivers
    presence, detect        PRESENCE
    that a room exists      JOIN or PRESENCE
    observe                 OBSERVE; PRESENCE for the names of members; the admin token for direct messages of others
    leave, ping, refresh    none
    kick, rules, close, …   the rules of the room decide (`Guard.allows` tells the rights of the token)

Some requests ask for several things. The guard leaves out a thing that the client may not have, and the client gets
`not_granted` about it, beside the rest: a join that asks for presence without PRESENCE becomes a join.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from msgspec import structs

from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.identity.grants import Grants, Right
from relay.model.commands import AskPresence, Command, Detect, Join, Move, Publish, SetInfo, Subscribe, Unsubscribe
from relay.model.errors import Refused
from relay.model.names import escape_room
from relay.rooms.expiries import Expiry
from relay.rooms.observer import Sight

_MOST_REMEMBERED: Final = 64
"""Rooms in which a client may publish, and that its guard remembers: a pattern of a token is not matched every time."""

_NO_ROOMS: Final[frozenset[str]] = frozenset()


class Guard:
    """The rights of one session's client. `grants` are those of its token, and `expiry` is the end of them, if any."""

    __slots__ = ("_direct", "_publish", "expiry", "grants")

    def __init__(self, grants: Grants) -> None:
        self.grants = grants
        self.expiry: Expiry | None = None
        # Rooms in which a right was found. Most clients are idle, and an empty set takes 200 bytes: they share one.
        self._publish = self._direct = _NO_ROOMS

    def check(self, command: Command, own_room: str) -> Command:
        """Return a command as the client may have it; raise `Refused` (`not_granted`, `wrong_peer`) for one it may not.

        `own_room` is the room of a command that names none; "" if the client is in no room.
        """
        if isinstance(command, Publish):
            room = command.room or own_room
            if room not in (self._direct if command.to else self._publish):
                self._check_publish(room, direct=bool(command.to))
            return command
        match command:
            case Join():
                return self.check_join(command)
            case Move():
                self.grants.require(Right.JOIN, command.room)
            case Subscribe() | Unsubscribe() | SetInfo():
                self.check_right(Right.JOIN, command.room or own_room)
            case AskPresence():
                self.check_right(Right.PRESENCE, command.room or own_room)
            case Detect():
                return self._check_detect(command, own_room)
        return command

    def allows(self, right: Right, room: str) -> bool:
        """Return whether the token grants a right in a room."""
        return self.grants.allow(right, room)

    def sees(self, room: str) -> bool:
        """Return whether the client may know that a room exists: it may join it, or see who is there."""
        return self.grants.allow(Right.JOIN, room) or self.grants.allow(Right.PRESENCE, room)

    def admit(self, request: JoinRequest, generate: Callable[[], str]) -> JoinRequest:
        """Return the request of a client that enters a room, with its peer id, as the client may have it.

        `generate` makes a random id. A claim of a membership that the token does not allow is dropped. Raises `Refused`
        (`not_granted`, `wrong_peer`).
        """
        claim = request.claim
        if claim is not None and self._may_resume(claim.room, claim.peer):
            peer = claim.peer
        else:
            claim, peer = None, self.grants.peer(request.peer, generate)
        self.grants.require(Right.JOIN, request.room)
        presence = request.presence and self.grants.allow(Right.PRESENCE, request.room)
        return structs.replace(request, peer=peer, claim=claim, presence=presence)

    def observe(self, request: ObserveRequest) -> ObserveRequest:
        """Return the request of a client that observes a room, as the client may have it.

        A client without a token keeps the sight that it has without auth. Raises `Refused` (`not_granted`).
        """
        grants = self.grants
        if grants.anonymous:
            return request
        if grants.admin:
            return replace(request, sight=Sight.EVERYTHING)
        grants.require(Right.OBSERVE, request.room)
        names = grants.allow(Right.PRESENCE, request.room)
        if not (names or request.messages):
            return replace(request, sight=Sight.COUNTS)
        return replace(request, sight=Sight.MEMBER, presence=request.presence and names)

    def stop(self) -> None:
        """Forget the expiry of the token: the session has ended, or has another guard."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None

    def check_successor(self, grants: Grants) -> None:
        """Raise `Refused` if these grants cannot replace the own ones: `token_required`, or `wrong_peer`."""
        if grants.anonymous:
            raise Refused("token_required")
        if grants.subject != self.grants.subject:
            raise Refused("wrong_peer", "a newer token has the same subject (claim sub) as the one before")

    def check_right(self, right: Right, room: str) -> None:
        """Raise `Refused` (`not_granted`) if the token does not grant a right in a room."""
        # In no room, nothing is possible, and the session answers with another error.
        if room:
            self.grants.require(right, room)

    def _check_publish(self, room: str, *, direct: bool) -> None:
        self.check_right(Right.SEND_DIRECT if direct else Right.PUBLISH, room)
        if direct:
            self._direct = _with(room, self._direct)
        else:
            self._publish = _with(room, self._publish)

    def check_join(self, join: Join) -> Join:
        """As `check`, for a join."""
        self.grants.require(Right.JOIN, join.room)
        if join.peer:
            self.grants.peer(join.peer, str)
        if join.presence and not self.grants.allow(Right.PRESENCE, join.room):
            return structs.replace(join, presence=False)
        return join

    def _check_detect(self, detect: Detect, own_room: str) -> Detect:
        """Return the question; it is about channels alone, if the token does not grant PRESENCE in that room."""
        self.check_right(Right.PRESENCE, detect.room or own_room)
        try:
            named = escape_room(detect.name)
        except Refused:
            return detect
        return detect if self.grants.allow(Right.PRESENCE, named) else replace(detect, rooms=False)

    def _may_resume(self, room: str, peer: str) -> bool:
        try:
            self.grants.peer(peer, str)
        except Refused:
            return False
        return self.grants.allow(Right.JOIN, room)


def _with(room: str, remembered: frozenset[str]) -> frozenset[str]:
    return frozenset({room}) if len(remembered) >= _MOST_REMEMBERED else remembered | {room}
