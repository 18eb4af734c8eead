"""Grants: the rights that a token gives its holder, and the rooms in which it has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from relay.identity.patterns import matches
from relay.model.errors import Refused
from relay.model.rules import RuleChange


class Right(StrEnum):
    """One thing that a client may do in a room; the values are those of the claim `can`.

    JOIN: become a member, also by a move of its own, change its own info, and choose its channels. PUBLISH: send to
    everybody. SEND_DIRECT: send to peers that it names. PRESENCE: see who is there. OBSERVE: watch without being a
    member. KICK: put members out. LOCK: change the rules of the room. CLOSE: put all members out, and end the room.
    MOVE: send members to another room.
    """

    JOIN = "join"
    PUBLISH = "publish"
    SEND_DIRECT = "send-direct"
    PRESENCE = "presence"
    OBSERVE = "observe"
    KICK = "kick"
    LOCK = "lock"
    CLOSE = "close"
    MOVE = "move"


OF_MEMBERS: Final = frozenset({Right.JOIN, Right.PUBLISH, Right.SEND_DIRECT, Right.PRESENCE})
"""The rights of a grant that does not list any, and those of every client while no token is needed."""


@dataclass(frozen=True, slots=True)
class RoomGrant:
    """The rights `can` in all rooms whose name matches `room`, in which * stands for any characters.

    `rules` are those of a room that the holder opens.
    """

    room: str
    can: frozenset[Right] = OF_MEMBERS
    rules: RuleChange | None = None


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Limits for the holder of a token, each None if the relay's setting counts."""

    message_rate: int | None = None
    rooms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The rights and limits of one client.

    `subject` is the claim `sub` as it is, "" for a client without one. Its peer ids match `peers`, an escaped name in
    which * stands for any characters. `info` is the info that the token vouches for (JSON text, b"" for none).
    `admin`: all rights in all rooms. `expires` is the Unix time at which they end, None for never. `anonymous`: the
    client has no token, and needs none.
    """

    subject: str = ""
    peers: str = "*"
    rooms: Sequence[RoomGrant] = ()
    info: bytes = b""
    limits: TokenLimits = field(default_factory=TokenLimits)
    admin: bool = False
    expires: float | None = None
    anonymous: bool = False

    def allow(self, right: Right, room: str) -> bool:
        """Return whether the holder has a right in a room, which has its escaped name."""
        if self.admin:
            return True
        # A loop and no generator: this runs for each message of a client with a token.
        for one in self.rooms:  # noqa: SIM110
            if right in one.can and matches(one.room, room):
                return True
        return False

    def require(self, right: Right, room: str) -> None:
        """Raise `Refused` (`not_granted`) if the holder does not have a right in a room."""
        if not self.allow(right, room):
            raise Refused("not_granted", f"the token does not grant {right} in this room", room=room)

    def rules(self, room: str) -> RuleChange | None:
        """Return the rules of a room that the holder opens; None for the relay's defaults."""
        return next((one.rules for one in self.rooms if one.rules and matches(one.room, room)), None)

    def peer(self, asked: str, generate: Callable[[], str]) -> str:
        """Return the holder's peer id: the one that it asks for (escaped; "" for any), if the token allows it.

        Raises `Refused` (`wrong_peer`).
        """
        if not asked:
            return self.peers.replace("*", generate(), 1).replace("*", "")
        if not matches(self.peers, asked):
            raise Refused("wrong_peer")
        return asked


GUEST: Final = Grants(rooms=(RoomGrant("*"),), anonymous=True)
"""The grants of a client without a token, where it needs none."""

ADMIN: Final = Grants(admin=True)
"""The grants that come with the admin token."""
