"""Counting what was said, acknowledged and heard: the judge of every fault."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

_PROMPT = 0.5
"""Seconds within which a message arrives while nothing is wrong."""


@dataclass
class Message:
    """One numbered message of one sender: when it was said, acknowledged, and heard by whom (seconds)."""

    said: float
    acknowledged: bool = False
    heard: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What became of all that was said."""

    sent: int
    acknowledged: int
    delivered: int
    lost: int
    repeated: int
    disordered: int
    told: int
    """Members who were told that something was missed."""
    whole_after: float
    """Seconds from the end of the fault until nothing older than half a second was missing any more."""


class Ledger:
    """The messages of several rooms, whose members are all there from the beginning."""

    def __init__(self, rooms: dict[str, Iterable[str]]) -> None:
        self._rooms = {room: frozenset(members) for room, members in rooms.items()}
        self._messages: dict[tuple[str, str, int], Message] = {}
        self._newest: dict[tuple[str, str, str], int] = defaultdict(lambda: -1)
        self._told: set[tuple[str, str]] = set()
        self.repeated = 0
        self.disordered = 0

    def said(self, room: str, sender: str, number: int, now: float) -> None:
        """A member began to send a message."""
        self._messages[room, sender, number] = Message(now)

    def acknowledged(self, room: str, sender: str, number: int) -> None:
        """The relay has it."""
        self._messages[room, sender, number].acknowledged = True

    def heard(self, room: str, member: str, sender: str, number: int, now: float) -> None:
        """A member received a message."""
        message = self._messages[room, sender, number]
        if member in message.heard:
            self.repeated += 1
            return
        message.heard[member] = now
        if number < self._newest[room, member, sender]:
            self.disordered += 1
        self._newest[room, member, sender] = max(number, self._newest[room, member, sender])

    def told(self, room: str, member: str) -> None:
        """A member was told that something was missed."""
        self._told.add((room, member))

    def missing(self) -> list[tuple[str, str, int, str]]:
        """What was acknowledged, and not heard by members who believe that they missed nothing."""
        return [
            (room, sender, number, member)
            for (room, sender, number), message in self._messages.items()
            if message.acknowledged
            for member in self._rooms[room] - {sender} - message.heard.keys()
            if (room, member) not in self._told
        ]

    @property
    def unacknowledged(self) -> int:
        """How many messages are on their way, or were given up."""
        return sum(not message.acknowledged for message in self._messages.values())

    def verdict(self, fault_ended: float) -> Verdict:
        """Count everything."""
        return Verdict(
            sent=len(self._messages),
            acknowledged=len(self._messages) - self.unacknowledged,
            delivered=sum(len(message.heard) for message in self._messages.values()),
            lost=len(self.missing()),
            repeated=self.repeated,
            disordered=self.disordered,
            told=len(self._told),
            whole_after=max(0.0, self._whole() - fault_ended),
        )

    def _whole(self) -> float:
        late = [
            max(message.heard.values())
            for message in self._messages.values()
            if message.heard and max(message.heard.values()) - message.said > _PROMPT
        ]
        return max(late, default=0.0)
