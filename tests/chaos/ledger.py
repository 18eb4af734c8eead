"""Counts the messages that were sent, acknowledged and received: this judges every fault."""

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from relay.model.envelope import BEFORE_ALL, MessageId

_PROMPT = 0.5
"""Seconds within which a message arrives without a fault."""


@dataclass
class Message:
    """One numbered message of one sender: the time of sending, its id, and the time of receipt by member (seconds)."""

    said: float
    id: MessageId | None = None
    acknowledged: bool = False
    heard: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The counts over all messages."""

    sent: int
    acknowledged: int
    delivered: int
    lost: int
    repeated: int
    disordered: int
    told: int
    """Members that were told of missed messages."""
    whole_after: float
    """Seconds from the end of the fault until no message older than half a second was missing."""


class Ledger:
    """The messages of several rooms whose members all join at the beginning."""

    def __init__(self, rooms: dict[str, Iterable[str]]) -> None:
        self._rooms = {room: frozenset(members) for room, members in rooms.items()}
        self._messages: dict[tuple[str, str, int], Message] = {}
        self._newest: dict[tuple[str, str, str], int] = defaultdict(lambda: -1)
        self._places: dict[tuple[str, str], MessageId] = defaultdict(lambda: BEFORE_ALL)
        self._told: dict[tuple[str, str], float] = {}
        self.repeated = 0
        self.disordered = 0

    def said(self, room: str, sender: str, number: int, now: float) -> None:
        """A member began to send a message."""
        self._messages[room, sender, number] = Message(now)

    def acknowledged(self, room: str, sender: str, number: int, id_: MessageId) -> None:
        """The relay has the message, at this position of the room."""
        message = self._messages[room, sender, number]
        message.acknowledged = True
        self._in_place(message, id_)

    def heard(self, room: str, member: str, sender: str, number: int, id_: MessageId, now: float) -> None:
        """A member received a message: out of order if it is older than the last, or has another id for others."""
        message = self._messages[room, sender, number]
        if member in message.heard:
            self.repeated += 1
            return
        message.heard[member] = now
        if number < self._newest[room, member, sender] or id_ < self._places[room, member]:
            self.disordered += 1
        else:
            self._in_place(message, id_)
        self._newest[room, member, sender] = max(number, self._newest[room, member, sender])
        self._places[room, member] = max(id_, self._places[room, member])

    def _in_place(self, message: Message, id_: MessageId) -> None:
        if message.id is None:
            message.id = id_
        elif message.id != id_:
            self.disordered += 1

    def told(self, room: str, member: str, now: float) -> None:
        """A member got a report of a loss, which covers the messages sent until now, and no later ones."""
        self._told[room, member] = now

    @property
    def members_told(self) -> set[tuple[str, str]]:
        """The members that got a report of a loss, as room and name."""
        return set(self._told)

    def missing(self) -> list[tuple[str, str, int, str]]:
        """The acknowledged messages that a member did not get, although it got no later report of a loss."""
        return [
            (room, sender, number, member)
            for (room, sender, number), message in self._messages.items()
            if message.acknowledged
            for member in self._rooms[room] - {sender} - message.heard.keys()
            if message.said > self._told.get((room, member), -1.0)
        ]

    def everybody_heard(self, members: Container[tuple[str, str]], since: float) -> bool:
        """Whether what was said since then has reached all of these members (room and name)."""
        return all(
            member == sender or member in message.heard or (room, member) not in members
            for (room, sender, _), message in self._messages.items()
            if message.said >= since
            for member in self._rooms[room]
        )

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
