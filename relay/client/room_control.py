"""The commands of a client that has a say in its room: by its token, or as the room's owner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from relay.client.events import rules_in
from relay.client.frames import FrameFields
from relay.model.names import escape_room
from relay.model.rules import RoomRules, RuleChange


class RoomControl(ABC):
    """The commands of a room about the room itself; all of them return when the relay has answered.

    They raise `Rejected` (`not_granted`, `not_owner` and others), `Closed`, or `NotAcknowledged` without a connection,
    and when the connection is lost before the answer.
    """

    @abstractmethod
    async def _command(self, command: Mapping[str, Any]) -> FrameFields: ...

    async def rules(self) -> RoomRules:
        """Return the rules of the room."""
        return rules_in(await self._command({"type": "rules"}))

    async def set_rules(self, change: RuleChange) -> RoomRules:
        """Change rules of the room, and return all of them; fields of the change that are None stay as they are."""
        return rules_in(await self._command({"type": "rules", "set": change}))

    async def lock(self) -> None:
        """Let nobody new in."""
        await self.set_rules(RuleChange(locked=True))

    async def unlock(self) -> None:
        """Let new members in again."""
        await self.set_rules(RuleChange(locked=False))

    async def kick(self, peer: str, *, reason: str = "", ban: int = 0) -> int:
        """Put a member out, tell all members the reason, and return how many members were put out.

        For `ban` seconds, the subject of the member's token may not come back; without a token, its peer id may not,
        which a client can change.
        """
        return _count(await self._command({"type": "kick", "peer": peer, "reason": reason, "ban": ban}))

    async def close_room(self, *, reason: str = "") -> None:
        """Put all members out, this client included, tell them the reason, and end the room."""
        await self._command({"type": "close", "reason": reason})

    async def move(self, to: str, peers: Sequence[str] | None = None) -> int:
        """Send members to the room with the name `to`: these peers, or all. Return how many.

        Their clients get the event `MoveAsked`.
        """
        chosen = {} if peers is None else {"peers": list(peers)}
        return _count(await self._command({"type": "move", "to": escape_room(to), **chosen}))


def _count(answer: FrameFields) -> int:
    count = answer.get("count")
    return count if isinstance(count, int) else 0
